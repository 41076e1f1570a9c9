-- SPDX-License-Identifier: MIT
-- The main job through real programs and sockets: the gateway with its sandboxes, driven by perilune.host and
-- perilune.cdf.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestEndToEnd = suite

local data, gateway, host, facts

local function start()
    facts, gateway = support.gateway(data, "--sandboxes", "2")
    host = assert(perilune.host { data = data })
end

function suite.setUp()
    data = support.folder()
    start()
end

function suite.tearDown()
    if host then
        host:close()
        gateway:kill()
        gateway:wait()
        lu.assertEquals({ gateway.code, gateway.signal }, { 0, 0 }, gateway.err)
        support.remove(data)
    end
    host, gateway = nil, nil
    support.assert_clean()
end

--- Deploys a handler of this text.
local function deploy(name, code, options)
    local folder = support.folder()
    support.write(folder .. "/handler.lua", code)
    local args = { name = name, folder = folder }
    for key, value in pairs(options or {}) do
        args[key] = value
    end
    local fn, err = host.functions:deploy(args)
    support.remove(folder)
    return fn, err
end

local ECHO = "return { handle = function(ctx) return ctx.data end }"

function suite.test_values_survive_the_whole_way()
    local fn = assert(deploy("echo", ECHO))
    lu.assertEquals({ fn.name, fn.status, fn.version }, { "echo", "Ready", 1 })
    local value = {
        big = math.maxinteger, small = math.mininteger, float = 1.0, third = 1 / 3, empty_list = perilune.array {},
        empty = {}, null = perilune.null, text = "é€😀\0\"\\", list = { 1, { a = true } }, camelCase = "stays",
    }
    local answer, reply = assert(fn:call { data = value })
    for name, item in pairs(value) do
        lu.assertEquals(answer[name], item, name)
        lu.assertEquals(math.type(answer[name]), math.type(item), name)
    end
    lu.assertEquals(core.json_encode(answer.empty_list), "[]")
    lu.assertEquals({ reply.status, reply.content_type }, { 200, "application/json" })
    lu.assertTrue(reply.call_id > 0 and reply.duration_us >= 0)
end

function suite.test_bytes_and_answers_of_a_shape_of_their_own()
    local fn = assert(deploy("bytes", [[
        return { handle = function(ctx)
            assert(ctx.data == nil)
            return ctx.response { status = 201, content_type = "text/plain", body = ctx.request.body:upper() }
        end }]]))
    local value, reply = fn:call { body = ("abc\0"):rep(50000), content_type = "application/x-thing" }
    lu.assertTrue(value == ("ABC\0"):rep(50000))
    lu.assertEquals({ reply.status, reply.content_type }, { 201, "text/plain" })
    local sent = false
    lu.assertEquals(fn:call { body = function()
        if not sent then
            sent = true
            return "from a function"
        end
    end }, "FROM A FUNCTION")
end

function suite.test_failures()
    local code = [[
        local function deep(what)
            if what == "nil" then return nil, "no luck" end
            if what == "spin" then while true do end end
            if what == "memory" then local t = {} for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end end
            error("boom: " .. what)
        end
        return { handle = function(ctx) return deep(ctx.data) end }]]
    local fn = assert(deploy("fails", code, { memory = "32M" }))
    local impatient = assert(deploy("impatient", code, { timeout = 0.5 }))
    local value, err = fn:call "x"
    lu.assertNil(value)
    lu.assertEquals({ err.code, err.status, err.operation }, { "handler_failed", 500, "host.functions.call" })
    lu.assertStrContains(err.message, "boom: x")
    lu.assertStrContains(err.trace, "handler.lua:5")
    lu.assertTrue(err.call_id > 0)
    local record = assert(host.calls:get(err.call_id))
    lu.assertEquals({ record.status, record.error.code }, { "Failed", "handler_failed" })
    lu.assertStrContains(select(2, fn:call "nil").message, "no luck")
    lu.assertEquals(select(2, impatient:call "spin").code, "handler_timeout")
    lu.assertEquals(select(2, fn:call "memory").code, "handler_memory")
    lu.assertEquals(select(2, host.functions:get "nobody").code, "not_found")
    local none
    none, err = deploy("broken", "return {\n  handle = function(ctx) return ]\n}")
    lu.assertNil(none)
    lu.assertEquals(err.code, "package")
    lu.assertStrContains(err.message, "handler.lua:2:")
    lu.assertEquals(select(2, deploy("fails", ECHO, { create = true })).code, "conflict")
    local stranger <close> = assert(perilune.host { url = facts.url, token = "wrong", retry = false })
    lu.assertEquals(select(2, stranger:info()).code, "unauthorized")
end

function suite.test_logs_follow_and_asynchronous_calls()
    local fn = assert(deploy("talk", [[
        local perilune = require "perilune"
        return { handle = function(ctx)
            for i = 1, ctx.data.lines do
                print("line", i)
                perilune.sleep(0.005)
            end
            ctx.log.warn("done")
            return { lines = ctx.data.lines }
        end }]]))
    local call = assert(fn:call_async { data = { lines = 5 } })
    local lines = {}
    assert(call:follow(function(line)
        lines[#lines + 1] = line.level .. ": " .. line.message
        lu.assertTrue(line.timestamp > 1600000000000)
    end))
    lu.assertEquals(lines, { "info: line 1", "info: line 2", "info: line 3", "info: line 4", "info: line 5",
        "warn: done" })
    lu.assertEquals(call.status, "Completed")
    lu.assertEquals(call:get_response(), { lines = 5 })
    lu.assertEquals(assert(call:get_logs { first = 4 }):to_text(), "line 5\ndone")
    local slow = assert(fn:call_async { data = { lines = 100000 } })
    assert(slow:cancel())
    assert(slow:wait { timeout = 60 })
    lu.assertEquals(slow.status, "Cancelled")
    lu.assertEquals(#assert(host.calls:list { ["function"] = "talk" }), 2)
end

function suite.test_200_calls_at_once()
    local fn = assert(deploy("wait", [[
        local perilune = require "perilune"
        return { handle = function(ctx)
            perilune.sleep(0.02)
            return { n = ctx.data.n }
        end }]]))
    local functions = {}
    for i = 1, 200 do
        functions[i] = function()
            return fn:call { data = { n = i } }
        end
    end
    local results = assert(perilune.gather(functions))
    for i = 1, 200 do
        lu.assertEquals(results[i].n, i)
    end
end

function suite.test_tasks_within_a_handler()
    assert(deploy("echo", ECHO))
    local fn = assert(deploy("inner", [[
        local perilune = require "perilune"
        return { handle = function(ctx)
            local host <close> = perilune.host { url = ctx.data.url, token = ctx.data.token }
            local echo = assert(host.functions:get "echo")
            local functions = {}
            for i = 1, 20 do
                functions[i] = function()
                    perilune.sleep(0.001)
                    local got = assert(echo:call { data = { n = i } })
                    return got.n
                end
            end
            local results = assert(perilune.gather(functions, { concurrency = 5 }))
            local failed, err = perilune.gather(function() perilune.sleep(3600) end,
                function() return nil, "first" end)
            return { sum = results[1] + results[20], count = #results, failed = failed == nil, err = err }
        end }]]))
    local _, token = core.host_credentials(data)
    local functions = {}
    for i = 1, 8 do
        functions[i] = function()
            return fn:call { data = { url = facts.url, token = token } }
        end
    end
    for _, result in ipairs(assert(perilune.gather(functions))) do
        lu.assertEquals(result, { sum = 21, count = 20, failed = true, err = "first" })
    end
end

function suite.test_memory_that_is_out_ends_the_host_with_a_sentence()
    lu.skipIf(os.getenv "LD_PRELOAD", "a sanitizer's own memory is beyond any limit")
    local folder = support.folder()
    local started, child = support.gateway(folder)
    local size = support.read(("/proc/%d/status"):format(started.pid)):match "VmSize:%s*(%d+) kB"
    local limit = ("--as=%d"):format((size + 40 * 1024) * 1024)
    assert(support.start { "/usr/bin/prlimit", "--pid", tostring(started.pid), limit }:wait().code == 0)
    local client <close> = perilune.client { base_url = started.url, retry = false,
        token = select(2, core.host_credentials(folder)) }
    local reply, err = client:request { url = "/api/v1/projects/p/functions",
        json = { items = 5 } }
    lu.assertNil(reply)
    lu.assertEquals(err.status, 400) -- it works, so far
    reply = client:request { url = "/api/v1/projects/p/functions", headers = { ["Content-Type"] = "application/json" },
        body = '{"items":[' .. ("0,"):rep(2000000) .. "0]}" }
    lu.assertNil(reply)
    child:wait()
    lu.assertEquals(child.signal, 6)
    lu.assertStrContains(child.err, "out of memory for JSON: the host ends; what it acknowledged is kept\n")
    support.remove(folder)
end

function suite.test_redeploy_under_load()
    local code = "return { handle = function(ctx) return { version = %d, n = ctx.data.n } end }"
    local fn = assert(deploy("changing", code:format(1)))
    local seen, running = {}, true
    local function load(worker)
        return function()
            local count = 0
            while running or count < 5 do
                local answer = assert(fn:call { data = { n = worker } })
                lu.assertEquals(answer.n, worker)
                seen[answer.version] = true
                count = count + 1
            end
            return count
        end
    end
    local functions = { function()
        for version = 2, 6 do
            local fresh = assert(deploy("changing", code:format(version)))
            lu.assertEquals(fresh.version, version)
            lu.assertEquals(assert(fn:call { data = { n = 0 } }).version, version)
        end
        running = false
        return true
    end }
    for worker = 1, 8 do
        functions[worker + 1] = load(worker)
    end
    assert(perilune.gather(functions))
    lu.assertTrue(seen[6])
end

function suite.test_what_was_acknowledged_survives_kill_9()
    local fn = assert(deploy("slow", [[
        local perilune = require "perilune"
        return { handle = function(ctx)
            perilune.sleep(ctx.data.seconds)
            return { n = ctx.data.n }
        end }]]))
    local functions = {}
    for i = 1, 40 do
        functions[i] = function()
            return fn:call_async { data = { n = i, seconds = i % 2 == 0 and 0 or 0.2 } }
        end
    end
    local calls = assert(perilune.gather(functions))
    gateway:kill "sigkill"
    gateway:wait()
    host:close()
    start()
    for i, call in ipairs(calls) do
        local found = assert(host.calls:get(call.id))
        assert(found:wait { timeout = 60 })
        lu.assertEquals(found.status, "Completed", tostring(found.error and found.error.message))
        lu.assertEquals(found:get_response(), { n = i })
    end
    lu.assertEquals(assert(host.functions:get "slow").version, 1)
end

function suite.test_through_the_door_of_cdf()
    local folder = support.folder()
    support.write(folder .. "/handler.lua", [[
        return { handle = function(ctx)
            print "working"
            if ctx.data.fail then error "boom" end
            return { day = ctx.data.day, big = ctx.data.big }
        end }]])
    local url, token = core.host_credentials(data)
    local door = assert(host:info()).doors.cdf or url
    local cdf <close> = perilune.cdf { base_url = door, project = "demo", token = token }
    local fn = assert(cdf.functions:create { name = "report", folder = folder, external_id = "rep-1",
        function_path = "handler.lua", metadata = { teamName = "x" } })
    while fn.status == "Queued" or fn.status == "Deploying" do
        perilune.sleep(0.01)
        assert(fn:update())
    end
    lu.assertEquals({ fn.status, fn.external_id, fn.metadata.teamName }, { "Ready", "rep-1", "x" })
    local call = assert(fn:call { data = { day = "2026-11-22", big = 9007199254740993 } })
    lu.assertEquals(call.status, "Completed")
    lu.assertEquals(call:get_response(), { day = "2026-11-22", big = 9007199254740993 })
    lu.assertStrContains(assert(call:get_logs()):to_text { with_timestamps = true }, "] working")
    call = assert(cdf.functions:call { external_id = "rep-1", data = { fail = true } })
    lu.assertEquals(call.status, "Failed")
    lu.assertStrContains(call.error.message, "boom")
    lu.assertStrContains(call.error.trace, "handler.lua")
    local ids = {}
    for one in cdf.functions.calls:each { function_id = fn.id } do
        ids[#ids + 1] = one.id
    end
    lu.assertEquals(#ids, 2)
    lu.assertEquals(assert(cdf.functions.calls:retrieve { call_id = ids[1], function_id = fn.id }).function_id, fn.id)
    local names = {}
    for one in cdf.functions:each { external_id_prefix = "rep" } do
        names[#names + 1] = one.name
    end
    lu.assertEquals(names, { "report" })
    local _, err = cdf.functions:create { name = "again", folder = folder, external_id = "rep-1",
        function_path = "handler.lua" }
    lu.assertEquals(err.code, "conflict")
    lu.assertNil(cdf.functions:retrieve { external_id = "nobody" })
    -- The same function, called through the host's own door.
    lu.assertEquals(assert(assert(host.functions:get "rep-1"):call { data = { day = "d" } }).day, "d")
    assert(fn:delete())
    lu.assertEquals(#assert(cdf.functions:list()), 0)
    support.remove(folder)
end

function suite.test_information()
    local info = assert(host:info())
    lu.assertEquals({ info.version, info.functions }, { core.version, 0 })
    lu.assertTrue(#info.sandboxes > 0)
    for i = 1, 3 do
        assert(deploy("fn-" .. i, ECHO))
    end
    assert(deploy("other", ECHO))
    local names = {}
    for fn in host.functions:each { prefix = "fn-" } do
        names[#names + 1] = fn.name
    end
    lu.assertEquals(names, { "fn-3", "fn-2", "fn-1" })
    local fn = assert(host.functions:get "other")
    assert(fn:call())
    assert(fn:update())
    lu.assertTrue(fn:delete())
    lu.assertEquals(select(2, fn:update()).code, "not_found")
end
