# SPDX-License-Identifier: MIT
"""The measure `upload`: curl and our command, each into nginx that takes PUT and into our host, on one disk, from a file
and from a pipe; `curl -T` into nginx is the peer of all. And a handler that uploads from a function. Behind the semicolon:
peak memory of the client (or the sandbox) and of the gateway.

nginx is spoken to by our command through a scripted access service; it neither hashes nor makes durable, the host does
both: its time ends when complete has answered."""

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


class Source:
    """A file of noise on the disk that is written to."""

    def __init__(self, folder, size):
        self.path = os.path.join(folder, "source")
        self.size = size
        with open("/dev/urandom", "rb") as noise, open(self.path, "wb") as target:
            block = noise.read(16 << 20)
            for number in range(-(-size // len(block))):
                target.write(number.to_bytes(8, "big") + block[8:])
            target.truncate(size)
        done = subprocess.run(["sha256sum", self.path], stdout=subprocess.PIPE, text=True, check=True)
        self.digest = done.stdout.split()[0]

    def feed(self, command, piped):
        """Runs one client, through a pipe that `cat` fills or not. Its output and its peak memory in KiB."""
        feeder = subprocess.Popen(["cat", self.path], stdout=subprocess.PIPE) if piped else None
        client = subprocess.Popen(command, stdin=feeder.stdout if feeder else subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, env={**os.environ, "LOGNAME": "bench"})
        if feeder:
            feeder.stdout.close()
        peak = 0
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                client.wait(0.02)
                break
            peak = max(peak, servers.high_water(client.pid))
        output = client.stdout.read()
        client.stdout.close()
        if feeder:
            feeder.wait()
        if client.returncode:
            raise SystemExit(f"scripts/bench: {' '.join(command)} failed")
        return output, peak

    def curl(self, url, piped):
        return self.feed(["curl", "-sSf", "-o", "/dev/null", "-D", "-", "-T", "-" if piped else self.path, url], piped)

    def perilune(self, build, access, token, piped, *more):
        given = ["-", "--name", "n", "--filesize", str(self.size)] if piped else [self.path]
        return self.feed([os.path.join(build, "bin/perilune"), "--url", access, "--token", token, "upload", *given,
                          "--parent", "p", *more], piped)


class Nginx:
    """Takes what is put; not durable."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.url = f"http://127.0.0.1:{stack.enter_context(servers.nginx(1, self.folder))}/put"
            self.access = stack.enter_context(access_service(self.url))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def run(self, source, client, piped, build, *more):
        Access.digest = source.digest
        begin = time.perf_counter()
        if client == "curl":
            _, peak = source.curl(self.url + "/whole", piped)
        else:
            Access.digest = None
            _, peak = source.perilune(build, self.access, "t", piped, *more)
        seconds = time.perf_counter() - begin
        if Access.digest != source.digest:
            raise SystemExit("scripts/bench: the client told a wrong SHA-256")
        shutil.rmtree(os.path.join(self.folder, "put"))
        return seconds, peak, 0


class Host:
    """A host of its own for each run: what it holds already it need not make durable again."""

    def __init__(self, folder):
        self.folder = folder

    @staticmethod
    def by_curl(host, source, piped):
        connection = host.connection()

        def ask(path, body):
            return json.loads(host.request(connection, "POST", "/cim/file_upload/" + path, json.dumps(body)))

        spec = {"filesize": source.size, "persno": "bench", "lock_id": "bench"}
        file = ask("create", {"parent_object_id": "p", "filename": "whole", "persno": "bench"})["file_object_id"]
        presigned = ask(f"{file}/generate_presigned_url", spec)
        headers, peak = source.curl(presigned["urls"][0], piped)
        presigned["etags"] = [line.split(": ", 1)[1].strip() for line in headers.splitlines()
                              if line.lower().startswith("etag:")]
        ask(f"{file}/complete", {**spec, "presigned_write_urls": presigned, "sha256": source.digest})
        return peak

    def run(self, source, client, piped, build, *more):
        chunk = source.size if client == "curl" else CHUNK
        with servers.Host(build, "--sandboxes", "1", "--cim-rate", "1000/60", "--cim-chunk-size", str(chunk),
                          parent=self.folder) as host:
            host.request(host.connection(), "PUT", "/v1/parents/p", "{}")
            begin = time.perf_counter()
            if client == "curl":
                peak = self.by_curl(host, source, piped)
            else:
                _, peak = source.perilune(build, host.url + "/cim", host.token, piped, *more)
            seconds = time.perf_counter() - begin
            if not os.path.exists(os.path.join(host.folder, "blobs", source.digest[:2], source.digest)):
                raise SystemExit("scripts/bench: the host did not store what was sent")
            return seconds, peak, servers.high_water(host.process.pid)


def by_handler(folder, size, build):
    """A handler that uploads from a function: seconds, and peak KiB of its sandbox and of the gateway."""
    with servers.Host(build, "--sandboxes", "1", parent=folder) as host:
        host.deploy(os.path.join(servers.HERE, "uploader"), "uploader")
        connection = host.connection()
        host.request(connection, "PUT", "/v1/parents/p", "{}")
        begin = time.perf_counter()
        host.request(connection, "POST", "/v1/functions/uploader/call", json.dumps({"blocks": size >> 18}))
        seconds = time.perf_counter() - begin
        gateway, sandboxes = host.processes()
        return seconds, servers.high_water(sandboxes[0]), servers.high_water(gateway)


CLIENTS = {"curl": ("curl",), "perilune upload": ("perilune",),
           "perilune upload, 4 at once": ("perilune", "--concurrency", "4")}


def run(options, row):
    folder = tempfile.mkdtemp(prefix="perilune-bench.", dir="/var/tmp")
    results = {}
    try:
        source = Source(folder, options.size << 20)
        with Nginx(folder) as peer:
            takers = {"nginx": peer, "our host": Host(folder)}
            for number in range(options.rounds + 1):
                for piped in (False, True):
                    for client, (program, *more) in CLIENTS.items():
                        if piped and more:
                            continue  # a pipe is read in its order
                        for taker, server in takers.items():
                            servers.wait_until_idle()
                            done = server.run(source, program, piped, options.build, *more)
                            if number:  # the first round warms up
                                results.setdefault((piped, client, taker), []).append(done)
                servers.wait_until_idle()
                done = by_handler(folder, source.size, options.build)
                if number:
                    results.setdefault((False, "a handler", "its host"), []).append(done)
        for (piped, client, taker), runs in results.items():
            rates = [options.size / seconds for seconds, _, _ in runs]
            source = "function" if taker == "its host" else "pipe" if piped else "file"
            memory = [max(peaks) / 1024 for peaks in zip(*[run[1:] for run in runs])]
            what = f"{client} into {taker}, {source}; " + " + ".join(f"{peak:.0f}" for peak in memory if peak) + " MiB"
            if (client, taker) in (("curl", "nginx"), ("a handler", "its host")):
                row("upload", what, statistics.median(rates), "MiB/s")
                continue
            beside = [options.size / seconds for seconds, _, _ in results[(piped, "curl", "nginx")]]
            ratio = statistics.median([a / b for a, b in zip(rates, beside)])
            row("upload", what, statistics.median(rates), "MiB/s", ratio, "curl into nginx", ">= 0.85", ratio >= 0.85)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
