# SPDX-License-Identifier: MIT
"""Python's requests as a peer of the client: bench_requests.py URL REQUESTS GET|POST CONCURRENCY. One JSON object."""

import json
import resource
import sys
import threading
import time

import requests

url, count, method, concurrency = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
body = {"items": [{"id": 1234567890123, "name": "sensor", "value": 21.5, "ok": True}]}
share = max(count // concurrency, 1)
failed = []


def work():
    session = requests.Session()
    for _ in range(share):
        answer = session.request(method, url, json=body if method == "POST" else None, timeout=30)
        if answer.status_code != 200 or answer.json()["ok"] is not True:
            failed.append(answer.status_code)


def processor():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


wall, cpu = time.monotonic(), processor()
threads = [threading.Thread(target=work) for _ in range(concurrency)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
wall, cpu = time.monotonic() - wall, processor() - cpu
done = share * concurrency
print(json.dumps({"client": "requests", "method": method, "concurrency": concurrency, "requests": done,
                  "failed": len(failed), "requests_per_s": round(done / wall),
                  "cpu_us_per_request": round(cpu * 1e6 / done, 2)}))
