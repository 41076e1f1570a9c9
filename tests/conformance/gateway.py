# SPDX-License-Identifier: MIT
"""Starts the real host on a free port with a temporary data folder, and ends it by pid."""

import json
import os
import shutil
import subprocess
import tempfile


class Gateway:
    def __init__(self, build: str, *options: str):
        self.program = os.path.join(build, "libexec", "perilune", "perilune-gateway")
        self.options = list(options)
        self.data = tempfile.mkdtemp(prefix="perilune-conformance-")
        self.process = None
        self.url = self.token = None

    def start(self) -> "Gateway":
        self.process = subprocess.Popen(
            [self.program, "--port", "0", "--data", self.data, "--json", *self.options], stdout=subprocess.PIPE, text=True
        )
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the host did not start (exit code {self.process.wait()})")
        ready = json.loads(line)
        self.url = ready["url"]
        with open(ready["credentials"], encoding="utf-8") as file:
            self.token = json.load(file)["token"]
        return self

    def stop(self) -> int:
        self.process.terminate()
        try:
            code = self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.data, ignore_errors=True)
        return code
