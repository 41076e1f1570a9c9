-- SPDX-License-Identifier: MIT
-- deploy, list, show, delete, against a real host.
local fixture = require "fixture"
local lu = require "luaunit"
local process = require "process"

local suite = {}
_G.TestFunctions = suite

local host

function suite.setUp()
    host = fixture.new()
end

function suite.tearDown()
    process.stop_all()
    host:close()
end

function suite.test_deploy_says_what_it_deployed()
    host:deploy "first"
    local text = host:ok("deploy", host.folder .. "/first", "--name", "second", "--timeout", "30s", "--memory", "64M")
    lu.assertStrMatches(text, "function +second\n.*")
    lu.assertStrMatches(text, ".*version +1\ncode +%x+\nsize +%S+ %S+\n.*")
    lu.assertEquals(#text:match "code +(%x+)", 64)
    lu.assertStrContains(text, "30.00 s, 64 MiB")
    local fn = host:json("show", "second")
    lu.assertEquals(fn.timeout_ms, 30000)
    lu.assertEquals(fn.memory_limit, 64 * 1024 * 1024)
    lu.assertEquals(fn.code_hash, text:match "code +(%x+)")
end

function suite.test_deploy_again_makes_a_version_and_create_refuses()
    lu.assertEquals(host:deploy("report").version, 1)
    process.write_file(host.folder .. "/report/handler.lua", "return { handle = function() return 2 end }")
    lu.assertEquals(host:deploy("report").version, 2)
    lu.assertEquals(host:ok("call", "report"), "2\n")
    lu.assertStrContains(host:fails(1, "deploy", host.folder .. "/report", "--create"), "report")
    lu.assertEquals(host:json("show", "report").version, 2)
end

function suite.test_a_trailing_slash_is_no_name()
    host:deploy "plain"
    host:ok("deploy", host.folder .. "/plain//")
    lu.assertEquals(host:json("list")[1].name, "plain")
    lu.assertEquals(#host:json "list", 1)
end

function suite.test_environment_of_a_function()
    host:deploy("env", "--env", "REGION=north=by-west", "--env", "OTHER=1")
    lu.assertEquals(host:json("call", "env", "--data", '{"mode":"env"}').result.region, "north=by-west")
end

function suite.test_a_broken_package_is_told_with_file_and_line()
    host:deploy "broken"
    process.write_file(host.folder .. "/broken/handler.lua", "return {\n  handle = = 1\n}")
    lu.assertStrContains(host:fails(1, "deploy", host.folder .. "/broken"), "handler.lua:2")
    lu.assertEquals(host:json("show", "broken").version, 1, "the earlier version stays in service")
    process.run { "/bin/mkdir", host.folder .. "/empty" }
    lu.assertStrContains(host:fails(1, "deploy", host.folder .. "/empty"), "empty")
    process.write_file(host.folder .. "/empty/readme.txt", "no handler here")
    lu.assertStrContains(host:fails(1, "deploy", host.folder .. "/empty"), "handler.lua")
    lu.assertStrContains(host:fails(1, "deploy", host.folder .. "/absent"), "absent")
    host:fails(1, "deploy", host.folder .. "/broken/handler.lua", "--name", "file")
end

function suite.test_names_that_are_not_allowed()
    host:deploy "ok"
    for _, name in ipairs { "a b", "a/b", "", "ä", "123", ("x"):rep(141) } do
        local result = host:run("deploy", host.folder .. "/ok", "--name", name)
        lu.assertStrMatches(result.err, "perilune: [^\n]+\n")
        lu.assertTrue(result.code == 1 or result.code == 2, name)
    end
    lu.assertEquals(#host:json "list", 1)
end

function suite.test_list_in_columns_and_in_json()
    lu.assertEquals(host:ok "list", "")
    lu.assertEquals(host:ok("list", "--json"), "[]\n")
    for _, name in ipairs { "alpha", "beta", "gamma" } do
        host:deploy(name, "--description", "what " .. name .. " does")
    end
    local text = host:ok "list"
    lu.assertStrMatches(text:match "^[^\n]*", "NAME +STATUS +VERSION +SIZE +DEPLOYED +LAST CALL +DESCRIPTION")
    lu.assertStrMatches(text, ".*\nbeta +Ready +1 +%d+ B +%d+%-%d+%-%d+ %d+:%d+:%d+ +never +what beta does\n.*")
    local names = {}
    for _, fn in ipairs(host:json "list") do
        names[#names + 1] = fn.name
    end
    lu.assertEquals(names, { "gamma", "beta", "alpha" })
    lu.assertEquals(#host:json("list", "--prefix", "al"), 1)
    lu.assertEquals(#host:json("list", "--limit", "2"), 2)
end

function suite.test_show_a_function_with_its_calls()
    host:deploy "shown"
    host:ok("call", "shown", "--data", "{}")
    host:run("call", "shown", "--data", '{"mode":"fail"}')
    local text = host:ok("show", "shown")
    lu.assertStrMatches(text, "function +shown\n.*")
    lu.assertStrMatches(text, ".*CALL +STATUS +CREATED +TOOK +ERROR\n.*")
    lu.assertStrMatches(text, ".*\n%d+ +Failed [^\n]*boom on purpose.*")
    lu.assertStrMatches(text, ".*\n%d+ +Completed .*")
end

function suite.test_what_is_not_there()
    lu.assertStrContains(host:fails(4, "show", "nobody"), "nobody")
    lu.assertStrContains(host:fails(4, "show", "123456789"), "123456789")
    lu.assertStrContains(host:fails(4, "call", "nobody"), "nobody")
    lu.assertStrContains(host:fails(4, "delete", "nobody"), "nobody")
    lu.assertStrContains(host:fails(4, "logs", "123456789"), "123456789")
end

function suite.test_delete()
    host:deploy "one"
    host:deploy "two"
    host:deploy "three"
    lu.assertEquals(host:ok("delete", "one", "two"), "deleted one\ndeleted two\n")
    lu.assertEquals(host:json("delete", "three").deleted, { "three" })
    lu.assertEquals(host:ok("list", "--json"), "[]\n")
    host:fails(4, "show", "one")
end

function suite.test_wrong_token()
    local env = { HOME = host.folder, PERILUNE_URL = host.ready.url, PERILUNE_TOKEN = "wrong" }
    local result = host:run("list", { env = env })
    fixture.assert_failure(result, 5)
    lu.assertStrContains(result.err, "--token")
    lu.assertNotStrContains(result.err, "wrong")
end

function suite.test_a_host_that_has_gone()
    host.host:kill()
    host.host:wait()
    lu.assertStrContains(host:fails(5, "list"), "perilune host")
end
