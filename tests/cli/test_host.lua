-- SPDX-License-Identifier: MIT
-- perilune host: how it starts, what it refuses, how it ends.
local cjson = require "cjson"
local fixture = require "fixture"
local lu = require "luaunit"
local process = require "process"
local uv = require "luv"

local suite = {}
_G.TestHost = suite

local folder

function suite.setUp()
    folder = process.temporary_folder()
end

function suite.tearDown()
    process.stop_all()
    process.remove_folder(folder)
end

local function start(...)
    local options = { fixture.command, "host", env = { HOME = folder } }
    for _, argument in ipairs { ... } do
        options[#options + 1] = argument
    end
    return process.start(options)
end

function suite.test_ready_lines_for_people()
    local host = start("--port", "0", "--data", folder .. "/data")
    lu.assertNotNil(host:wait_line "^webhook", host.err)
    lu.assertStrMatches(host.out, "perilune host %d+%.%d+%.%d+ listens on http://127%.0%.0%.1:%d+\n"
        .. "data +%S+/data\ncredentials +%S+/credentials%.json\n"
        .. "webhook +http://127%.0%.0%.1:%d+/cim/events/FUNCTION\n")
    host:kill "sigterm"
    host:wait()
    lu.assertEquals({ host.code, host.signal }, { 0, 0 })
end

function suite.test_data_folder_from_the_environment()
    local host = process.start { fixture.command, "host", "--port", "0", "--json",
        env = { HOME = folder, PERILUNE_DATA = folder .. "/elsewhere" } }
    local ready = cjson.decode((assert(host:wait_line "^{", host.err)))
    lu.assertEquals(ready.data, folder .. "/elsewhere")
end

function suite.test_ready_line_for_programs_and_credentials_kept()
    local data = folder .. "/data"
    local host = start("--port=0", "--data", data, "--json")
    local ready = cjson.decode((assert(host:wait_line "^{", host.err)))
    lu.assertEquals(ready.data, data)
    lu.assertEquals(ready.pid, host.pid)
    lu.assertEquals(uv.fs_stat(ready.credentials).mode & 511, 384) -- 0600
    local first = cjson.decode(io.open(ready.credentials):read "a")
    lu.assertEquals(first.url, ready.url)
    host:kill "sigint"
    host:wait()
    lu.assertEquals(host.code, 0)

    host = start("--port", "0", "--data", data, "--json")
    ready = cjson.decode((assert(host:wait_line "^{", host.err)))
    local second = cjson.decode(io.open(ready.credentials):read "a")
    lu.assertEquals(second.token, first.token)
    lu.assertEquals(second.url, ready.url)
end

function suite.test_global_options_before_the_command_count()
    local data = folder .. "/data"
    local host = process.start { fixture.command, "--json", "--data", data, "--token", "moonlight",
        "host", "--port", "0", "--timeout", "2m", env = { HOME = folder } }
    local ready = cjson.decode((assert(host:wait_line "^{", host.err)))
    lu.assertEquals(ready.data, data)
    local list = process.run { fixture.command, "--url", ready.url, "list", "--json",
        env = { HOME = folder, PERILUNE_TOKEN = "moonlight" } }
    lu.assertEquals({ list.code, list.out, list.err }, { 0, "[]\n", "" })
end

function suite.test_default_data_folder_is_where_the_command_looks()
    local host = start("--port", "0", "--json")
    assert(host:wait_line "^{", host.err)
    local list = process.run { fixture.command, "list", "--json", env = { HOME = folder } }
    lu.assertEquals({ list.code, list.out, list.err }, { 0, "[]\n", "" })
end

function suite.test_port_in_use()
    local host = start("--port", "0", "--data", folder .. "/a", "--json")
    local port = cjson.decode((assert(host:wait_line "^{", host.err))).url:match(":(%d+)$")
    local second = start("--port", port, "--data", folder .. "/b"):wait()
    fixture.assert_failure(second, 1)
    lu.assertStrContains(second.err, port)
end

function suite.test_data_folder_in_use_by_another_host()
    local host = start("--port", "0", "--data", folder .. "/a", "--json")
    assert(host:wait_line "^{", host.err)
    local second = start("--port", "0", "--data", folder .. "/a"):wait()
    fixture.assert_failure(second, 1)
    lu.assertStrContains(second.err, tostring(host.pid))
end

function suite.test_data_folder_that_cannot_be_made()
    process.write_file(folder .. "/file", "")
    for _, data in ipairs { "/proc/perilune", folder .. "/file", folder .. "/file/below" } do
        local host = start("--port", "0", "--data", data):wait()
        fixture.assert_failure(host, 1)
        lu.assertStrContains(host.err, data)
    end
end

function suite.test_a_package_that_takes_longer_to_load_than_the_watchdog_waits()
    local data = folder .. "/data"
    local host = start("--port", "0", "--data", data, "--sandboxes", "1", "--watchdog", "1", "--json")
    assert(host:wait_line "^{", host.err)
    process.run { "/bin/mkdir", folder .. "/f" }
    process.write_file(folder .. "/f/handler.lua", [[
        local begun = os.clock()
        repeat until os.clock() - begun > 2.5
        return { handle = function() return 1 end }]])
    local deployed = process.run { fixture.command, "--data", data, "deploy", folder .. "/f", env = { HOME = folder } }
    lu.assertEquals({ deployed.code, deployed.err, host.err }, { 0, "", "" })
end

function suite.test_wrong_options()
    for _, arguments in ipairs { { "--frob" }, { "--port", "99999" }, { "--port", "x" }, { "--port" },
        { "--memory", "12Q" }, { "--timeout", "soon" }, { "--sandboxes", "-1" }, { "extra" } } do
        local host = start("--data", folder .. "/a", table.unpack(arguments)):wait()
        fixture.assert_failure(host, 2)
    end
    lu.assertNil(uv.fs_stat(folder .. "/a"))
end
