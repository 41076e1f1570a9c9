-- SPDX-License-Identifier: MIT
-- perilune.cdf and a server that answers what it should not: failures are values with a sentence, never a raise.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestCdfHostile = suite

local operations = {
    function(cdf) return cdf.functions:list() end,
    function(cdf) return cdf.functions:retrieve { id = 1 } end,
    function(cdf) return cdf.functions:retrieve_multiple { ids = { 1 } } end,
    function(cdf) return cdf.functions:create { name = "f", source = "return {}" } end,
    function(cdf) return cdf.functions:deploy { name = "f", source = "return {}" } end,
    function(cdf) return cdf.functions:call { id = 1 } end,
    function(cdf) return cdf.functions:call { external_id = "e", nonce = "n" } end,
    function(cdf) return cdf.functions:limits() end,
    function(cdf) return cdf.functions.calls:list { function_id = 1 } end,
    function(cdf) return cdf.functions.calls:retrieve { function_id = 1, call_id = 1 } end,
    function(cdf) return cdf.functions.calls:get_logs { function_id = 1, call_id = 1 } end,
    function(cdf) return cdf.functions.calls:get_response { function_id = 1, call_id = 1 } end,
    function(cdf)
        return cdf.functions.schedules:create { name = "s", cron_expression = "* * * * *", function_id = 1 }
    end,
    function(cdf) return cdf.functions.schedules:list() end,
    function(cdf) return cdf.functions.schedules:retrieve { id = 1 } end,
    function(cdf) return cdf.functions.schedules:retrieve { id = { 1, 2 } } end,
    function(cdf) return cdf.functions.schedules:get_input_data { id = 1 } end,
    function(cdf) return cdf.iam.sessions:create() end,
    function(cdf) return cdf.iam.sessions:list() end,
    function(cdf) return cdf.iam.sessions:retrieve { id = { 1 } } end,
    function(cdf) return cdf.iam.sessions:revoke { id = 1 } end,
}

local replies = {
    "", "null", "5", '"text"', "[]", "[[]]", "{", '{"items"', '{"items":null}', '{"items":5}', '{"items":"x"}',
    '{"items":{"id":1}}', '{"items":[5]}', '{"items":[null]}', '{"items":[[1]]}', '{"items":["x",{}]}',
    '{"items":[{"message":5}]}', '{"items":[{"timestamp":1.5,"message":"x"}]}', '{"items":[{"id":"x","nonce":5}]}',
    '{"items":[],"nextCursor":5}', '{"response":{"a":', '{"id":1,"status":5,"functionId":"x"}', "\0\1\2",
    '{"items":[{"id":99999999999999999999}]}', "\xff\xfe", "<html>no</html>", ("["):rep(3000),
    '{"items":[{"id":1,"metadata":5,"status":7,"name":{},"uploaded":"yes"}]}',
}

local function check(what, ok, result, err)
    lu.assertTrue(ok, what .. tostring(result))
    if result == nil and err ~= nil and type(err) ~= "string" then
        lu.assertTrue(perilune.error.is(err), what)
        lu.assertTrue(#err.message > 0 and #tostring(err) > 0, what)
        lu.assertNotNil(perilune.error.codes[err.code], what)
    elseif type(result) == "table" then
        lu.assertEquals(type(tostring(result)), "string")
    end
end

local function run_all(step)
    step.times = 1000000
    local server <close> = support.server { step }
    local cdf <close> = perilune.cdf { base_url = server.url, project = "p", token = "t", retry = false, timeout = 0.2 }
    for i, operation in ipairs(operations) do
        check(("operation %d, %s: "):format(i, step.reply or "dropped"), pcall(operation, cdf))
    end
end

function suite.test_odd_answers()
    for _, reply in ipairs(replies) do
        run_all { reply = reply }
    end
end

function suite.test_odd_failures()
    for _, status in ipairs { 302, 400, 404, 409, 422, 500 } do
        for _, reply in ipairs { "", "plain text", '{"error":"stringy"}', '{"error":[1]}', '{"error":{}}', "[1]",
            '{"error":{"code":"x","message":5,"missing":7,"duplicated":"x"}}', '{"error":{"missing":[[]]}}' } do
            run_all { status = status, reply = reply }
        end
    end
end

function suite.test_answers_cut_short()
    run_all { reply = '{"items":[{"id":1,"name":"x"}]}', cut = true }
    run_all { drop = true }
end

--- An iterator raises the failure, once, and holds nothing.
function suite.test_iterators()
    for _, reply in ipairs { '{"items":[5]}', '{"items":5}', "{" } do
        local server <close> = support.server { { reply = reply, times = 100 } }
        local cdf <close> = perilune.cdf { base_url = server.url, project = "p", token = "t", retry = false }
        for _, api in ipairs { cdf.functions, cdf.functions.calls, cdf.functions.schedules, cdf.iam.sessions } do
            local options = api == cdf.functions.calls and { function_id = 1 } or nil
            local ok, err = pcall(function()
                for _ in api:each(options) do
                    lu.fail "nothing comes of an odd page"
                end
            end)
            lu.assertFalse(ok)
            lu.assertTrue(perilune.error.is(err), tostring(err))
        end
    end
end

--- Neither token nor secret shows in what a user may print.
function suite.test_no_secret_is_shown()
    local server <close> = support.server { { path = "/token", reply = '{"access_token":"to-ken","expires_in":1000}' },
        { status = 500, reply = '{"error":{"message":"boom"}}', times = 100 } }
    local cdf <close> = perilune.cdf { base_url = server.url, project = "p", retry = false,
        credentials = { token_url = server.url .. "/token", client_id = "cid", client_secret = "hush-hush" } }
    for _, operation in ipairs(operations) do
        local _, result, err = pcall(operation, cdf)
        local shown = tostring(result) .. tostring(err) .. assert(core.json_encode(type(err) == "table" and err or {}))
        lu.assertNil(shown:find("hush-hush", 1, true))
        lu.assertNil(shown:find("to-ken", 1, true))
    end
    lu.assertNil(tostring(cdf):find("hush", 1, true))
end

function suite.tearDown()
    support.assert_clean()
end
