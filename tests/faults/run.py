# SPDX-License-Identifier: MIT
"""Kills sandboxes and the gateway under load and counts what was acknowledged: run.py BUILD [SECONDS [CASE]].

Standard library only. Every acknowledged asynchronous call must end exactly once, in a state that says what happened,
and nothing that a client was told to be final may change afterwards. Ends with `N passed, N failed`.
"""

import hashlib
import http.client
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

HANDLER = """
-- SPDX-License-Identifier: MIT
return {
  handle = function(ctx)
    local sum = 0
    for i = 1, ctx.data.work or 1000 do sum = sum + i end
    print("attempt", ctx.call.attempt)
    if ctx.data.fails and ctx.call.attempt <= ctx.data.fails then error("on purpose") end
    return { n = ctx.data.n, sum = sum, attempt = ctx.call.attempt }
  end,
}
"""
FINAL = {"Completed", "Failed", "Timeout", "Cancelled"}


class Host:
    def __init__(self, build, data, *options):
        self.program = os.path.join(build, "libexec", "perilune", "perilune-gateway")
        self.data, self.options = data, options
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [self.program, "--port", "0", "--data", self.data, "--json", *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        ready = json.loads(self.process.stdout.readline())
        self.address = ready["url"].split("//")[1]
        with open(ready["credentials"], encoding="utf-8") as file:
            self.headers = {"Authorization": "Bearer " + json.load(file)["token"]}

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def stop(self):
        self.process.terminate()
        code = self.process.wait(timeout=60)
        self.process.stdout.close()
        return code

    def connect(self):
        return http.client.HTTPConnection(self.address, timeout=60)

    def ask(self, method, path, body=None, connection=None, headers=None):
        connection = connection or self.connect()
        connection.request(method, path, body=body, headers={**self.headers, **(headers or {})})
        response = connection.getresponse()
        text = response.read()
        return response.status, json.loads(text) if text else None

    def deploy(self, name):
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("handler.lua", HANDLER)
        status, answer = self.ask("PUT", f"/v1/functions/{name}", package.getvalue())
        assert status in (200, 201), answer

    def sandboxes(self):
        return [sandbox["pid"] for sandbox in self.ask("GET", "/v1/host")[1]["sandboxes"] if sandbox.get("pid")]


class Load:
    """Threads that submit asynchronous calls and remember what was acknowledged."""

    def __init__(self, threads, work):
        self.threads_wanted, self.work = threads, work
        self.acknowledged, self.final, self.synchronous, self.unexpected = {}, {}, [], []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.counter = 0

    def start(self, host):
        self.stopping.clear()
        self.host = host
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(self.threads_wanted)]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def run(self, index):
        host = self.host
        connection = host.connect()
        headers = {"Content-Type": "application/json"}
        while not self.stopping.is_set():
            with self.lock:
                self.counter += 1
                n = self.counter
            body = json.dumps({"n": n, "work": random.randint(1, self.work)})
            try:
                if index % 4 == 3:
                    status, answer = host.ask("POST", "/v1/functions/job/call", body, connection, headers)
                    with self.lock:
                        self.synchronous.append(status)
                        if status == 200 and answer["n"] != n:
                            self.unexpected.append(("answer of another call", n, answer))
                        elif status not in (200, 502, 503):
                            self.unexpected.append((status, answer))
                    continue
                status, answer = host.ask("POST", "/v1/functions/job/calls", body, connection, headers)
                if status == 503:
                    time.sleep(0.01)
                    continue
                if status != 202:
                    self.unexpected.append((status, answer))
                    continue
                with self.lock:
                    self.acknowledged[answer["id"]] = n
                if random.random() < 0.2:
                    status, call = host.ask("GET", f"/v1/calls/{answer['id']}", None, connection)
                    if status != 200:
                        self.unexpected.append((status, call))
                    elif call["status"] in FINAL:
                        with self.lock:
                            self.final[call["id"]] = call
            except (OSError, http.client.HTTPException):
                if self.stopping.is_set():
                    return
                connection.close()
                connection = host.connect()
                time.sleep(0.005)

    def check(self, host, expect_completed):
        """Waits for every acknowledged call to end and compares."""
        assert not self.unexpected, self.unexpected[:3]
        assert self.acknowledged, "nothing was acknowledged: the load did not run"
        connection = host.connect()
        counts = {}
        for call_id, n in self.acknowledged.items():
            status, call = host.ask("GET", f"/v1/calls/{call_id}?wait=30", None, connection)
            assert status == 200, f"acknowledged call {call_id} is gone: {status} {call}"
            assert call["status"] in FINAL, f"call {call_id} never ended: {call}"
            counts[call["status"]] = counts.get(call["status"], 0) + 1
            if call["status"] == "Completed":
                status, result = host.ask("GET", f"/v1/calls/{call_id}/result", None, connection)
                assert status == 200 and result["n"] == n, (status, result, n)
            else:
                assert call["error"]["message"], call
            seen = self.final.get(call_id)
            assert seen is None or (seen["status"], seen["ended_at"]) == (call["status"], call["ended_at"]), (seen, call)
        if expect_completed:
            assert counts.get("Completed", 0) == len(self.acknowledged), counts
        return counts


def case_kill_gateway(build, seconds):
    """kill -9 of the gateway again and again under load: all that was acknowledged ends."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "2")
    try:
        host.deploy("job")
        load = Load(8, 20000)
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            load.start(host)
            time.sleep(random.uniform(0.2, 1.0))
            host.kill()
            kills += 1
            load.stop()
            host.start()
        # A call is tried three times; a kill in each of its attempts is very unlikely here, and it would say so.
        counts = load.check(host, expect_completed=False)
        assert counts.get("Completed", 0) >= 0.99 * len(load.acknowledged), counts
        print(f"  {kills} kills, {len(load.acknowledged)} acknowledged, {counts}")
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


class TermsLoad(Load):
    """Delayed, keyed and retried calls. A key is sent again, also when it is not known whether it arrived."""

    KINDS = ("delay_ms=300&attempts=50", "attempts=50", "retry_base_ms=20&retry_cap_ms=100&attempts=50")

    def __init__(self, threads, work):
        super().__init__(threads, work)
        self.keys = {}

    def run(self, index):
        host = self.host
        connection = host.connect()
        kind = index % 3
        while not self.stopping.is_set():
            with self.lock:
                self.counter += 1
                n = self.counter
            body = {"n": n, "work": random.randint(1, self.work)}
            if kind == 2:
                body["fails"] = 2
            self.submit(host, connection, kind, n, json.dumps(body))

    def submit(self, host, connection, kind, n, body):
        headers = {"Content-Type": "application/json"}
        if kind == 1:
            headers["Idempotency-Key"] = f"key-{n}"
            with self.lock:
                self.keys[n] = body
        for _ in range(2 if kind == 1 else 1):
            try:
                path = "/v1/functions/job/calls?" + self.KINDS[kind]
                status, answer = host.ask("POST", path, body, connection, headers)
                if status != 202:
                    self.unexpected.append((status, answer))
                    return
                with self.lock:
                    self.acknowledged[answer["id"]] = n
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.005)

    def check_keys(self, host):
        """Sends every key once more: each has one call, and it is the one that was acknowledged."""
        connection = host.connect()
        by_number = {}
        for call_id, n in self.acknowledged.items():
            by_number.setdefault(n, set()).add(call_id)
        for n, body in self.keys.items():
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"key-{n}"}
            path = "/v1/functions/job/calls?" + self.KINDS[1]
            status, answer = host.ask("POST", path, body, connection, headers)
            assert status == 202, answer
            self.acknowledged[answer["id"]] = n
            by_number.setdefault(n, set()).add(answer["id"])
        twice = {n: ids for n, ids in by_number.items() if len(ids) != 1}
        assert not twice, f"a key with several calls: {list(twice.items())[:3]}"


def case_kill_terms(build, seconds):
    """kill -9 of the gateway under delayed, keyed and retried calls: each ends once, no key has two."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "2")
    try:
        host.deploy("job")
        load = TermsLoad(6, 5000)
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            load.start(host)
            time.sleep(random.uniform(0.2, 1.0))
            host.kill()
            kills += 1
            load.stop()
            host.start()
        load.check_keys(host)
        counts = load.check(host, expect_completed=True)
        print(f"  {kills} kills, {len(load.acknowledged)} acknowledged, {len(load.keys)} keys, {counts}")
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


def case_kill_schedules(build, seconds):
    """kill -9 of the gateway under schedules of each second: every tick is there once, and so is its call."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "2")
    names = [f"s{i}" for i in range(20)]
    try:
        host.deploy("job")
        for name in names:
            spec = {"function": "job", "cron": "* * * * * *", "missed": "all", "data": {"n": 1}}
            status, answer = host.ask("PUT", f"/v1/schedules/{name}", json.dumps(spec))
            assert status == 201, answer
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(random.uniform(0.2, 1.5))
            host.kill()
            kills += 1
            host.start()
        for name in names:
            status, answer = host.ask("POST", f"/v1/schedules/{name}/pause")
            assert status == 200, answer
        ticks = {name: host.ask("GET", f"/v1/schedules/{name}/ticks?limit=10000")[1]["items"] for name in names}
        made = set()
        for name, list_ in ticks.items():
            times = [tick["scheduled_at"] for tick in list_]
            assert times == list(range(times[0], times[-1] - 1, -1000)), (name, times)
            assert len(times) >= seconds - 1, (name, times)
            assert all(tick["outcome"] == "Called" for tick in list_), list_
            made.update(tick["call_id"] for tick in list_)
        assert len(made) == sum(map(len, ticks.values()))
        calls, before = {}, ""
        while True:
            page = host.ask("GET", f"/v1/calls?limit=1000{before}")[1]["items"]
            calls.update((call["id"], call) for call in page)
            if len(page) < 1000:
                break
            before = f"&before_id={page[-1]['id']}"
        assert set(calls) == made, "calls without a tick, or ticks without their call"
        ends = [host.ask("GET", f"/v1/calls/{id}?wait=60")[1]["status"] for id in made]
        assert set(ends) <= FINAL and ends.count("Completed") >= 0.97 * len(ends), ends
        print(f"  {kills} kills, {len(made)} ticks, {ends.count('Completed')} completed")
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


def case_kill_sandboxes(build, seconds):
    """kill -9 of sandboxes under load: acknowledged calls end, synchronous ones are answered, the host stays up."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "2")
    try:
        host.deploy("job")
        load = Load(8, 20000)
        load.start(host)
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(random.uniform(0.1, 0.5))
            pids = host.sandboxes()
            if not pids:  # all of them are being replaced
                continue
            try:
                os.kill(random.choice(pids), signal.SIGKILL)
                kills += 1
            except ProcessLookupError:
                pass
        load.stop()
        counts = load.check(host, expect_completed=False)
        assert kills and counts.get("Completed", 0) >= 0.99 * len(load.acknowledged), (kills, counts)
        lost = sum(1 for status in load.synchronous if status == 502)
        print(f"  {kills} kills, {len(load.acknowledged)} acknowledged, {counts}; "
              f"{len(load.synchronous)} synchronous, {lost} of them lost and told so")
        assert host.process.poll() is None, "the gateway died"
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


def case_stop_under_load(build, seconds):
    """SIGTERM under load: what was acknowledged is kept and completes after the next start, exit code 0."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "2", "--grace", "5")
    try:
        host.deploy("job")
        load = Load(8, 20000)
        for _ in range(max(1, int(seconds / 3))):
            load.start(host)
            time.sleep(1)
            assert host.stop() == 0, "a stop under load did not end with 0"
            load.stop()
            host.start()
        counts = load.check(host, expect_completed=True)
        print(f"  {len(load.acknowledged)} acknowledged, {counts}")
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


class AccessLoad:
    """Threads that take numbers and overwrite a file each, through the access service."""

    def __init__(self, host, threads):
        self.numbers, self.errors = [], []
        self.lock, self.stopping = threading.Lock(), threading.Event()
        assert host.ask("PUT", "/v1/parents/p", "{}")[0] in (200, 201)
        self.files = []
        for _ in range(threads):
            status, made = self.post(host, "/cim/file_upload/create", {"parent_object_id": "p", "filename": "f"})
            assert status == 200, made
            # content: what was acknowledged last; trying: what may have replaced it since
            self.files.append({"id": made["file_object_id"], "content": b"", "trying": None, "versions": 0})

    @staticmethod
    def post(host, path, body, connection=None):
        return host.ask("POST", path, json.dumps(body), connection)

    def start(self, host):
        self.stopping.clear()
        self.threads = [threading.Thread(target=self.run, args=(host, file)) for file in self.files]
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()

    def run(self, host, file):
        while not self.stopping.is_set():
            try:
                count = random.randint(1, 100)
                status, answer = host.ask("GET", f"/cim/numgen?name=n&count={count}")
                with self.lock:
                    if status == 200:
                        self.numbers += answer["numbers"]
                    else:
                        self.errors.append((status, answer))
                self.overwrite(host, file)
            except (OSError, http.client.HTTPException):
                return  # killed

    def overwrite(self, host, file):
        content = os.urandom(random.randint(1, 200000))
        path = "/cim/file_upload/" + file["id"]
        spec = {"filesize": len(content), "lock_id": f"{random.getrandbits(64):x}"}
        status, urls = self.post(host, path + "/generate_presigned_url", spec)
        assert status == 200, urls
        urls["etags"] = []
        for i, url in enumerate(urls["urls"]):
            connection = host.connect()
            chunk = content[i * urls["chunksize"] : (i + 1) * urls["chunksize"]]
            connection.request("PUT", url[url.index("/cim/") :], chunk)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200, answer.status
            urls["etags"].append(answer.headers["ETag"])
        file["trying"] = content
        digest = hashlib.sha256(content).hexdigest()
        status, answer = self.post(host, path + "/complete", {**spec, "presigned_write_urls": urls, "sha256": digest})
        assert status == 200, answer
        file["content"], file["trying"], file["versions"] = content, None, file["versions"] + 1

    def check(self, host):
        assert not self.errors, self.errors[:3]
        assert len(set(self.numbers)) == len(self.numbers), "a number was given twice"
        for file in self.files:
            connection = host.connect()
            connection.request("GET", f"/cim/files/{file['id']}/content", headers=host.headers)
            content = connection.getresponse().read()
            assert content in (file["content"], file["trying"]), "a file has neither its old nor its new content"
            file["content"], file["trying"] = content, None


def case_kill_access(build, seconds):
    """kill -9 of the gateway while it gives numbers and takes uploads: no number twice, files old or new, nothing left."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "1", "--cim-rate", "1000000/60", "--cim-chunk-size", "64K")
    try:
        load = AccessLoad(host, 4)
        kills, until = 0, time.monotonic() + seconds
        while time.monotonic() < until:
            load.start(host)
            time.sleep(random.uniform(0.1, 0.6))
            host.kill()
            kills += 1
            load.stop()
            host.start()
            load.check(host)
        versions = sum(file["versions"] for file in load.files)
        assert load.numbers and versions, "the load did not run"
        blobs = sum(len(files) for _, _, files in os.walk(data + "/blobs"))
        assert blobs <= len(load.files), f"{blobs} contents for {len(load.files)} files"
        left = [name for name in os.listdir(data + "/tmp") if name.startswith("upload")]
        assert not left, left
        print(f"  {kills} kills, {len(load.numbers)} numbers, {versions} uploads")
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


def memory_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def sanitized(host):
    """A sanitizer keeps freed memory for a while, so its program's size says nothing; it finds leaks itself."""
    with open(f"/proc/{host.process.pid}/maps", encoding="utf-8") as file:
        return any("libasan" in line or "libtsan" in line for line in file)


def case_soak(build, seconds):
    """Mixed load for a while: after a warm-up, memory of gateway and sandboxes grows by less than 12 MB more."""
    data = tempfile.mkdtemp(prefix="perilune-faults-")
    host = Host(build, data, "--sandboxes", "2")
    try:
        host.deploy("job")
        load = Load(8, 2000)
        load.start(host)
        samples = []
        for _ in range(8):
            time.sleep(seconds / 8)
            host.deploy("job")
            pids = [host.process.pid, *host.sandboxes()]
            samples.append([memory_kib(pid) for pid in pids])
        load.stop()
        load.check(host, expect_completed=True)
        totals = [sum(sample) for sample in samples]
        print(f"  {load.counter} calls; PSS in KiB of gateway and sandboxes, first {samples[0]}, last {samples[-1]}")
        if not sanitized(host):
            # Caches fill in the first half. A sample may meet a peak; a leak is in all of them.
            grown = min(totals[6:]) - max(totals[2:4])
            assert grown < 12 * 1024, (grown, samples)
        assert host.stop() == 0
    finally:
        if host.process.poll() is None:
            host.kill()
        shutil.rmtree(data, ignore_errors=True)


def main():
    if len(sys.argv) < 2:
        print("usage: run.py BUILD [SECONDS [CASE]]", file=sys.stderr)
        return 2
    build = os.path.abspath(sys.argv[1])
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 8
    cases = {name[5:]: function for name, function in globals().items() if name.startswith("case_")}
    if len(sys.argv) > 3:
        cases = {sys.argv[3]: cases[sys.argv[3]]}
    passed = failed = 0
    for name, function in cases.items():
        print(f"{name}: {function.__doc__.strip()}", flush=True)
        try:
            function(build, seconds)
            passed += 1
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"  FAILED: {type(error).__name__}: {error}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
