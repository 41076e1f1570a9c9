-- SPDX-License-Identifier: MIT
-- The client's speed from Lua: requests of a small JSON, the answer decoded, by so many tasks at once.
-- usage: lua5.4 bench_client.lua BUILD_DIR URL REQUESTS GET|POST CONCURRENCY     one JSON object
local build, url, requests, method, concurrency = table.unpack(arg)
requests, concurrency = math.tointeger(tonumber(requests)), math.tointeger(tonumber(concurrency))
package.path = build .. "/share/lua/5.4/?.lua;" .. build .. "/share/lua/5.4/?/init.lua;" .. package.path
package.cpath = build .. "/lib/lua/5.4/?.so;" .. package.cpath

local core = require "perilune.core"
local perilune = require "perilune"

local client <close> = perilune.client { base_url = url }
local body = { items = { { id = 1234567890123, name = "sensor", value = 21.5, ok = true } } }
local started, failed = 0, 0

local function work()
    while started < requests do
        started = started + 1
        local reply = client:request { url = url, method = method, json = method == "POST" and body or nil }
        if not reply or reply:json().ok ~= true then
            failed = failed + 1
        end
    end
end

local workers = {}
for i = 1, concurrency do
    workers[i] = work
end
local wall, cpu = core.monotonic(), os.clock()
perilune.gather(table.unpack(workers))
wall, cpu = core.monotonic() - wall, os.clock() - cpu
print(('{"client":"perilune from Lua","method":"%s","concurrency":%d,"requests":%d,"failed":%d,'
    .. '"requests_per_s":%.0f,"cpu_us_per_request":%.2f}'):format(method, concurrency, requests, failed,
    requests / wall, cpu * 1e6 / requests))
