# SPDX-License-Identifier: MIT
"""The measures of scripts/bench: run.py BUILD [--quick] [--json] [MEASURE...].

Rounds alternate between us and the peers, so that a ratio is of one run; what is printed is the median over rounds.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
import zipfile

import servers
import upload

HERE = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "perilune", "functions-framework")
SDK = os.path.join(os.path.dirname(CACHE), "cognite-sdk", "bin", "python")
NODE_MODULES = os.path.join(CACHE, "node_modules")
PYTHON = "/usr/bin/python3"  # the one that Debian's python3-requests belongs to
rows = []
options = None


def note(text):
    print(text, file=sys.stderr, flush=True)


def row(measure, what, value, unit, ratio=None, peer="", goal="", met=None):
    rows.append({"measure": measure, "what": what, "value": value, "unit": unit, "ratio": ratio, "peer": peer,
                 "goal": goal, "met": met})


def output(*command, env=None):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=True, env=env)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def first_line(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return next(iter(done.stdout.splitlines()), "?")


def median(values):
    return statistics.median(values)


def versions():
    with open(os.path.join(NODE_MODULES, "@google-cloud/functions-framework/package.json"), encoding="utf-8") as file:
        framework = json.load(file)["version"]
    lua_module = first_line("dpkg-query", "-W", "-f=${Version}", "libnginx-mod-http-lua")
    return {
        "nginx+lua": f"{first_line('nginx', '-v').split()[-1]}, libnginx-mod-http-lua {lua_module}, lua-cjson "
        + first_line("dpkg-query", "-W", "-f=${Version}", "lua-cjson"),
        "functions-framework": f"{framework} (npm), node {first_line('node', '--version')}",
        "cognite-sdk": first_line(SDK, "-c", "import cognite.client; print(cognite.client.__version__)"),
        "libcurl": first_line("pkg-config", "--modversion", "libcurl"),
        "requests": first_line(PYTHON, "-c", "import requests, platform; print(requests.__version__ + ', python ' + "
                               "platform.python_version())"),
        "wrk": first_line("dpkg-query", "-W", "-f=${Version}", "wrk"),
        "sqlite": first_line("pkg-config", "--modversion", "sqlite3"),
        "processor": next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                           if line.startswith("model name")), "?") + f", {os.cpu_count()} cores",
    }


def measure_client():
    """GET and POST of a small JSON from one nginx worker: requests per second and processor time of each."""
    programs = {
        "C": [os.path.join(options.build, "bench/bench_client")],
        "libcurl": [os.path.join(options.build, "bench/bench_curl")],
        "Lua": ["lua5.4", os.path.join(HERE, "bench_client.lua"), options.build],
        "requests": [PYTHON, os.path.join(HERE, "bench_requests.py")],
    }
    per_second = {"C": 20000, "libcurl": 20000, "Lua": 15000, "requests": 900}
    goals = {"C": ("libcurl", 0.9), "Lua": ("libcurl", 0.75)}
    with servers.nginx(1) as port:
        url = f"http://127.0.0.1:{port}/small"
        for method in ("GET", "POST"):
            for concurrency in (1, 10, 100):
                rate, cpu = {}, {}
                for _ in range(options.rounds):
                    for name, program in programs.items():
                        if name == "requests" and concurrency == 100:
                            continue
                        count = max(int(per_second[name] * options.seconds), 100)
                        (answer,) = output(*program, url, str(count), method, str(concurrency))
                        if answer["failed"]:
                            raise SystemExit(f"scripts/bench: {name} lost {answer['failed']} requests")
                        rate.setdefault(name, []).append(answer["requests_per_s"])
                        cpu.setdefault(name, []).append(answer["cpu_us_per_request"])
                for name in rate:
                    what = f"{method}, {concurrency} at once, {name}, {median(cpu[name]):.0f} us of processor each"
                    if name in goals:
                        peer, goal = goals[name]
                        ratio = median([a / b for a, b in zip(rate[name], rate[peer])])
                        row("client", what, median(rate[name]), "/s", ratio, peer, f">= {goal}", ratio >= goal)
                        if "requests" in rate:
                            ratio = median([a / b for a, b in zip(rate[name], rate["requests"])])
                            row("client", f"{method}, {concurrency} at once, {name}", median(rate[name]), "/s", ratio,
                                "requests", ">= 15", ratio >= 15)
                    else:
                        row("client", what, median(rate[name]), "/s")


def load(url, connections=64, token=None):
    env = {key: value for key, value in os.environ.items() if key != "BENCH_TOKEN"}
    if token:
        env["BENCH_TOKEN"] = token
    (answer,) = output("wrk", "-t1", f"-c{connections}", f"-d{max(int(options.seconds * 5), 1)}s", "-s",
                       os.path.join(HERE, "load.lua"), url, env=env)
    answer["rate"] = answer["requests"] / answer["seconds"]
    return answer


def measure_host():
    """Synchronous calls, 64 connections, the same two cores for server and wrk."""
    with servers.Host(options.build) as host, servers.nginx(1) as one, servers.nginx(2) as two, \
            servers.framework(NODE_MODULES) as node:
        host.deploy(os.path.join(HERE, "handler"), "bench")
        peers = {
            "perilune host": (f"{host.url}/v1/functions/bench/call", host.token),
            "nginx+lua, 1 worker": (f"http://127.0.0.1:{one}/call", None),
            "nginx+lua, 2 workers": (f"http://127.0.0.1:{two}/call", None),
            "functions-framework": (f"http://127.0.0.1:{node}/", None),
        }
        results = {name: [] for name in peers}
        for number in range(options.rounds + 1):
            for name, (url, token) in peers.items():
                answer = load(url, token=token)
                if number:  # the first round warms up
                    results[name].append(answer)
    rates = {name: [answer["rate"] for answer in answers] for name, answers in results.items()}
    nginx = max((name for name in rates if name.startswith("nginx")), key=lambda name: median(rates[name]))
    for name, answers in results.items():
        lost = sum(answer["lost"] for answer in answers)
        what = f"{name}: p50 {median([a['p50_ms'] for a in answers]):.2f} ms, p99 " \
               f"{median([a['p99_ms'] for a in answers]):.2f} ms, {lost} lost"
        if name != "perilune host":
            row("host", what, median(rates[name]), "/s")
            continue
        ratio = median([a / b for a, b in zip(rates[name], rates[nginx])])
        row("host", what, median(rates[name]), "/s", ratio, nginx, ">= 0.7, none lost", ratio >= 0.7 and lost == 0)
        ratio = median([a / b for a, b in zip(rates[name], rates["functions-framework"])])
        row("host", name, median(rates[name]), "/s", ratio, "functions-framework", ">= 10", ratio >= 10)
        p99 = median([answer["p99_ms"] for answer in answers])
        row("host", "p99 of a call", p99, "ms", goal="< 5", met=p99 < 5)


def measure_json():
    for answer in output("lua5.4", os.path.join(HERE, "bench_json.lua"), options.build):
        row("json", f"{answer['direction']}, {answer['bytes']} bytes", answer["perilune_mb_s"], "MB/s", answer["ratio"],
            answer["peer"], f">= {answer['goal']}", answer["ratio"] >= answer["goal"])


def package(number):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("handler.lua", f"return {{ handle = function(ctx) return {{ number = {number} }} end }}\n")
    return data.getvalue()


def measure_first():
    """A function that was never run before: from request to reply, on a connection that is open."""
    with servers.Host(options.build) as host:
        connection = host.connection()
        times, again = [], []
        count = 20 if options.quick else 100
        for number in range(count):
            host.request(connection, "PUT", f"/v1/functions/first-{number}", package(number), "application/zip")
        for number in range(count):
            for list_ in (times, again):
                begin = time.perf_counter()
                host.request(connection, "POST", f"/v1/functions/first-{number}/call", "{}")
                list_.append((time.perf_counter() - begin) * 1e3)
    times.sort()
    row("first", f"first call of each of {count} functions, median", median(times), "ms", goal="< 5", met=median(times) < 5)
    row("first", "the slowest of them", times[-1], "ms")
    row("first", "second call of each, median", median(again), "ms")


def total(pids):
    return sum(servers.memory(pid)[1] for pid in pids)


def measure_memory():
    """Kilobytes: at rest, and what each of 200 further functions adds after a call."""
    with servers.Host(options.build) as host:
        connection = host.connection()
        host.request(connection, "PUT", "/v1/functions/warm", package(0), "application/zip")
        for _ in range(200):
            host.request(connection, "POST", "/v1/functions/warm/call", "{}")
        gateway, sandboxes = host.processes()
        rss, pss = servers.memory(gateway)
        row("memory", f"gateway (its own share {pss / 1024:.1f} MiB)", rss / 1024, "MiB")
        for number, pid in enumerate(sandboxes):
            rss, pss = servers.memory(pid)
            row("memory", f"sandbox {number + 1} (its own share {pss / 1024:.1f} MiB)", rss / 1024, "MiB")
        before = total([gateway, *sandboxes])
        for number in range(200):
            host.request(connection, "PUT", f"/v1/functions/idle-{number}", package(number), "application/zip")
            host.request(connection, "POST", f"/v1/functions/idle-{number}/call", "{}")
        each = (total([gateway, *sandboxes]) - before) / 200
        row("memory", "each further idle function, called once", each, "KiB", goal="< 100", met=each < 100)


def measure_store():
    """Durable enqueue (synchronous=FULL) through the store, beside the same insert in SQLite directly."""
    rates = {}
    for _ in range(options.rounds):
        for answer in output(os.path.join(options.build, "bench/bench_store"), "/var/tmp", str(options.seconds)):
            rates.setdefault((answer["what"], answer["at_once"]), []).append(answer["calls_per_s"])
    peers = [key for key in rates if key[0] == "sqlite directly"]
    for key, values in rates.items():
        if key in peers:
            row("store", f"{key[0]}, {key[1]} in a transaction", median(values), "/s")
            continue
        for peer in peers:
            ratio = median([a / b for a, b in zip(values, rates[peer])])
            row("store", f"{key[0]}, {key[1]} waiting at once", median(values), "/s", ratio, f"SQLite, {peer[1]} in one")


def measure_sandbox():
    """A sandbox alone, without gateway and HTTP."""
    units = {"cpu_us_per_call": "us", "first_call_us": "us", "first_call_cpu_us": "us",
             "lua_kb_per_idle_function": "KiB", "resident_kb_per_idle_function": "KiB"}
    values = {}
    for _ in range(options.rounds):
        for answer in output(os.path.join(options.build, "bench/bench_sandbox")):
            for name in units:
                values.setdefault(name, []).append(answer[name])
    for name, unit in units.items():
        row("sandbox", name.rsplit("_", 1)[0].replace("_", " ") if name.endswith("_us") else name.replace("_kb", "")
            .replace("_", " "), median(values[name]), unit)


def measure_upload():
    upload.run(options, row)


def measure_cdf(what, count, time_goal, memory_goal):
    """Our client and the genuine SDK against the same host."""
    ours, theirs = [], []
    with servers.Host(options.build) as host:
        env = {**os.environ, "BENCH_TOKEN": host.token}
        program = ["lua5.4", os.path.join(HERE, "bench_cdf.lua"), options.build, host.url]
        handler = os.path.join(HERE, "handler/handler.lua")
        function = subprocess.run([*program, "deploy", handler], stdout=subprocess.PIPE, text=True, check=True,
                                  env=env).stdout.strip()
        if what == "list":
            output(*program, "fill", function, str(count), env=env)
        for _ in range(options.rounds):
            for list_, command in ((ours, program), (theirs, [SDK, os.path.join(HERE, "bench_cdf.py"), host.url])):
                (answer,) = output(*command, what, function, str(count), env=env)
                if answer["failed"]:
                    raise SystemExit(f"scripts/bench: {answer['client']} lost {answer['failed']} of {count}")
                list_.append(answer)
    name = f"cdf_{what}"
    for key, factor, unit, goal in (("seconds", 1e3, "ms", time_goal), ("cpu_seconds", 1e3, "ms", None),
                                    ("peak_kb", 1 / 1024, "MiB", memory_goal)):
        label = {"seconds": f"{count} calls", "cpu_seconds": "processor time of the client",
                 "peak_kb": "most memory resident in the client's process"}[key]
        ratio = median([b[key] / a[key] for a, b in zip(ours, theirs)])
        row(name, label + ", cognite-sdk", median([answer[key] for answer in theirs]) * factor, unit)
        row(name, label, median([answer[key] for answer in ours]) * factor, unit, ratio, "cognite-sdk",
            f">= {goal}" if goal else "", ratio >= goal if goal else None)


def measure_cdf_list():
    """10,000 calls listed through `each`."""
    measure_cdf("list", 10000, 10, 10)


def measure_cdf_calls():
    """500 calls at once, each with its wait."""
    measure_cdf("calls", 500, 3, None)


MEASURES = {"client": measure_client, "host": measure_host, "json": measure_json, "first": measure_first,
            "memory": measure_memory, "store": measure_store,
            "sandbox": measure_sandbox, "upload": measure_upload,
            "cdf_list": measure_cdf_list, "cdf_calls": measure_cdf_calls}


def print_table(about):
    print(f"{'':10}{'what':58} {'median':>12} {'':6}{'ratio':>7}  {'to':24}goal")
    for line in rows:
        value = f"{line['value']:,.0f}" if line["value"] >= 1000 else f"{line['value']:.3g}"
        ratio = "" if line["ratio"] is None else f"{line['ratio']:.2f}"
        verdict = "" if line["met"] is None else line["goal"] + (" met" if line["met"] else " MISSED")
        print(f"{line['measure']:10}{line['what']:58} {value:>12} {line['unit']:6}{ratio:>7}  {line['peer']:24}{verdict}"
              .rstrip())
    print(f"\nMedians of {options.rounds} rounds, peers in turn within each. Peers:")
    for name, version in about.items():
        print(f"  {name:20} {version}")


def main():
    global options
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("build")
    parser.add_argument("--quick", action="store_true", help="short: three rounds, no firm numbers")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, metavar="N", help="that count; default 5, or 3 with --quick")
    parser.add_argument("--size", type=int, default=2048, metavar="MIB", help="of the file that is uploaded")
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=", ".join(MEASURES))
    options = parser.parse_intermixed_args()
    if unknown := set(options.measures) - set(MEASURES):
        parser.error(f"unknown measure {unknown.pop()} (there are {', '.join(MEASURES)})")
    options.build = os.path.abspath(options.build)
    options.rounds = options.rounds or (3 if options.quick else 5)
    options.seconds = 0.3 if options.quick else 1.0
    for name in options.measures or MEASURES:
        note(f"== {name}")
        MEASURES[name]()
    about = versions()
    if options.json:
        print(json.dumps({"rows": rows, "peers": about, "rounds": options.rounds}, indent=1))
    else:
        print_table(about)


if __name__ == "__main__":
    main()
