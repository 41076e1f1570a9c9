-- SPDX-License-Identifier: MIT
-- The Functions API from Lua, against a host: lists calls with `each`, or makes calls at once and waits for them.
-- usage: lua5.4 bench_cdf.lua BUILD_DIR URL deploy HANDLER     deploys; prints the function's id
--        lua5.4 bench_cdf.lua BUILD_DIR URL list|calls|fill FUNCTION_ID COUNT     one JSON object
-- BENCH_TOKEN is the token.
local build, url, what, given, count = table.unpack(arg)
count = math.tointeger(tonumber(count))
package.path = build .. "/share/lua/5.4/?.lua;" .. build .. "/share/lua/5.4/?/init.lua;" .. package.path
package.cpath = build .. "/lib/lua/5.4/?.so;" .. package.cpath

local core = require "perilune.core"
local perilune = require "perilune"

local DATA = { id = 1234567890123, name = "sensor", a = 1.5, b = 2.5, tags = { "x", "y" } }
local cdf <close> = perilune.cdf { base_url = url, project = "bench", token = os.getenv "BENCH_TOKEN" }
local id = math.tointeger(tonumber(given))

if what == "deploy" then
    local fn = assert(cdf.functions:deploy { name = "bench", handler = given })
    print(assert(fn:wait { timeout = 60 }).id)
    return
end

local function peak_kb()
    local file <close> = assert(io.open "/proc/self/status")
    return math.tointeger(tonumber(file:read "a":match "VmHWM:%s*(%d+)"))
end

local function list()
    local seen, sum = 0, 0
    for call in cdf.functions.calls:each { function_id = id, limit = count } do
        seen = seen + 1
        sum = sum + call.end_time - call.start_time
    end
    assert(sum >= 0)
    return count - seen
end

local function calls(concurrency)
    local items = {}
    for i = 1, count do
        items[i] = i
    end
    local ended = 0
    local _, errors = perilune.map(items, function()
        local call, err = cdf.functions:call { id = id, data = DATA }
        if not call then
            return nil, err
        end
        ended = ended + (call.status == "Completed" and 1 or 0)
        return true
    end, { concurrency = concurrency })
    assert(not errors, errors and tostring(errors[next(errors)]))
    return count - ended
end

assert(cdf.functions.calls:list { function_id = id, limit = 1 }) -- connected, and all is loaded
local wall, cpu = core.monotonic(), os.clock()
local failed = what == "list" and list() or calls(what == "fill" and 64 or count)
wall, cpu = core.monotonic() - wall, os.clock() - cpu
print(('{"client":"perilune from Lua","what":"%s","count":%d,"failed":%d,"seconds":%.6f,"cpu_seconds":%.6f,'
    .. '"peak_kb":%d}'):format(what, count, failed, wall, cpu, peak_kb()))
