-- SPDX-License-Identifier: MIT
-- For wrk: POST of about 100 bytes of JSON; BENCH_TOKEN gives a bearer token. Prints one JSON object at the end.
-- luacheck: globals wrk done
wrk.method = "POST"
wrk.body = '{"id":1234567,"name":"report of the day","a":17,"b":25,"tags":["a","b"],"when":"2026-11-22T02:00"}'
wrk.headers["Content-Type"] = "application/json"
local token = os.getenv("BENCH_TOKEN")
if token then
    wrk.headers["Authorization"] = "Bearer " .. token
end

function done(summary, latency)
    local errors = summary.errors
    io.write(('{"requests":%d,"seconds":%.6f,"p50_ms":%.3f,"p99_ms":%.3f,"lost":%d}\n'):format(summary.requests,
        summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
        errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
