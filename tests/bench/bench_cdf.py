# SPDX-License-Identifier: MIT
"""The same as bench_cdf.lua by the platform's Python SDK: bench_cdf.py URL list|calls FUNCTION_ID COUNT."""

import asyncio
import json
import os
import sys
import time
import warnings

from cognite.client import AsyncCogniteClient, ClientConfig, CogniteClient, global_config
from cognite.client.credentials import Token

DATA = {"id": 1234567890123, "name": "sensor", "a": 1.5, "b": 2.5, "tags": ["x", "y"]}
warnings.simplefilter("ignore")  # that the base URL is a local one
global_config.disable_pypi_version_check = True
url, what, function_id, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def config():
    return ClientConfig(client_name="bench", project="bench", base_url=url, credentials=Token(os.environ["BENCH_TOKEN"]))


def peak_kb():
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def now():
    return time.perf_counter(), time.process_time()


def since(begin):
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def list_calls():
    client = CogniteClient(config())
    client.functions.calls.list(function_id=function_id, limit=1)
    begin = now()
    total = seen = 0
    for call in client.functions.calls.list(function_id=function_id, limit=count):
        seen += 1
        total += call.end_time - call.start_time
    assert total >= 0
    return count - seen, since(begin)


async def make_calls():
    client = AsyncCogniteClient(config())
    await client.functions.calls.list(function_id=function_id, limit=1)
    begin = now()
    calls = await asyncio.gather(*(client.functions.call(id=function_id, data=DATA, wait=True) for _ in range(count)))
    return sum(call.status != "Completed" for call in calls), since(begin)


failed, (seconds, cpu_seconds) = list_calls() if what == "list" else asyncio.run(make_calls())
print(json.dumps({"client": "cognite-sdk", "what": what, "count": count, "failed": failed, "seconds": seconds,
                  "cpu_seconds": cpu_seconds, "peak_kb": peak_kb()}))
