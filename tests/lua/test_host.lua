-- SPDX-License-Identifier: MIT
-- perilune.host against a scripted server: what it sends, and what it makes of the answers.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestHost = suite

local FUNCTION = '{"id":5,"name":"report","status":"Ready","version":%d,"entry":"handler.lua","timeout_ms":600000}'
local CALL = '{"id":%d,"function_id":5,"function":"report","status":"%s","async":true}'

local function connect(steps)
    for _, step in ipairs(steps) do
        step.headers = (step.headers or "") .. "perilune-version: 0.1.0\r\n"
    end
    local server = support.server(steps)
    return assert(perilune.host { url = server.url, token = "t-1", retry = false }), server
end

local function get_function(version)
    return { method = "GET", path = "/v1/functions/report", reply = FUNCTION:format(version or 1) }
end

function suite.test_deploy()
    local folder = support.folder()
    support.write(folder .. "/handler.lua", "return { handle = function() end }\n")
    local host <close>, server = connect {
        { method = "PUT", path = "/v1/functions/report?timeout_ms=1500&memory=64M&description=a%20b&create=true",
            status = 201, reply = FUNCTION:format(1) },
        { method = "PUT", path = "/v1/functions/report", status = 422, reply =
            '{"error":{"code":"package","message":"handler.lua:3: unexpected symbol","trace":"t"}}' },
    }
    local fn = assert(host.functions:deploy { name = "report", folder = folder, timeout = 1.5, memory = "64M",
        description = "a b", create = true, env = { REGION = "north" } })
    lu.assertEquals(tostring(fn), "function report, version 1 (Ready)")
    local none, err = host.functions:deploy { name = "report", folder = folder }
    lu.assertNil(none)
    lu.assertEquals({ err.code, err.status, err.trace }, { "package", 422, "t" })
    lu.assertStrContains(err.message, "handler.lua:3:")
    local requests = server:stop()
    lu.assertEquals(requests[1].body:sub(1, 2), "PK")
    lu.assertEquals(core.json_decode(requests[1].headers["perilune-env"]), { REGION = "north" })
    lu.assertEquals(requests[1].headers.authorization, "Bearer t-1")
    support.remove(folder)
end

function suite.test_call_input()
    local json = "Content-Type: application/json\r\n"
    local path = "/v1/functions/report/call"
    local host <close>, server = connect {
        get_function(), { path = path, times = 8, headers = json, reply = "null" },
        { path = path .. "?timeout_ms=2500", times = 2, headers = json, reply = "null" },
    }
    local fn = assert(host.functions:get "report")
    local data_path = support.folder()
    support.write(data_path .. "/x", "from a file")
    local inputs = {
        { nil, "{}" }, { { rows = { 1 } }, '{"rows":[1]}' }, { { data = { data = 1 } }, '{"data":1}' },
        { { data = perilune.null }, "null" }, { "text", '"text"' }, { 7, "7" }, { perilune.array {}, "[]" },
        { { file = data_path .. "/x" }, "from a file" }, { { timeout = 2.5 }, "{}" },
        { { body = "raw", content_type = "text/plain", timeout = 2.5 }, "raw" },
    }
    for i = 1, 10 do
        lu.assertTrue(fn:call(inputs[i][1]) == perilune.null)
    end
    lu.assertErrorMsgContains("unknown option 'contenttype'", fn.call, fn, { body = "x", contenttype = "y" })
    lu.assertErrorMsgContains("only one of data, body and file", fn.call, fn, { body = "x", data = 1 })
    lu.assertErrorMsgContains("f: can't encode a function", fn.call, fn, { data = { f = print } })
    local requests = server:stop()
    for i = 1, 10 do
        lu.assertEquals(requests[i + 1].body, inputs[i][2])
    end
    lu.assertEquals(requests[2].headers["content-type"], "application/json")
    lu.assertEquals(requests[9].headers["content-type"], "application/octet-stream")
    lu.assertEquals(requests[11].headers["content-type"], "text/plain")
    support.remove(data_path)
end

function suite.test_call_answers()
    local path = "/v1/functions/report/call"
    local facts = "perilune-call-id: 9007199254740991\r\n"
        .. "perilune-usage: duration-us=1500; cpu-us=900; memory-peak=4096\r\n"
    local host <close>, server = connect {
        get_function(),
        { path = path, headers = facts .. "Content-Type: application/json\r\n", reply = '{"camelCase":1.0}' },
        { path = path, headers = facts .. "Content-Type: text/plain\r\n", reply = "bytes", status = 201 },
        { path = path, headers = facts .. "Content-Type: text/plain\r\n", reply = "" },
        { path = path, status = 500, reply =
            '{"error":{"code":"handler_failed","message":"boom","trace":"handler.lua:2: boom","call_id":12}}' },
        { path = path, status = 504, reply = '{"error":{"code":"handler_timeout","message":"late"}}' },
    }
    local fn = assert(host.functions:get "report")
    local value, reply = fn:call()
    lu.assertEquals(value, { camelCase = 1.0 })
    lu.assertEquals({ reply.status, reply.call_id, reply.duration_us, reply.cpu_us, reply.memory_peak },
        { 200, 9007199254740991, 1500, 900, 4096 })
    lu.assertEquals({ reply.content_type, reply.body }, { "application/json", '{"camelCase":1.0}' })
    value, reply = fn:call()
    lu.assertEquals({ value, reply.status }, { "bytes", 201 })
    lu.assertEquals(fn:call(), "")
    local none, err = fn:call()
    lu.assertNil(none)
    lu.assertEquals({ err.code, err.message, err.trace, err.call_id, err.operation },
        { "handler_failed", "boom", "handler.lua:2: boom", 12, "host.functions.call" })
    lu.assertEquals(select(2, fn:call()).code, "handler_timeout")
    server:stop()
end

function suite.test_calls()
    local host <close>, server = connect {
        get_function(),
        { method = "POST", path = "/v1/functions/report/calls", status = 202, reply = CALL:format(7, "Queued") },
        { method = "GET", path = "/v1/calls/7", reply = CALL:format(7, "Running") },
        { method = "GET", path = "/v1/calls/7?wait=25", reply = CALL:format(7, "Running"), times = 2 },
        { method = "GET", path = "/v1/calls/7?wait=25", reply = CALL:format(7, "Completed") },
        { method = "GET", path = "/v1/calls/7/result", headers = "Content-Type: application/json\r\n", reply = "[1]" },
        { method = "GET", path = "/v1/calls/7/log?first=1",
            reply = '{"items":[{"timestamp":1,"level":"info","message":"hello"}]}' },
        { method = "GET", path = "/v1/calls/7/log", reply = '{"items":[]}' },
        { method = "POST", path = "/v1/calls/7/cancel", status = 202, reply = CALL:format(7, "Cancelled") },
        { method = "GET", path = "/v1/calls/8", status = 404, reply = '{"error":{"code":"not_found","message":"no"}}' },
        { method = "GET", path = "/v1/functions/report/calls?limit=2&state=Failed",
            reply = ('{"items":[%s]}'):format(CALL:format(6, "Failed")) },
        { method = "GET", path = "/v1/calls?limit=1", reply = '{"items":[]}' },
        { method = "GET", path = "/v1/host", reply = '{"version":"0.1.0","calls_running":0}' },
        { method = "DELETE", path = "/v1/functions/report", reply = "{}" },
    }
    local fn = assert(host.functions:get "report")
    local call = assert(fn:call_async { data = { n = 1 } })
    lu.assertEquals(tostring(call), "call 7 of report (Queued)")
    lu.assertEquals(assert(call:update()).status, "Running")
    lu.assertTrue(assert(call:wait()) == call)
    lu.assertEquals(call.status, "Completed")
    lu.assertEquals(call:get_response(), { 1 })
    lu.assertEquals(assert(call:get_logs { first = 1 }):to_text(), "hello")
    lu.assertEquals(core.json_encode(assert(call:get_logs())), "[]")
    lu.assertEquals(assert(call:cancel()).status, "Cancelled")
    lu.assertEquals(select(2, host.calls:get(8)).code, "not_found")
    lu.assertEquals(assert(host.calls:list { ["function"] = "report", limit = 2, state = "Failed" })[1].id, 6)
    lu.assertEquals(#assert(host.calls:list { limit = 1 }), 0)
    lu.assertEquals(assert(host:info()).version, "0.1.0")
    lu.assertTrue(fn:delete())
    server:stop()
end

function suite.test_terms_of_calls()
    local path = "/v1/functions/report/calls?"
    local host <close>, server = connect {
        get_function(),
        { method = "POST", path = path .. "queue=2&delay_ms=1500&attempts=7", status = 202,
            reply = CALL:format(7, "Queued") },
        { method = "POST", path = path .. "expires_ms=2000&start_at=1790000000000&attempts=4&retry=true"
            .. "&retry_base_ms=500&retry_cap_ms=60000", status = 202, reply = CALL:format(8, "Queued") },
        { method = "POST", path = path .. "retry=true", status = 202, reply = CALL:format(9, "Queued") },
        { method = "POST", path = "/v1/functions/report/call?expires_ms=100&queue=1", reply = "null",
            headers = "Content-Type: application/json\r\n" },
        { method = "POST", path = "/v1/functions/report/call", reply = "null",
            headers = "Content-Type: application/json\r\n" },
    }
    local fn = assert(host.functions:get "report")
    assert(fn:call_async { data = 1, delay = 1.5, queue = 2, attempts = 7, idempotency_key = "k" })
    assert(fn:call_async { data = 1, at = 1790000000000, expires = 2, retry = { attempts = 4, base = 0.5, cap = 60 } })
    assert(fn:call_async { data = 1, retry = true })
    assert(fn:call { data = 1, expires = 0.1, queue = 1 } == perilune.null)
    assert(fn:call { queue = 1, delay = 5 } == perilune.null) -- without data, body or file it is the data
    lu.assertErrorMsgContains("'delay' is an option of call_async", fn.call, fn, { data = 1, delay = 5 })
    lu.assertErrorMsgContains("'idempotency_key' is an option of call_async", fn.call, fn,
        { data = 1, idempotency_key = "k" })
    lu.assertErrorMsgContains("unknown field 'tries' of retry", fn.call_async, fn,
        { data = 1, retry = { tries = 4 } })
    lu.assertErrorMsgContains("'delay' must be a number of seconds", fn.call_async, fn, { data = 1, delay = "5" })
    local requests = server:stop()
    lu.assertEquals(requests[2].headers["idempotency-key"], "k")
    lu.assertEquals(core.json_decode(requests[6].body), { queue = 1, delay = 5 })
end

function suite.test_dead_calls()
    local dead = CALL:gsub("}$", ',"dead":true}')
    local host <close>, server = connect {
        { method = "GET", path = "/v1/dead?limit=100", reply = ('{"items":[%s,%s]}'):format(dead:format(9, "Failed"),
            dead:format(8, "Failed")) },
        { method = "GET", path = "/v1/dead?limit=1&before_id=9", reply = '{"items":[]}' },
        { method = "POST", path = "/v1/calls/9/requeue", status = 202, reply = CALL:format(9, "Queued"), times = 2 },
        { method = "DELETE", path = "/v1/dead/8", reply = CALL:format(8, "Failed") },
    }
    local ids = {}
    local call
    for one in host.dead:each() do
        ids[#ids + 1], call = one.id, call or one
    end
    lu.assertEquals(ids, { 9, 8 })
    lu.assertEquals(#assert(host.dead:list { limit = 1, before_id = 9 }), 0)
    lu.assertTrue(call.dead)
    lu.assertEquals(assert(call:requeue()).status, "Queued")
    lu.assertNil(call.dead)
    lu.assertEquals(assert(host.dead:requeue(9)).id, 9)
    lu.assertEquals(assert(host.dead:delete(8)).status, "Failed")
    server:stop()
end

function suite.test_pages_of_functions()
    local function page(query, first, count)
        local items = {}
        for i = 1, count do
            items[i] = ('{"id":%d,"name":"f%d","version":1,"status":"Ready"}'):format(first - i, first - i)
        end
        return { path = "/v1/functions?" .. query, reply = ('{"items":[%s]}'):format(table.concat(items, ",")) }
    end
    local host <close>, server = connect {
        page("limit=100&prefix=f", 301, 100), page("limit=100&before_id=201&prefix=f", 201, 100),
        page("limit=100&before_id=101&prefix=f", 101, 30), page("limit=100", 51, 50),
    }
    local ids = {}
    for fn in host.functions:each { prefix = "f" } do
        ids[#ids + 1] = fn.id
    end
    lu.assertEquals({ #ids, ids[1], ids[230] }, { 230, 300, 71 })
    local count = 0
    for _ in host.functions:each { limit = 7 } do
        count = count + 1
    end
    lu.assertEquals(count, 7)
    server:stop()
end

local EVENT = 'id: %d\nevent: line\ndata: {"timestamp":1,"level":"info","message":"line %d"}\n\n'
local STREAM = "Content-Type: text/event-stream\r\n"

function suite.test_follow_takes_up_a_broken_connection()
    local path = "/v1/calls/7/log?follow=true"
    local whole = EVENT:format(1, 1) .. EVENT:format(2, 2)
    local host <close>, server = connect {
        { path = "/v1/calls/7", reply = CALL:format(7, "Running") },
        { path = path, headers = STREAM, reply = whole .. ("\n"):rep(#whole), cut = true },
        { path = path, headers = STREAM, pieces = { EVENT:format(3, 3):sub(1, 20), EVENT:format(3, 3):sub(21),
            "event: end\ndata: " .. CALL:format(7, "Completed") .. "\n\n" } },
    }
    local call = assert(host.calls:get(7))
    local lines = {}
    lu.assertTrue(assert(call:follow(function(line) lines[#lines + 1] = line.message end)) == call)
    lu.assertEquals(lines, { "line 1", "line 2", "line 3" })
    lu.assertEquals(call.status, "Completed")
    lu.assertEquals(server:stop()[3].headers["last-event-id"], "2")
end

function suite.test_follow_stops_when_told_and_passes_errors_on()
    local path = "/v1/calls/7/log?follow=true"
    local host <close>, server = connect {
        { path = "/v1/calls/7", reply = CALL:format(7, "Running") },
        { path = path, headers = STREAM, pieces = { EVENT:format(1, 1), EVENT:format(2, 2) }, times = 2 },
        { path = path, status = 404, reply = '{"error":{"code":"not_found","message":"gone"}}' },
    }
    local call = assert(host.calls:get(7))
    local count = 0
    assert(call:follow(function()
        count = count + 1
        return false
    end))
    lu.assertEquals(count, 1)
    lu.assertErrorMsgEquals("from the function", call.follow, call, function() error("from the function", 0) end)
    lu.assertEquals(select(2, call:follow(print)).code, "not_found")
    server:stop()
end

function suite.test_credentials()
    local folder = support.folder()
    local host, err = perilune.host { data = folder }
    lu.assertNil(host)
    lu.assertStrContains(err.message, folder)
    local server <close> = support.server { { path = "/v1/host", reply = '{"pid":1}', times = 2 } }
    local path = support.write(folder .. "/credentials.json", ('{"url":"%s","token":"secret"}'):format(server.url))
    assert(require "luv".fs_chmod(path, 384)) -- 0600
    host = assert(perilune.host { data = folder })
    lu.assertEquals(assert(host:info()).pid, 1)
    host:close()
    host = assert(perilune.host { data = folder, token = "mine" })
    assert(host:info())
    host:close()
    assert(require "luv".fs_chmod(path, 420)) -- 0644: others can read it
    lu.assertNil((perilune.host { data = folder }))
    local requests = server:stop()
    lu.assertEquals(requests[1].headers.authorization, "Bearer secret")
    lu.assertEquals(requests[2].headers.authorization, "Bearer mine")
    support.remove(folder)
end

function suite.test_what_waits_for_a_handler_has_no_first_byte_deadline()
    local server = support.server {
        { path = "/v1/functions/report", reply = FUNCTION:format(1) },
        { path = "/v1/functions/report/call", reply = "7", delay_ms = 400 },
        { path = "/v1/calls/7", reply = CALL:format(7, "Running") },
        { path = "/v1/calls/7?wait=25", reply = CALL:format(7, "Completed"), delay_ms = 400 },
        { path = "/v1/host", reply = "{}", delay_ms = 60000 },
    }
    local host <close> = perilune.host { url = server.url, token = "t-1", retry = false, first_byte_timeout = 0.2 }
    local fn = assert(host.functions:get "report")
    lu.assertEquals(assert(fn:call()), "7")
    lu.assertEquals(assert(assert(host.calls:get(7)):wait()).status, "Completed")
    local _, err = host:info() -- which the deadline is for
    lu.assertStrContains(err.message, "first-byte deadline")
    host:close()
    server:stop()
end

function suite.test_a_host_that_does_not_run()
    local server = support.server {}
    server:stop()
    local host <close> = perilune.host { url = server.url, token = "t-1" }
    local info, err = host:info()
    lu.assertNil(info)
    lu.assertEquals(err.code, "connect")
    lu.assertStrMatches(err.message, "can't connect to 127%.0%.0%.1:" .. server.port .. " %(.*; tried 3 times; "
        .. "is the host running%? start one with `perilune host`")
    lu.assertStrContains(tostring(err), "host.info: connect: can't")
end

function suite.test_a_token_found_goes_to_no_other_host()
    local folder = support.folder()
    local home <close> = support.server { { path = "/v1/host", reply = '{"pid":1}', times = 2 } }
    local away <close> = support.server {}
    local path = support.write(folder .. "/credentials.json", ('{"url":"%s","token":"secret"}'):format(home.url))
    assert(require "luv".fs_chmod(path, 384))
    for _, url in ipairs { away.url, (home.url:gsub("127.0.0.1", "localhost")), (home.url:gsub("^http:", "https:")),
        "http://[::1]:" .. home.port } do
        local host, err = perilune.host { url = url, data = folder }
        lu.assertNil(host)
        lu.assertEquals(err.code, "unauthorized")
        lu.assertStrContains(err.message, ("no token for %s: the credentials found are those of %s; give its token")
            :format(url, home.url))
    end
    for _, url in ipairs { home.url .. "/", (home.url:gsub("^http:", "HTTP:")) } do
        local host <close> = assert(perilune.host { url = url, data = folder })
        assert(host:info())
    end
    local host, err = perilune.host { url = away.url, data = folder .. "/none" }
    lu.assertNil(host)
    lu.assertStrContains(err.message, "no token for " .. away.url .. " (no credentials at " .. folder .. "/none")
    host, err = perilune.host { url = "http://user:password@127.0.0.1:1", data = folder }
    lu.assertNil(host)
    lu.assertNotStrContains(err.message, "password@")
    lu.assertEquals(home:stop()[2].headers.authorization, "Bearer secret")
    support.remove(folder)
end

function suite.tearDown()
    support.assert_clean()
end
