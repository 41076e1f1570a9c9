# SPDX-License-Identifier: MIT
"""Servers of the bench: each is bound to 127.0.0.1, waited for until it answers, and ended by its own process id."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_open(port, process):
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"scripts/bench: {process.args[0]} did not start")
        time.sleep(0.01)


def stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def nginx(workers, data=None):
    """Yields the port. data: a folder whose `put` takes what is PUT below /put, and holds it before it is whole."""
    folder = tempfile.mkdtemp(prefix="perilune-bench.", dir=data)
    port = free_port()
    with open(os.path.join(HERE, "nginx.conf"), encoding="utf-8") as source:
        text = source.read()
    text = text.replace("@PORT@", str(port)).replace("@WORKERS@", str(workers)).replace("@FOLDER@", folder) \
        .replace("@DATA@", data or folder)
    if os.geteuid() == 0:
        text = "user root;\n" + text  # else its workers are nobody, who may not write here
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w", encoding="utf-8") as target:
        target.write(text)
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([program, "-p", folder, "-c", path], stdin=subprocess.DEVNULL)
    try:
        wait_until_open(port, process)
        yield port
    finally:
        stop(process)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def framework(node_modules):
    port = free_port()
    process = subprocess.Popen(
        ["node", os.path.join(HERE, "framework.js"), node_modules, str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "NODE_ENV": "production"},
    )
    try:
        wait_until_open(port, process)
        yield port
    finally:
        stop(process)


class Host:
    """A perilune host with a folder of its own; parent: where that is made."""

    def __init__(self, build, *options, parent=None):
        self.build = build
        self.folder = tempfile.mkdtemp(prefix="perilune-bench.", dir=parent)
        self.process = subprocess.Popen(
            [os.path.join(build, "bin/perilune"), "host", "--port", "0", "--data", self.folder, "--json", *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("scripts/bench: the host did not start")
        ready = json.loads(line)
        self.url = ready["url"]
        self.port = int(self.url.rsplit(":", 1)[1])
        with open(ready["credentials"], encoding="utf-8") as file:
            self.token = json.load(file)["token"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        stop(self.process)
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def deploy(self, folder, name):
        subprocess.run(
            [os.path.join(self.build, "bin/perilune"), "deploy", folder, "--name", name, "--json"],
            env={**os.environ, "PERILUNE_URL": self.url, "PERILUNE_TOKEN": self.token},
            stdout=subprocess.DEVNULL,
            check=True,
        )

    def connection(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def request(self, connection, method, path, body=None, kind="application/json"):
        connection.request(method, path, body, {"Authorization": "Bearer " + self.token, "Content-Type": kind})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"scripts/bench: {method} {path} answered {answer.status}: {content[:200]!r}")
        return content

    def processes(self):
        """Process ids: the gateway's, and those of its sandboxes."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return pid, [int(child) for child in file.read().split()]


def memory(pid):
    """Resident and proportional kilobytes."""
    values = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if words[0] in ("Rss:", "Pss:"):
                values[words[0]] = int(words[1])
    return values["Rss:"], values["Pss:"]


def high_water(pid):
    """Peak resident memory in KiB; getrusage would also count what this program held before the other's exec."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
    return 0


def wait_until_idle(seconds=30):
    """What was written is on the disk and the processors have nothing to do; or it has taken too long."""
    os.sync()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        samples = []
        for pause in (0.3, 0):
            with open("/proc/stat", encoding="ascii") as file:
                samples.append([int(ticks) for ticks in file.readline().split()[1:9]])
            time.sleep(pause)
        passed = [after - before for before, after in zip(*samples)]
        if passed[3] + passed[4] > 0.9 * sum(passed):
            return
