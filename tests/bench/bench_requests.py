# SPDX-License-Identifier: MIT
"""Python's requests as a peer of the client: bench_requests.py URL METHOD CONCURRENCY SECONDS. One JSON object."""

import json
import resource
import sys
import threading
import time

import requests

url, method, concurrency, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
body = {"id": 1234567, "name": "report", "a": 17, "b": 25, "tags": ["a", "b"]}
counts = [0] * concurrency


def work(index):
    session = requests.Session()
    while time.monotonic() < end:
        answer = session.request(method, url, json=body if method == "POST" else None, timeout=30)
        answer.raise_for_status()
        assert answer.json()["ok"]
        counts[index] += 1


def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


begin, cpu_begin = time.monotonic(), cpu()
end = begin + seconds
threads = [threading.Thread(target=work, args=(i,)) for i in range(concurrency)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"requests": sum(counts), "seconds": time.monotonic() - begin, "cpu_seconds": cpu() - cpu_begin}))
