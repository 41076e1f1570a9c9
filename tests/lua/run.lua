-- SPDX-License-Identifier: MIT
-- Runs every tests/lua/test_*.lua: lua5.4 tests/lua/run.lua BUILD_DIR [--stress] [LuaUnit option...]
-- Without --stress the suite runs again afterwards in a child under a stressed collector.
local build = assert(arg[1], "usage: run.lua BUILD_DIR [--stress] [LuaUnit option...]")
local uv = require "luv"
local here = arg[0]:match "^(.*/)" or "./"

local root = assert(uv.fs_realpath(build))
_G.PERILUNE_BUILD = root
_G.PERILUNE_SOURCE = assert(uv.fs_realpath(here .. "../.."))
package.path = ("%s/share/lua/5.4/?.lua;%s/share/lua/5.4/?/init.lua;%s?.lua;%s"):format(root, root, here,
    package.path)
package.cpath = root .. "/lib/lua/5.4/?.so;" .. package.cpath

local lu = require "luaunit"
local stress = arg[2] == "--stress"
local options = table.move(arg, stress and 3 or 2, #arg, 1, {})

local names = {}
local dir = assert(uv.fs_scandir(here))
for name in function() return uv.fs_scandir_next(dir) end do
    if name:find "^test_.*%.lua$" then
        names[#names + 1] = name
    end
end
table.sort(names)
for _, name in ipairs(names) do
    dofile(here .. name)
end

if stress then
    collectgarbage("generational", 5, 20)
    local count = 0
    debug.sethook(function()
        count = count + 1
        collectgarbage(count % 50 == 0 and "collect" or "step")
    end, "", 997)
end

local runner = lu.LuaUnit.new()
runner:setOutputType "text"
runner:runSuite("--verbose", table.unpack(options))
debug.sethook()
require("support").stop_children()
local passed, failed = runner.result.successCount, runner.result.failureCount + runner.result.errorCount

if not stress and #options == 0 then
    print "---- again under a stressed collector ----"
    io.stdout:flush()
    local pipe = assert(io.popen(("lua5.4 '%s' '%s' --stress"):format(arg[0], build)))
    local p, f
    for line in pipe:lines() do
        print(line)
        local a, b = line:match "^(%d+) passed, (%d+) failed$"
        p, f = a or p, b or f
    end
    local ok = pipe:close()
    passed, failed = passed + (tonumber(p) or 0), failed + (tonumber(f) or 1)
    failed = failed + ((not ok and failed == 0) and 1 or 0)
end
print(("%d passed, %d failed"):format(passed, failed))
os.exit(failed == 0 and passed > 0, true) -- closing the state, so that a leak checker sees what is left
