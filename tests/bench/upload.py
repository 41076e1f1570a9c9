# SPDX-License-Identifier: MIT
"""The measure `upload`: our command against nginx that takes PUT, through a scripted access service, beside `curl -T`
into the same nginx on the same disk. From a file and from a pipe; peak memory of the client."""

import contextlib
import http.server
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time

import servers

CHUNK = 64 << 20


class Access(http.server.BaseHTTPRequestHandler):
    """Hands out URLs of nginx, one for each chunk; believes everything else."""

    protocol_version = "HTTP/1.1"
    blobs = ""  # where nginx takes them
    digest = None  # what the last upload said

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = None
        if self.path == "/file_upload/create":
            answer = {"file_object_id": "f-1"}
        elif self.path.endswith("/generate_presigned_url"):
            count = max(1, -(-body["filesize"] // CHUNK))
            urls = [f"{self.blobs}/chunk-{number}" for number in range(count)]
            answer = {"blob_id": "b", "urls": urls, "chunksize": CHUNK}
        elif self.path.endswith("/complete"):
            Access.digest = body["sha256"]
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def access_service(blobs):
    Access.blobs = blobs
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Access)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def high_water(pid):
    """Peak memory in KiB; getrusage would also count what this program held before the client's exec."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next((int(line.split()[1]) for line in status if line.startswith("VmHWM")), 0)
    return 0


def timed(command, source, environment):
    """Seconds and peak memory (KiB) of one client; source: a file that `cat` feeds it through a pipe, or None."""
    feeder = subprocess.Popen(["cat", source], stdout=subprocess.PIPE) if source else None
    begin = time.perf_counter()
    client = subprocess.Popen(command, stdin=feeder.stdout if feeder else subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              env=environment)
    if feeder:
        feeder.stdout.close()
    peak = 0
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            client.wait(0.02)
            break
        peak = max(peak, high_water(client.pid))
    seconds = time.perf_counter() - begin
    if feeder:
        feeder.wait()
    if client.returncode:
        raise SystemExit(f"scripts/bench: {command[0]} failed")
    return seconds, peak


def run(options, row):
    size = options.size << 20
    folder = tempfile.mkdtemp(prefix="perilune-bench.", dir="/var/tmp")
    path = os.path.join(folder, "source")
    environment = {**os.environ, "LOGNAME": "bench"}
    try:
        with open("/dev/urandom", "rb") as noise, open(path, "wb") as target:
            block = noise.read(16 << 20)
            for number in range(-(-size // len(block))):
                target.write(number.to_bytes(8, "big") + block[8:])
            target.truncate(size)
        digest = subprocess.run(["sha256sum", path], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[0]
        with servers.nginx(1, folder) as port, access_service(f"http://127.0.0.1:{port}/put") as access:
            ours = [os.path.join(options.build, "bin/perilune"), "--url", access, "--token", "t", "upload"]
            clients = {
                "curl -T FILE": (["curl", "-sSfT", path, f"http://127.0.0.1:{port}/put/whole"], None),
                "perilune upload FILE": (ours + [path, "--parent", "p"], None),
                "perilune upload FILE, 4 at once": (ours + [path, "--parent", "p", "--concurrency", "4"], None),
                "curl -T -": (["curl", "-sSfT", "-", f"http://127.0.0.1:{port}/put/whole"], path),
                "perilune upload -": (ours + ["-", "--parent", "p", "--name", "n", "--filesize", str(size)], path),
            }
            rates, memory = {}, {}
            for number in range(options.rounds + 1):
                for name, (command, source) in clients.items():
                    Access.digest = None
                    seconds, peak = timed(command, source, environment)
                    if name.startswith("perilune") and Access.digest != digest:
                        raise SystemExit(f"scripts/bench: {name}: wrong SHA-256")
                    shutil.rmtree(os.path.join(folder, "put"), ignore_errors=True)
                    if number:  # the first round warms up
                        rates.setdefault(name, []).append(options.size / seconds)
                        memory.setdefault(name, []).append(peak / 1024)
        for name, values in rates.items():
            what = f"{name}, {options.size} MiB, peak {max(memory[name]):.0f} MiB of memory"
            peer = "curl -T -" if name == "perilune upload -" else "curl -T FILE"
            if name.startswith("curl"):
                row("upload", what, statistics.median(values), "MiB/s")
                continue
            ratio = statistics.median([a / b for a, b in zip(values, rates[peer])])
            row("upload", what, statistics.median(values), "MiB/s", ratio, peer, ">= 0.85", ratio >= 0.85)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
