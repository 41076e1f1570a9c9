-- SPDX-License-Identifier: MIT
-- Runs the command-line tests: the real program, a real host.
-- usage: lua5.4 tests/cli/run.lua BUILD_DIR [LuaUnit option...]
local build = assert(arg[1], "usage: run.lua BUILD_DIR")
local here = arg[0]:match("^(.*/)") or "./"
local share = build .. "/share/lua/5.4/"
package.path = here .. "?.lua;" .. share .. "?.lua;" .. share .. "?/init.lua;" .. package.path
package.cpath = build .. "/lib/lua/5.4/?.so;" .. package.cpath

local lu = require "luaunit"
local process = require "process"
local uv = require "luv"

_G.PERILUNE_BUILD = assert(uv.fs_realpath(build))
_G.PERILUNE_SOURCE = assert(uv.fs_realpath(here .. "../.."))
local suites = { "units", "output", "usage", "host", "functions", "calls", "schedules", "access", "cim", "terminal" }
for _, name in ipairs(suites) do
    dofile(here .. "test_" .. name .. ".lua")
end

local runner = lu.LuaUnit.new()
runner:setOutputType("text")
runner:runSuite("--verbose", table.unpack(arg, 2))
process.stop_all()
local result = runner.result
local failed = result.failureCount + result.errorCount
print(("%d passed, %d failed"):format(result.successCount, failed))
os.exit(failed == 0 and result.successCount > 0)
