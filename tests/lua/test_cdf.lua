-- SPDX-License-Identifier: MIT
-- perilune.cdf: laid out as the platform's SDK, against a scripted server.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestCdf = suite

local P = "/api/v1/projects/demo"
local FN = 4503599627370497
local FUNCTION = ([[{"id":%d,"createdTime":1763769600123,"name":"report","status":"Ready","fileId":77,
    "externalId":"rep-1","metadata":{"teamName":"x"},"cpu":1.0}]]):format(FN)
local CALL = '{"id":%d,"status":"%s","startTime":1763769601000,"functionId":' .. FN .. "%s}"

local function connect(steps)
    local server = support.server(steps)
    return perilune.cdf { base_url = server.url, project = "demo", token = "t-1", retry = false }, server
end

local function body_of(request)
    return assert(core.json_decode(request.body))
end

function suite.test_functions()
    local cdf <close>, server = connect {
        { method = "POST", path = P .. "/functions/list", reply = ('{"items":[%s]}'):format(FUNCTION) },
        { method = "POST", path = P .. "/functions/byids", reply = ('{"items":[%s]}'):format(FUNCTION) },
        { method = "POST", path = P .. "/functions/byids", reply = ('{"items":[%s]}'):format(FUNCTION) },
        { method = "POST", path = P .. "/functions/byids", status = 400,
            reply = '{"error":{"code":400,"message":"nf","missing":[{"id":5}]}}' },
        { method = "GET", path = P .. "/functions/limits", reply = '{"timeoutMinutes":10,"cpuCores":{"min":0.1}}' },
        { method = "GET", path = P .. "/functions/status", reply = '{"status":"activated"}' },
        { method = "POST", path = P .. "/functions/status", reply = '{"status":"requested"}' },
        { method = "POST", path = P .. "/functions/delete", reply = "{}" },
    }
    local list = assert(cdf.functions:list { owner = "ops", limit = 3 })
    lu.assertEquals(list[1].external_id, "rep-1")
    lu.assertEquals(list[1].created_time, 1763769600123)
    lu.assertEquals(list[1].metadata, { teamName = "x" }) -- user data keeps its keys
    lu.assertEquals(math.type(list[1].cpu), "float")
    lu.assertEquals(tostring(list[1]), ('function %d "report" (Ready)'):format(FN))
    lu.assertEquals(assert(cdf.functions:retrieve { id = FN }).name, "report")
    lu.assertEquals(#assert(cdf.functions:retrieve_multiple { ids = { FN } }), 1)
    local none, err = cdf.functions:retrieve { id = 5 }
    lu.assertNil(none)
    lu.assertNil(err)
    lu.assertEquals(cdf.functions:limits(), { timeout_minutes = 10, cpu_cores = { min = 0.1 } })
    lu.assertEquals(cdf.functions:status(), { status = "activated" })
    lu.assertEquals(cdf.functions:activate(), { status = "requested" })
    lu.assertTrue(list[1]:delete())
    local requests = server:stop()
    lu.assertEquals(body_of(requests[1]), { filter = { owner = "ops" }, limit = 3 })
    lu.assertEquals(body_of(requests[8]), { items = { { id = FN } } })
    for _, request in ipairs(requests) do
        lu.assertEquals(request.headers.authorization, "Bearer t-1")
    end
end

function suite.test_create_from_a_folder()
    local folder = support.folder()
    support.write(folder .. "/handler.lua", "return { handle = function() end }\n")
    local cdf <close>, server = connect {
        { method = "POST", path = P .. "/files?overwrite=false",
            reply = '{"id":77,"name":"report.zip","uploaded":false,"uploadUrl":"/up/77"}' },
        { method = "PUT", path = "/up/77", reply = "" },
        { method = "POST", path = P .. "/files/byids", reply = '{"items":[{"id":77,"uploaded":true}]}' },
        { method = "POST", path = P .. "/functions", status = 201, reply = ('{"items":[%s]}'):format(FUNCTION) },
    }
    local fn = assert(cdf.functions:create { name = "report", folder = folder, env_vars = { DAY_NAME = "x" } })
    lu.assertEquals(fn.id, FN)
    local requests = server:stop()
    lu.assertEquals(requests[2].body:sub(1, 2), "PK")
    local sent = body_of(requests[4]).items[1]
    lu.assertEquals({ sent.name, sent.fileId, sent.functionPath }, { "report", 77, "handler.lua" })
    lu.assertEquals(sent.envVars, { DAY_NAME = "x" })
    support.remove(folder)
end

function suite.test_call_wait_response_and_logs()
    local base = ("%s/functions/%d"):format(P, FN)
    local cdf <close>, server = connect {
        { path = P .. "/functions/byids", reply = ('{"items":[%s]}'):format(FUNCTION) },
        { path = P .. "/sessions", reply = '{"items":[{"id":31,"status":"READY","nonce":"n-31"}]}' },
        { path = base .. "/call", status = 201, reply = CALL:format(9007199254740991, "Running", "") },
        { path = base .. "/calls/byids",
            reply = ('{"items":[%s]}'):format(CALL:format(9007199254740991, "Completed", ',"endTime":5')) },
        { path = base .. "/calls/9007199254740991/response",
            reply = '{"response":{"rows":3,"big":9007199254740993,"keyName":[]}}' },
        { path = base .. "/calls/9007199254740991/logs", reply = [[{"items":[
            {"timestamp":1763769601120,"message":"start"},{"timestamp":1763769601000,"message":"second line"},
            {"message":"no time"}]}]] },
    }
    local fn = assert(cdf.functions:retrieve { external_id = "rep-1" })
    local call = assert(fn:call { data = { day = "2026-11-22", n = 9007199254740993, x = 1.0 } })
    lu.assertEquals({ call.id, call.status, call.end_time }, { 9007199254740991, "Completed", 5 })
    lu.assertEquals(tostring(call), ("call 9007199254740991 of function %d (Completed)"):format(FN))
    local response = assert(call:get_response())
    lu.assertEquals(response, { rows = 3, big = 9007199254740993, keyName = {} })
    lu.assertEquals(core.json_encode(response.keyName), "[]")
    local logs = assert(call:get_logs())
    lu.assertEquals(logs:to_text(), "start\nsecond line\nno time")
    lu.assertEquals(tostring(logs), logs:to_text())
    lu.assertEquals(logs:to_text { with_timestamps = true }, "[2025-11-22 00:00:01.120000+00:00] start\n"
        .. "[2025-11-22 00:00:01+00:00] second line\nno time")
    local requests = server:stop()
    lu.assertStrContains(requests[3].body, "9007199254740993")
    lu.assertStrContains(requests[3].body, '"x":1.0')
    lu.assertEquals(body_of(requests[3]).nonce, "n-31")
end

function suite.test_a_call_updates_and_waits()
    local base = ("%s/functions/%d"):format(P, FN)
    local cdf <close>, server = connect {
        { path = base .. "/call", status = 201, reply = CALL:format(8, "Running", "") },
        { path = base .. "/calls/byids", reply = ('{"items":[%s]}'):format(CALL:format(8, "Running", "")) },
        { path = base .. "/calls/byids", reply = ('{"items":[%s]}'):format(CALL:format(8, "Failed",
            ',"endTime":7,"error":{"message":"boom","trace":"tb"}')) },
        { path = base .. "/calls/byids", reply = '{"items":[]}' },
    }
    local call = assert(cdf.functions:call { id = FN, nonce = "n", wait = false, data = perilune.null })
    lu.assertTrue(assert(call:update()) == call)
    lu.assertEquals(call.status, "Running")
    assert(call:wait())
    lu.assertEquals({ call.status, call.end_time, call.error.message }, { "Failed", 7, "boom" })
    local gone, err = call:update()
    lu.assertNil(gone)
    lu.assertEquals(err.code, "not_found")
    server:stop()
end

--- Each line once, in order, also those of the last moment; a look that fails is made up for.
function suite.test_follow()
    local base = ("%s/functions/%d/calls/"):format(P, FN)
    local function log(...)
        local lines = {}
        for i, message in ipairs { ... } do
            lines[i] = ('{"timestamp":%d,"message":"%s"}'):format(i, message)
        end
        return ('{"items":[%s]}'):format(table.concat(lines, ","))
    end
    local function running(id)
        return { path = base .. "byids", delay_ms = 150,
            reply = ('{"items":[%s]}'):format(CALL:format(id, "Completed", "")) }
    end
    local cdf <close>, server = connect {
        { path = ("%s/functions/%d/call"):format(P, FN), status = 201, times = 2,
            reply = CALL:format(9, "Running", "") },
        { path = base .. "9/logs", reply = log("a", "b") },
        { path = base .. "9/logs", status = 500 },
        { path = base .. "9/logs", reply = log("a", "b", "c", "d"), times = 100 },
        running(9),
        { path = base .. "byids", reply = ('{"items":[%s]}'):format(CALL:format(9, "Running", "")), times = 10000 },
    }
    local fn_call = { id = FN, nonce = "n", wait = false }
    local call = assert(cdf.functions:call(fn_call))
    local seen = {}
    lu.assertTrue(assert(call:follow(function(line)
        seen[#seen + 1] = { line.timestamp, line.message, call.status }
        if line.message == "a" then
            perilune.sleep(0.001) -- what it does may take its time
        end
    end)) == call)
    lu.assertEquals({ seen[1], seen[2] }, { { 1, "a", "Running" }, { 2, "b", "Running" } })
    lu.assertEquals({ #seen, seen[3][2], seen[4][2] }, { 4, "c", "d" })
    local again = {}
    assert(call:follow(function(line) again[#again + 1] = line.message end)) -- it has ended: just its log
    lu.assertEquals(again, { "a", "b", "c", "d" })
    call = assert(cdf.functions:call(fn_call))
    lu.assertErrorMsgContains("enough", call.follow, call, function() error "enough" end)
    local none, err = call:follow(function() end, { timeout = 0.05 })
    lu.assertNil(none)
    lu.assertEquals(err.code, "timeout")
    cdf:close()
    server.child:wait()
end

function suite.test_pages_of_calls()
    local path = ("%s/functions/%d/calls/list"):format(P, FN)
    local function page(cursor, ...)
        local items = {}
        for i, id in ipairs { ... } do
            items[i] = CALL:format(id, "Completed", "")
        end
        return { path = path, reply = ('{"items":[%s]%s}'):format(table.concat(items, ","),
            cursor and (',"nextCursor":"%s"'):format(cursor) or "") }
    end
    local cdf <close>, server = connect {
        page("c1", 1, 2), page("c2"), page(nil, 3), -- each, an empty page in the middle
        page("c9", 4, 5), -- each with a limit
        page("c9", 6), -- left early
        page("c9", 7), -- list
        { path = path, status = 500, reply = '{"error":{"code":500,"message":"down"}}' },
    }
    local ids = {}
    for call in cdf.functions.calls:each { function_id = FN, status = "Completed" } do
        ids[#ids + 1] = call.id
    end
    for call in cdf.functions.calls:each { function_id = FN, limit = 1 } do
        ids[#ids + 1] = call.id
    end
    for call in cdf.functions.calls:each { function_id = FN } do
        ids[#ids + 1] = call.id
        if call.id == 6 then
            break
        end
    end
    local list, cursor = cdf.functions.calls:list { function_id = FN, limit = 1 }
    lu.assertEquals({ list[1].id, cursor }, { 7, "c9" })
    lu.assertEquals(ids, { 1, 2, 3, 4, 6 })
    local ok, err = pcall(function()
        for _ in cdf.functions.calls:each { function_id = FN } do
            lu.fail "nothing comes of a failed page"
        end
    end)
    lu.assertFalse(ok)
    lu.assertEquals({ err.code, err.operation }, { "server", "cdf.functions.calls.list" })
    local requests = server:stop()
    lu.assertEquals(body_of(requests[1]), { filter = { status = "Completed" }, limit = 1000 })
    lu.assertEquals(body_of(requests[2]).cursor, "c1")
    lu.assertEquals(body_of(requests[4]).limit, 1)
end

function suite.test_each_function_is_one_request()
    local cdf <close>, server = connect {
        { path = P .. "/functions/list", reply = ('{"items":[%s,%s]}'):format(FUNCTION, FUNCTION) },
    }
    local count = 0
    for fn in cdf.functions:each { owner = "ops" } do
        count = count + 1
        lu.assertEquals(fn.name, "report")
    end
    lu.assertEquals(count, 2)
    lu.assertEquals(body_of(server:stop()[1]), { filter = { owner = "ops" }, limit = 10000 })
end

function suite.test_update_keeps_a_function_that_is_gone()
    local cdf <close>, server = connect {
        { path = P .. "/functions/byids", reply = ('{"items":[%s]}'):format(FUNCTION) },
        { path = P .. "/functions/byids",
            reply = ('{"items":[{"id":%d,"name":"renamed","status":"Failed"}]}'):format(FN) },
        { path = P .. "/functions/byids", reply = '{"items":[]}' },
    }
    local fn = assert(cdf.functions:retrieve { id = FN })
    assert(fn:update())
    lu.assertEquals({ fn.name, fn.status, fn.metadata }, { "renamed", "Failed", nil })
    lu.assertTrue(fn:update() == fn)
    lu.assertEquals(fn.name, "renamed")
    server:stop()
end

function suite.test_sessions()
    local cdf <close>, server = connect {
        { path = P .. "/sessions", reply = '{"items":[{"id":31,"type":"TOKEN_EXCHANGE","nonce":"n","clientId":"c"}]}' },
    }
    lu.assertEquals(cdf.iam.sessions:create(), { id = 31, type = "TOKEN_EXCHANGE", nonce = "n", client_id = "c" })
    lu.assertEquals(body_of(server:stop()[1]), { items = { { tokenExchange = true } } })
end

function suite.test_misuse_is_raised_before_anything_is_sent()
    local cdf <close>, server = connect {}
    local functions = cdf.functions
    lu.assertErrorMsgContains("cdf.functions.list: unknown option 'ovner'; did you mean 'owner'?", functions.list,
        functions, { ovner = "x" })
    lu.assertErrorMsgContains("'owner'", functions.list, functions, { owner = 5 })
    lu.assertErrorMsgContains("'name'", functions.create, functions, { folder = "x" })
    lu.assertErrorMsgContains("data.f: can't encode a function", functions.call, functions,
        { id = 1, data = { f = print } })
    lu.assertErrorMsgContains("exactly one", functions.retrieve, functions, {})
    cdf:close()
    lu.assertErrorMsgContains("the client is closed", functions.list, functions)
    server:stop()
end

function suite.tearDown()
    support.assert_clean()
end
