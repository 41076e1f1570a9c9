-- SPDX-License-Identifier: MIT
-- perilune.cdf: schedules, sessions, credentials, objects in place of ids, lists.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestCdfSchedules = suite

local P = "/api/v1/projects/demo"
local S = P .. "/functions/schedules"
local SCHEDULE = [[{"id":%d,"name":"nightly","createdTime":5,"cronExpression":"0 3 * * *","when":"At 03:00 AM",
    "sessionId":33,"functionId":7,"description":"d"}]]

local function connect(steps, options)
    local server = support.server(steps)
    local given = { base_url = server.url, project = "demo", token = "t-1", retry = false, gzip = false }
    for name, value in pairs(options or {}) do
        given[name] = value or nil
    end
    if given.credentials then
        given.token = nil
        given.credentials.token_url = server.url .. "/token"
    end
    return perilune.cdf(given), server
end

local function items(...)
    return ('{"items":[%s]}'):format(table.concat({ ... }, ","))
end

local function body_of(request)
    return assert(core.json_decode(request.body))
end

function suite.test_schedules()
    local cdf <close>, server = connect {
        { path = P .. "/sessions", reply = items '{"id":33,"status":"READY","nonce":"n-33"}' },
        { path = S, status = 201, reply = items(SCHEDULE:format(9)) },
        { path = S .. "/list", reply = items(SCHEDULE:format(9), SCHEDULE:format(10)) },
        { path = S .. "/list", reply = items(SCHEDULE:format(9)) },
        { path = S .. "/list", reply = items() },
        { path = S .. "/byids", reply = items(SCHEDULE:format(9)) },
        { path = S .. "/byids", reply = items() },
        { path = S .. "/byids", reply = items(SCHEDULE:format(9)) },
        { path = S .. "/9/input_data", reply = '{"id":9,"data":{"someKey":[1,null]}}' },
        { path = S .. "/9/input_data", reply = '{"id":9}' },
        { path = S .. "/9/input_data", reply = '{"id":9,"data":{"someKey":1}}' },
        { path = S .. "/delete", reply = "{}", times = 3 },
    }
    local schedules = cdf.functions.schedules
    local schedule = assert(schedules:create {
        name = "nightly", cron_expression = "0 3 * * *", function_id = { id = 7 }, data = { someKey = 1 },
    })
    lu.assertEquals(tostring(schedule), 'schedule 9 "nightly" of function 7 (At 03:00 AM)')
    lu.assertEquals({ schedule.session_id, schedule.created_time }, { 33, 5 })
    local list = assert(schedules:list { function_external_id = "e", name = "nightly", cron_expression = "c",
        created_time = { min = 1 }, limit = 5 })
    lu.assertEquals(list:as_ids(), { 9, 10 })
    lu.assertTrue(list:get { id = 10 } == list[2])
    lu.assertNil(list:get { id = 11 })
    lu.assertStrContains(tostring(list), "2 of perilune.cdf.function_schedule\n  schedule 9")
    lu.assertErrorMsgContains("has no external id", list.as_external_ids, list)
    local count = 0
    for one in schedules:each { function_id = 7 } do
        count = count + one.id
    end
    lu.assertEquals(count, 9)
    lu.assertEquals(core.json_encode(assert(schedules:list())), "[]")
    lu.assertEquals(assert(schedules:retrieve { id = 9 }).id, 9)
    lu.assertNil(schedules:retrieve { id = 9 })
    lu.assertEquals(#assert(schedules:retrieve { id = { 9, schedule }, ignore_unknown_ids = true }), 1)
    lu.assertEquals(schedule:get_input_data(), { someKey = { 1, perilune.null } })
    lu.assertNil(schedules:get_input_data { id = schedule })
    lu.assertEquals(assert(schedule:as_write()), { name = "nightly", function_id = 7, description = "d",
        cron_expression = "0 3 * * *", data = { someKey = 1 } })
    lu.assertTrue(schedule:delete())
    lu.assertTrue(schedules:delete { id = { 9, 10 } })
    lu.assertTrue(schedules:delete { id = schedule })
    local requests = server:stop()
    lu.assertEquals(body_of(requests[1]), { items = { { tokenExchange = true } } })
    lu.assertEquals(requests[2].body, '{"items":[{"name":"nightly","functionId":7,"cronExpression":"0 3 * * *",'
        .. '"data":{"someKey":1},"nonce":"n-33"}]}')
    lu.assertEquals(body_of(requests[3]), { limit = 5, filter = { name = "nightly", functionExternalId = "e",
        createdTime = { min = 1 }, cronExpression = "c" } })
    lu.assertEquals(body_of(requests[4]), { filter = { functionId = 7 }, limit = 10000 })
    lu.assertEquals(body_of(requests[8]), { items = { { id = 9 }, { id = 9 } }, ignoreUnknownIds = true })
    lu.assertEquals(body_of(requests[13]), { items = { { id = 9 }, { id = 10 } } })
end

function suite.test_a_refused_schedule_leaves_no_session()
    local refusal = '{"error":{"code":400,"message":"no such function","missing":[{"id":7}]}}'
    local cdf <close>, server = connect {
        { path = P .. "/sessions", reply = items '{"id":33,"nonce":"n"}', times = 3 },
        { path = S, status = 400, reply = refusal },
        { path = P .. "/functions/7/call", status = 400, reply = refusal },
        { path = P .. "/sessions/revoke", reply = items '{"id":33}' },
        { path = P .. "/sessions/revoke", status = 500 }, -- what counts is why it was refused
        { path = P .. "/functions/7/call", status = 504 }, -- may be running: its session stays
    }
    local schedule = { name = "s", cron_expression = "* * * * *", function_id = 7 }
    for i = 1, 2 do
        local ok, err
        if i == 1 then
            ok, err = cdf.functions.schedules:create(schedule)
        else
            ok, err = cdf.functions:call { id = 7 }
        end
        lu.assertNil(ok)
        lu.assertStrContains(err.message, "no such function")
        lu.assertEquals(err.missing, { { id = 7 } })
    end
    local _, err = cdf.functions:call { id = 7 }
    lu.assertEquals(err.status, 504)
    schedule.nonce = "own"
    local requests = server:stop()
    lu.assertEquals(body_of(requests[3]), { items = { { id = 33 } } })
    lu.assertEquals(#requests, 8)
end

function suite.test_sessions()
    local cdf <close>, server = connect {
        { path = P .. "/sessions?status=ACTIVE&limit=100",
            reply = '{"items":[{"id":1,"status":"ACTIVE"}],"nextCursor":"c 1"}' },
        { path = P .. "/sessions?status=ACTIVE&limit=100&cursor=c%201", reply = items '{"id":2,"status":"ACTIVE"}' },
        { path = P .. "/sessions?limit=25", reply = items() },
        { path = P .. "/sessions/byids", reply = items '{"id":1,"status":"ACTIVE","creationTime":4}', times = 2 },
        { path = P .. "/sessions/byids", status = 400, reply = '{"error":{"message":"m","missing":[{"id":3}]}}' },
        { path = P .. "/sessions/revoke", reply = items('{"id":1,"status":"REVOKED"}', '{"id":2}') },
        { path = P .. "/sessions/revoke", reply = items '{"id":1}' },
    }
    local sessions = cdf.iam.sessions
    local ids = {}
    for session in sessions:each { status = "active" } do
        ids[#ids + 1] = session.id
    end
    lu.assertEquals(ids, { 1, 2 })
    local list, cursor = sessions:list()
    lu.assertEquals({ list, cursor }, { {}, nil })
    lu.assertEquals(tostring(assert(sessions:retrieve { id = 1 })), "session 1 (ACTIVE)")
    lu.assertEquals(assert(sessions:retrieve { id = { 1 } })[1].creation_time, 4)
    local none, err = sessions:retrieve { id = 3 }
    lu.assertNil(none)
    lu.assertNil(err)
    lu.assertEquals(assert(sessions:revoke { id = { 1, 2 } }):as_ids(), { 1, 2 })
    lu.assertEquals(assert(sessions:revoke { id = 1 }).id, 1)
    lu.assertErrorMsgContains("no session has the status 'a b'", sessions.list, sessions, { status = "a b" })
    server:stop()
end

function suite.test_credentials()
    local cdf <close>, server = connect({
        { path = "/token", reply = '{"access_token":"AT","expires_in":"3600"}', delay_ms = 20 },
        { path = P .. "/sessions", reply = items '{"id":1,"nonce":"n"}', times = 2 },
        { path = P .. "/functions/list", reply = items(), times = 20 },
    }, { credentials = { client_id = "cid", client_secret = "s&c", scopes = { "a", "b" }, audience = "x" } })
    local calls = {}
    for i = 1, 20 do
        calls[i] = function() return cdf.functions:list() end
    end
    assert(perilune.gather(calls))
    assert(cdf.iam.sessions:create())
    assert(cdf.iam.sessions:create { session_type = "token_exchange" })
    lu.assertErrorMsgContains("by its credentials", cdf.set_token, cdf, "x")
    local requests = server:stop()
    lu.assertEquals(requests[1].body,
        "grant_type=client_credentials&client_secret=s%26c&audience=x&scope=a+b&client_id=cid")
    for i = 2, #requests do
        lu.assertEquals(requests[i].headers.authorization, "Bearer AT")
    end
    lu.assertEquals(body_of(requests[22]), { items = { { clientId = "cid", clientSecret = "s&c" } } })
    lu.assertEquals(body_of(requests[23]), { items = { { tokenExchange = true } } })
end

function suite.test_credentials_that_fail()
    local cdf <close>, server = connect({
        { path = "/token", status = 401, reply = '{"error":"invalid_client","error_description":"wrong secret"}' },
    }, { credentials = { client_id = "cid", client_secret = "s&c" } })
    local results = assert(perilune.gather({
        function() return cdf.functions:list() end,
        function() return cdf.functions:limits() end,
    }, { settle = true }))
    for _, outcome in ipairs(results) do
        lu.assertEquals({ outcome.error.code, outcome.error.platform_code }, { "unauthorized", "invalid_client" })
        lu.assertStrContains(outcome.error.message, "wrong secret")
        lu.assertNil(tostring(outcome.error):find("s&c", 1, true))
    end
    server:stop()
    for _, bad in ipairs {
        { { client_id = "i", client_secret = "s" }, "'token_url' is required" },
        { { token_url = "https://x", client_id = 5, client_secret = "s" }, "'client_id' must be a string, not" },
        { { token_url = "https://x", client_id = "i", client_secret = "s", scopes = { {} } }, "'scopes' must be" },
        { "x", "option 'credentials' must be a table" },
    } do
        lu.assertErrorMsgContains(bad[2], perilune.cdf, { base_url = "http://127.0.0.1", credentials = bad[1] })
    end
    lu.assertErrorMsgContains("either a token or credentials", perilune.cdf, { base_url = "http://127.0.0.1",
        token = "t", credentials = { token_url = "https://x", client_id = "i", client_secret = "s" } })
end

function suite.test_functions_in_place_of_ids()
    local fn_json = [[{"id":7,"name":"f","status":"Ready","externalId":"e","fileId":3,"functionPath":"handler.lua",
        "cpu":1.0,"metadata":{"k":"v"},"secrets":{"s":"***"},"createdTime":1}]]
    local ended = '{"id":8,"status":"Completed","functionId":7}'
    local cdf <close>, server = connect {
        { path = P .. "/functions/list", reply = items(fn_json) },
        { path = P .. "/functions/7/call", reply = ended, times = 2 },
        { path = P .. "/functions/7/calls/byids", reply = items(ended), times = 2 },
        { path = P .. "/functions/7/calls/list", reply = items() },
        { path = S .. "/list", reply = items(SCHEDULE:format(9)) },
        { path = P .. "/functions/delete", reply = "{}" },
    }
    local list = assert(cdf.functions:list())
    local fn = list[1]
    lu.assertEquals(list:as_external_ids(), { "e" })
    lu.assertTrue(list:get { external_id = "e" } == fn)
    local call = assert(cdf.functions:call { id = fn, nonce = "n" })
    assert(fn:call { nonce = "n" })
    assert(cdf.functions.calls:retrieve { call_id = call, function_id = fn })
    lu.assertEquals(assert(fn:retrieve_call(8)).id, 8)
    lu.assertEquals(#assert(fn:list_calls { limit = 1 }), 0)
    lu.assertEquals(#assert(fn:list_schedules { limit = 3 }), 1)
    lu.assertEquals(fn:as_write(), { name = "f", file_id = 3, external_id = "e", function_path = "handler.lua",
        cpu = 1.0, metadata = { k = "v" }, secrets = { s = "***" } })
    lu.assertEquals(list:as_write()[1].name, "f")
    assert(cdf.functions:delete { id = list })
    local requests = server:stop()
    lu.assertEquals(body_of(requests[#requests]), { items = { { id = 7 } } })
    lu.assertEquals(body_of(requests[#requests - 1]), { filter = { functionId = 7 }, limit = 3 })
end

function suite.test_wait_until_a_function_is_ready()
    local function fn_json(status, more)
        return items(('{"id":7,"name":"f","status":"%s"%s}'):format(status, more or ""))
    end
    local byids = P .. "/functions/byids"
    local cdf <close>, server = connect {
        { path = P .. "/functions", status = 201, reply = fn_json "Queued" },
        { path = P .. "/files/byids", reply = items '{"id":1,"uploaded":true}' },
        { path = byids, reply = fn_json "Queued" },
        { path = byids, reply = fn_json "Deploying" },
        { path = byids, reply = fn_json "Ready" },
        { path = byids, reply = fn_json("Failed", ',"error":{"message":"no numpy","trace":"pip"}') },
        { path = byids, reply = fn_json("Failed", ',"error":"old"') },
        { path = byids, reply = fn_json "Deploying" },
        { path = byids, reply = items() },
        { path = byids, status = 500 },
    }
    local fn = assert(cdf.functions:create { name = "f", file_id = 1 })
    lu.assertEquals(fn.status, "Queued")
    lu.assertTrue(assert(fn:wait()) == fn)
    lu.assertEquals(fn.status, "Ready")
    for _, expected in ipairs {
        { "package", "function 7 can't be built: no numpy" }, { "package", "function 7 can't be built: old" },
        { "timeout", "function 7 is not ready after 0.001 s: its status is Deploying" },
        { "not_found", "function 7 is gone" }, { "server", "status 500" },
    } do
        local none, err = fn:wait { timeout = 0.001 }
        lu.assertNil(none)
        lu.assertEquals(err.code, expected[1])
        lu.assertStrContains(err.message, expected[2])
    end
    server:stop()
end

--- What the service would refuse is refused here, by name, and no value of a secret is shown.
function suite.test_limits_are_said_before_anything_is_sent()
    local cdf <close>, server = connect {}
    local functions = cdf.functions
    local function pairs_of(count, value)
        local map = {}
        for i = 1, count do
            map["k" .. i] = value or "v"
        end
        return map
    end
    for _, bad in ipairs {
        { { name = "" }, "option 'name' must not be empty" },
        { { name = ("é"):rep(141) }, "option 'name' must have at most 140 characters, not 141" },
        { { external_id = ("x"):rep(256) }, "'external_id' must have at most 255" },
        { { owner = ("x"):rep(129) }, "'owner' must have at most 128" },
        { { description = ("x"):rep(501) }, "'description' must have at most 500" },
        { { function_path = "/handler.lua" }, "must be relative" },
        { { function_path = "a/../handler.lua" }, "must not leave the package" },
        { { function_path = "handler.rb" }, "must end in .lua or .py: handler.rb" },
        { { metadata = pairs_of(17) }, "'metadata' must hold at most 16 pairs, not 17" },
        { { metadata = { [("k"):rep(33)] = "v" } }, "must have at most 32 characters" },
        { { metadata = { k = ("v"):rep(513) } }, "the value of 'k' must have at most 512 characters, not 513" },
        { { metadata = pairs_of(9, ("v"):rep(500)) }, "'metadata' must hold at most 4096 bytes" },
        { { metadata = { k = 5 } }, "the value of 'k' must be a string" },
        { { secrets = pairs_of(31) }, "'secrets' must hold at most 30" },
        { { secrets = { ["a b"] = "hush" } }, "the name 'a b' may only have letters" },
        { { secrets = { [("k"):rep(16)] = "hush" } }, "must have at most 15 characters" },
        { { secrets = { token = "hush" } }, "the name 'token' is the service's own" },
        { { secrets = { k = ("hush"):rep(7000) } }, "'k' with its value is larger than 25000 bytes" },
        { { env_vars = pairs_of(101) }, "'env_vars' must hold at most 100" },
        { { env_vars = { ["a-b"] = "x" } }, "the name 'a-b' may only have letters, digits and '_'" },
        { { extra_index_urls = { 5 } }, "'extra_index_urls' must hold strings" },
        { { exclude = { 5 } }, "'exclude' must hold strings" },
        { { cpu = 0 }, "'cpu' must be above 0" },
        { { memory = -1.5 }, "'memory' must be above 0" },
        { { cpu = "1" }, "option 'cpu' must be a number, not a string" },
    } do
        local options = { name = "f", file_id = 7 }
        for name, value in pairs(bad[1]) do
            options[name] = value
        end
        local ok, message = pcall(functions.create, functions, options)
        lu.assertFalse(ok)
        lu.assertStrContains(message, bad[2])
        lu.assertNil(message:find("hush", 1, true))
    end
    for _, bad in ipairs {
        { { name = ("x"):rep(141) }, "'name' must have at most 140" },
        { { cron_expression = "* * * *" }, "five fields (minute, hour, day, month, weekday), not 4: * * * *" },
        { { cron_expression = "" }, "'cron_expression' must not be empty" },
        { { function_external_id = "e" }, "exactly one of the options 'function_id' and 'function_external_id'" },
        { { client_credentials = { client_id = "i" } }, "'client_credentials' must hold client_id and client_secret" },
    } do
        local options = { name = "s", cron_expression = "* * * * *", function_id = 7 }
        for name, value in pairs(bad[1]) do
            options[name] = value
        end
        lu.assertErrorMsgContains(bad[2], functions.schedules.create, functions.schedules, options)
    end
    lu.assertErrorMsgContains("at most one of the options", functions.schedules.list, functions.schedules,
        { function_id = 1, function_external_id = "e" })
    server:stop()
end

function suite.tearDown()
    support.assert_clean()
end
