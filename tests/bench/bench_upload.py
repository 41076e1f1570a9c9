# SPDX-License-Identifier: MIT
"""An upload by curl into the host's access service, beside the same into nginx's WebDAV: bench_upload.py BUILD [MIB [ROUNDS]].

Prints one line of JSON: seconds of the chunks and of complete, MiB/s of all, the gateway's resident memory before, at its
highest and after, and nginx's MiB/s (not durable), and with a sync of its file.
"""

import hashlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse

CHUNK = 64 << 20


def memory(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key))


def make_chunks(folder, size):
    whole, paths, left = hashlib.sha256(), [], size
    block = os.urandom(CHUNK)
    while left > 0:
        data = (len(paths).to_bytes(8, "big") + block)[: min(CHUNK, left)]
        paths.append(os.path.join(folder, f"chunk{len(paths):04}"))
        with open(paths[-1], "wb") as file:
            file.write(data)
        whole.update(data)
        left -= len(data)
    return paths, whole.hexdigest()


def curl(paths, urls):
    command, headers = ["curl", "-sf"], []
    for path, url in zip(paths, urls):
        command += ([] if len(command) == 2 else ["--next", "-sf"]) + ["-H", "Expect:", "-D", path + ".h", "-o", "/dev/null", "-T", path, url]
    start = time.perf_counter()
    subprocess.run(command, check=True)
    taken = time.perf_counter() - start
    for path in paths:
        with open(path + ".h", encoding="latin-1") as file:
            headers += [line.split(": ", 1)[1].strip() for line in file if line.lower().startswith("etag:")]
    return taken, headers


class Host:
    def __init__(self, build, folder):
        program = os.path.join(build, "libexec", "perilune", "perilune-gateway")
        self.process = subprocess.Popen([program, "--port", "0", "--data", folder + "/data", "--json", "--sandboxes", "1", "--cim-rate", "100000/60"], stdout=subprocess.PIPE, text=True)
        ready = json.loads(self.process.stdout.readline())
        self.address = urllib.parse.urlparse(ready["url"]).netloc
        with open(ready["credentials"], encoding="utf-8") as file:
            self.headers = {"Authorization": "Bearer " + json.load(file)["token"], "Content-Type": "application/json"}
        self.ask("PUT", "/v1/parents/p", {})

    def ask(self, method, path, body):
        connection = http.client.HTTPConnection(self.address, timeout=300)
        connection.request(method, path, json.dumps(body), self.headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), text
        return json.loads(text)

    def upload(self, paths, size, sha256):
        file = self.ask("POST", "/cim/file_upload/create", {"parent_object_id": "p", "filename": "big", "persno": "x"})
        path = "/cim/file_upload/" + file["file_object_id"]
        spec = {"filesize": size, "persno": "x", "lock_id": "bench"}
        urls = self.ask("POST", path + "/generate_presigned_url", spec)
        taken, urls["etags"] = curl(paths, urls["urls"])
        start = time.perf_counter()
        self.ask("POST", path + "/complete", {**spec, "presigned_write_urls": urls, "sha256": sha256})
        return taken, time.perf_counter() - start


def nginx(folder):
    conf = os.path.join(folder, "nginx.conf")
    with open(conf, "w", encoding="ascii") as file:
        file.write(
            f"worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr error; events {{}}\n"
            f"http {{ access_log off; client_max_body_size 0; client_body_temp_path {folder}/body;"
            f" server {{ listen 127.0.0.1:18999; root {folder}/dav; dav_methods PUT; create_full_put_path on; }} }}\n"
        )
    os.makedirs(folder + "/dav", exist_ok=True)
    os.chmod(folder, 0o755)
    os.chmod(folder + "/dav", 0o777)
    process = subprocess.Popen(["nginx", "-c", conf, "-g", "user root;"])
    for _ in range(100):
        try:
            http.client.HTTPConnection("127.0.0.1", 18999).connect()
            break
        except OSError:
            time.sleep(0.02)
    return process


def main():
    build, size = sys.argv[1], int(sys.argv[2] if len(sys.argv) > 2 else 2048) << 20
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    folder = tempfile.mkdtemp(prefix="perilune-upload-")
    try:
        paths, sha256 = make_chunks(folder, size)
        os.sync()
        host, peer, out = Host(build, folder), nginx(folder), []
        for _ in range(rounds):
            before = memory(host.process.pid, "VmRSS")
            chunks, complete = host.upload(paths, size, sha256)
            os.sync()
            sent, _ = curl(paths, [f"http://127.0.0.1:18999/{os.path.basename(path)}" for path in paths])
            start = time.perf_counter()
            os.sync()
            synced = sent + time.perf_counter() - start
            mib = size / (1 << 20)
            out.append({"chunks_s": round(chunks, 2), "complete_s": round(complete, 2), "host_mib_s": round(mib / (chunks + complete)), "rss_before_kib": before, "rss_peak_kib": memory(host.process.pid, "VmHWM"), "rss_after_kib": memory(host.process.pid, "VmRSS"), "nginx_mib_s": round(mib / sent), "nginx_synced_mib_s": round(mib / synced)})
            print(json.dumps(out[-1]), flush=True)
        host.process.send_signal(signal.SIGTERM)
        host.process.wait()
        peer.terminate()
        peer.wait()
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
