-- SPDX-License-Identifier: MIT
-- The JSON seam beside lua-cjson, both directions, in one process: lua5.4 bench_json.lua BUILD_DIR
-- Prints one JSON object per line. Runs alternate between the codecs, and the median of each counts.

local build = assert(arg[1], "usage: bench_json.lua BUILD_DIR")
package.cpath = build .. "/lib/lua/5.4/?.so;" .. package.cpath

local core = require "perilune.core"
local cjson = require "cjson"

local RUNS = 9
local SECONDS = 0.08 -- of one run

--- A page of an API: objects with ids, times, text, flags, small arrays. Grows until its text has `size` bytes.
local function document(size)
    local items, text = {}, ""
    local i = 0
    while #text < size do
        i = i + 1
        items[i] = {
            id = 1000000 + i,
            externalId = ("fn-%06d"):format(i),
            name = "report " .. i,
            status = i % 7 == 0 and "Failed" or "Ready",
            createdTime = 1700000000000 + i * 1000,
            cpu = 0.25,
            score = i * 1.37,
            fraction = i / 7,
            owner = "ops@example.com",
            description = "Counts the rows of a day\nand writes \"totals\" per section",
            isActive = i % 2 == 0,
            metadata = { region = "europe-west1", team = "data" },
            tags = { "daily", "report", "x" .. i },
        }
        text = assert(core.json_encode { items = items, nextCursor = "abc" })
    end
    return { items = items, nextCursor = "abc" }, text
end

local function median(list)
    table.sort(list)
    return list[#list // 2 + 1]
end

--- Bytes per second of f over about SECONDS.
local function rate(f, argument, bytes)
    collectgarbage()
    local count, start = 0, os.clock()
    local stop
    repeat
        for _ = 1, math.max(1, 20000 // bytes) do
            f(argument)
            count = count + 1
        end
        stop = os.clock()
    until stop - start >= SECONDS
    return count * bytes / (stop - start)
end

local function compare(direction, bytes, ours, theirs, argument)
    local a, b = {}, {}
    for run = 1, RUNS do
        a[run] = rate(ours, argument, bytes)
        b[run] = rate(theirs, argument, bytes)
    end
    local x, y = median(a), median(b)
    print(core.json_encode {
        bench = "json", direction = direction, bytes = bytes, perilune_mb_s = math.floor(x / 1e5) / 10,
        cjson_mb_s = math.floor(y / 1e5) / 10, ratio = math.floor(x / y * 100 + 0.5) / 100, goal = 1.5, runs = RUNS,
        peer = "lua-cjson " .. cjson._VERSION,
    })
end

for _, size in ipairs { 1000, 10000, 100000 } do
    local value, text = document(size)
    compare("decode", #text, core.json_decode, cjson.decode, text)
    compare("encode", #text, core.json_encode, cjson.encode, value)
end
