-- SPDX-License-Identifier: MIT
-- The inventory example, its modules alone: scripts/examples/inventory.
local lu = require "luaunit"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or "./"
local folder = here .. "../../scripts/examples/inventory/"

-- Loads the package as the sandbox does, under the names that the handler requires, and takes the names back.
local function load_package()
    local before, loaded = package.path, {}
    package.path = folder .. "?.lua;" .. before
    for _, name in ipairs { "lib.status", "lib.report" } do
        package.loaded[name] = nil
        loaded[name] = require(name)
    end
    local handler = dofile(folder .. "handler.lua")
    package.path = before
    for name in pairs(loaded) do
        package.loaded[name] = nil
    end
    return handler, loaded["lib.status"], loaded["lib.report"]
end

local function context(body, data)
    local lines = {}
    local function level(name)
        return function(...)
            lines[#lines + 1] = name .. ": " .. table.concat({ ... }, " ")
        end
    end
    return { data = data, request = { body = body }, log = { info = level "info", warn = level "warn" } }, lines
end

local sample = [[
Package: big
Status: install ok installed
Section: libs
Installed-Size: 2048
Version: 1.2-3
Description: a package
 that goes on
 .
 Package: not-a-field

Package: small
Status: hold ok installed
Section: libs
Installed-Size: 7
Version: 1

Package: sizeless
Status: install ok installed
Version: 2

Package: leftover
Status: deinstall ok config-files
Section: web
Installed-Size: 9999
Version: 3

Package: half
Status: install ok half-configured
Section: web
Installed-Size: 10
Version: 4

Package: reinst
Status: install reinstreq half-installed
Section: web
Version: 5
]]

local suite = {}
_G.TestExampleInventory = suite

function suite.test_report_of_a_small_machine()
    local handler = load_package()
    local ctx, lines = context(sample)
    local result = assert(handler.handle(ctx))
    lu.assertEquals(result.packages, 6)
    lu.assertEquals(result.installed, 5)
    lu.assertEquals(result.removed, 1)
    lu.assertEquals(result.installed_kib, 2048 + 7 + 10)
    lu.assertEquals(result.without_size, 2)
    lu.assertEquals(result.malformed_lines, 0)
    lu.assertEquals(result.sections[1], { section = "libs", packages = 2, installed_kib = 2055 })
    lu.assertEquals(result.sections[2], { section = "web", packages = 2, installed_kib = 10 })
    lu.assertEquals(result.sections[3], { section = "(none)", packages = 1, installed_kib = 0 })
    lu.assertEquals(result.largest[1].package, "big")
    lu.assertEquals(result.largest[1].version, "1.2-3")
    lu.assertEquals(#result.largest, 5)
    lu.assertEquals(#result.broken, 2)
    lu.assertEquals(result.broken[1].package, "half")
    lu.assertStrContains(result.broken[2].reason, "reinstreq")
    lu.assertStrContains(table.concat(lines, "\n"), "warn: half its configuration failed")
end

function suite.test_windows_line_ends_and_no_final_line_end()
    local handler = load_package()
    local ctx = context((sample:gsub("\n", "\r\n"):gsub("%s+$", "")))
    local result = assert(handler.handle(ctx))
    lu.assertEquals(result.packages, 6)
    lu.assertEquals(result.installed_kib, 2065)
    lu.assertEquals(result.broken[1].status, "install ok half-configured")
end

function suite.test_malformed_lines_are_reported_with_their_number()
    local handler = load_package()
    local ctx, lines = context("Package: a\nStatus: install ok installed\nwhat is this\n")
    local result = assert(handler.handle(ctx))
    lu.assertEquals(result.malformed_lines, 1)
    lu.assertStrContains(table.concat(lines, "\n"), "warn: line 3 is no field: what is this")
end

function suite.test_only_twenty_of_the_largest()
    local handler = load_package()
    local text = {}
    for i = 1, 50 do
        text[i] = ("Package: p%02d\nStatus: install ok installed\nInstalled-Size: %d\n"):format(i, i)
    end
    local result = assert(handler.handle(context(table.concat(text, "\n"))))
    lu.assertEquals(#result.largest, 20)
    lu.assertEquals(result.largest[1].package, "p50")
    lu.assertEquals(result.largest[20].package, "p31")
end

function suite.test_wrong_input_is_an_error_with_advice()
    local handler = load_package()
    for _, ctx in ipairs { (context(nil)), (context("")), (context(nil, { n = 1 })) } do
        local result, err = handler.handle(ctx)
        lu.assertNil(result)
        lu.assertStrContains(err, "/var/lib/dpkg/status")
    end
    local result, err = handler.handle(context("nothing: here\n\nor: there\n"))
    lu.assertNil(result)
    lu.assertStrContains(err, "no package found")
end

function suite.test_judge_knows_every_state()
    local _, _, report = load_package()
    local cases = {
        { "install ok installed", nil, true },
        { "hold ok installed", nil, true },
        { "deinstall ok config-files", nil, false },
        { "purge ok not-installed", nil, false },
        { "install ok unpacked", "never configured", true },
        { "install ok triggers-pending", "trigger", true },
        { "install ok triggers-awaited", "trigger", true },
        { "install ok half-installed", "not finished", true },
        { "install ok odd", "unknown state odd", true },
        { "install", "not three words", true },
        { nil, "no Status", true },
    }
    for i = 1, 11 do
        local reason, present = report.judge(cases[i][1])
        lu.assertEquals(present, cases[i][3], cases[i][1])
        if cases[i][2] then
            lu.assertStrContains(reason, cases[i][2])
        else
            lu.assertNil(reason, cases[i][1])
        end
    end
end
