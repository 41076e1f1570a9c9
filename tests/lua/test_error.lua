-- SPDX-License-Identifier: MIT
-- The error table: its fields, its text, and which failures become which codes.
local core = require "perilune.core"
local errors = require "perilune.error"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestError = suite

function suite.test_text()
    lu.assertEquals(tostring(errors.new { code = "conflict", message = "taken", status = 409, request_id = "r-1",
        operation = "cdf.functions.create" }), "cdf.functions.create: conflict (409): taken [r-1]")
    lu.assertEquals(tostring(errors.new { code = "timeout", message = "too late" }), "timeout: too late")
    lu.assertEquals(tostring(errors.new { code = "handler_failed", message = "boom", trace = "handler.lua:3: boom" }),
        "handler_failed: boom\nhandler.lua:3: boom")
end

function suite.test_is_and_codes()
    local err = errors.new { code = "io", message = "m" }
    lu.assertTrue(errors.is(err))
    lu.assertFalse(errors.is { code = "io" })
    lu.assertFalse(errors.is "io")
    lu.assertEquals(err.status, 0)
    lu.assertEquals(err.retryable, false)
    lu.assertEquals(errors.codes.not_found, "not found")
    lu.assertEquals(errors.codes.handler_memory, "the handler went over its memory quota")
    lu.assertTrue(select(2, core.json_decode "x") ~= nil and errors.is(select(2, core.json_decode "x")))
end

function suite.test_assert_raises_the_very_table()
    local ok, raised = pcall(function()
        assert(perilune.json.decode "[")
    end)
    lu.assertFalse(ok)
    lu.assertTrue(errors.is(raised))
    lu.assertEquals(raised.code, "json")
end

local statuses = {
    [400] = "bad_request", [401] = "unauthorized", [403] = "forbidden", [404] = "not_found", [406] = "not_acceptable",
    [409] = "conflict", [410] = "gone", [413] = "payload_too_large", [422] = "unprocessable", [418] = "http",
    [500] = "server", [501] = "server",
}

function suite.test_statuses_become_codes()
    local steps = {}
    for status in pairs(statuses) do
        steps[#steps + 1] = { path = "/" .. status, status = status, reply = "why" }
    end
    local server <close> = support.server(steps)
    local client <close> = perilune.client { base_url = server.url, retry = false }
    for status, code in pairs(statuses) do
        local reply, err = client:request("/" .. status)
        lu.assertNil(reply)
        lu.assertEquals({ err.code, err.status }, { code, status })
        lu.assertEquals(err.body, "why")
    end
    server:stop()
end

function suite.test_details_of_the_platform()
    local server <close> = support.server {
        { path = "/a", status = 409, headers = "x-request-id: req-7\r\n", reply =
            [[{"error":{"code":409,"message":"taken","duplicated":[{"externalId":"x"}],"missing":null}}]] },
        { path = "/b", status = 503, headers = "Retry-After: 7\r\n", reply = [[{"error":{"code":"unavailable",
            "message":"later","trace":"handler.lua:1: x","call_id":9007199254740993}}]] },
    }
    local client <close> = perilune.client { base_url = server.url, retry = false }
    local _, err = client:request "/a"
    lu.assertStrContains(err.message, "taken")
    lu.assertEquals(err.duplicated, { { external_id = "x" } })
    lu.assertNil(err.missing)
    lu.assertEquals(err.request_id, "req-7")
    lu.assertEquals(err.retryable, false)
    _, err = client:request "/b"
    lu.assertEquals({ err.retry_after, err.retryable, err.call_id, err.trace },
        { 7, true, 9007199254740993, "handler.lua:1: x" })
    server:stop()
end

function suite.test_no_answer_has_status_0()
    local server = support.server {}
    server:stop()
    local client <close> = perilune.client { base_url = server.url, retry = false }
    local reply, err = client:request "/"
    lu.assertNil(reply)
    lu.assertEquals({ err.code, err.status }, { "connect", 0 })
    lu.assertStrContains(err.message, "can't connect to 127.0.0.1:" .. server.port)
end

function suite.test_bad_peers()
    local server <close> = support.server {
        { path = "/cut", reply = ("x"):rep(1000), cut = true },
        { path = "/slow", reply = "x", delay_ms = 60000 },
        { path = "/json", reply = "<html>" },
    }
    local client <close> = perilune.client { base_url = server.url, retry = false }
    lu.assertEquals(select(2, client:request "/cut").code, "truncated")
    lu.assertEquals(select(2, client:request { url = "/slow", timeout = 0.05 }).code, "timeout")
    local reply = assert(client:request "/json")
    local value, err = reply:json()
    lu.assertNil(value)
    lu.assertEquals(err.code, "json")
    server:stop()
end

function suite.test_misuse_raises_and_says_what_was_meant()
    local server <close> = support.server {}
    local function refused(message, options)
        lu.assertErrorMsgContains(message, perilune.client, options)
    end
    refused("option 'base_url' is required", {})
    refused("unknown option 'timout'; did you mean 'timeout'?", { base_url = server.url, timout = 1 })
    refused("option 'timeout' must be seconds over 0, or false, not string", { base_url = server.url, timeout = "1" })
    refused("option 'timeout' must be seconds", { base_url = server.url, timeout = 0 })
    refused("option 'gzip' must be a boolean, not number", { base_url = server.url, gzip = 1 })
    refused("option 'max_body' must be an integer from 0 on", { base_url = server.url, max_body = 1.5 })
    refused("options are named", { server.url })
    refused("unknown option 'atempts'; did you mean 'attempts'?", { base_url = server.url, retry = { atempts = 1 } })
    refused("option 'seconds' is required", { base_url = server.url, rate_limit = { requests = 1 } })
    refused("headers must be a table of strings", { base_url = server.url, headers = { 1 } })
    refused("header 'x y' can't be sent", { base_url = server.url, headers = { ["x y"] = "1" } })
    refused("base_url", { base_url = "ftp://x" })
    refused("token", { base_url = server.url, token = "not a token" })
    local client = perilune.client { base_url = server.url }
    lu.assertErrorMsgContains("option 'url' is required", client.request, client, {})
    lu.assertErrorMsgContains("unknown option 'methot'; did you mean 'method'?", client.request, client,
        { url = "/", methot = "GET" })
    lu.assertErrorMsgContains("string, {path=}, open file or function expected, got boolean", client.request, client,
        { url = "/", body = true })
    lu.assertErrorMsgContains("a: can't encode a function", client.request, client, { url = "/", json = { a = print } })
    client:close()
    client:close()
    lu.assertErrorMsgContains("the client is closed", client.request, client, "/")
    lu.assertStrContains(tostring(client), "closed")
end

function suite.test_closing_a_client_ends_its_operations()
    local server <close> = support.server { { path = "/slow", reply = "x", delay_ms = 60000 } }
    local handle = core.client { base_url = server.url }
    local op = assert(core.request(handle, { url = "/slow" }))
    handle:close()
    lu.assertEquals(op:wait(), "done")
    local result, err = op:result()
    lu.assertNil(result)
    lu.assertEquals({ err.code, err.message }, { "closed", "its client was closed" })
    lu.assertEquals({ op:status(), op:body(), op:headers() }, { 0, "", {} })
end

function suite.test_no_secret_shows()
    local client <close> = perilune.client { base_url = "http://127.0.0.1:9", token = "s3cret", retry = false }
    local _, err = client:request "/"
    for _, text in ipairs { tostring(client), tostring(err), err.message } do
        lu.assertNil(text:find("s3cret", 1, true))
    end
end

function suite.tearDown()
    support.assert_clean()
end
