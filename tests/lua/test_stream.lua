-- SPDX-License-Identifier: MIT
-- Bodies: strings, files, paths and functions, both ways; requests and what they carry.
local core = require "perilune.core"
local events = require "perilune.events"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
local folder
_G.TestStream = suite

function suite.setUp()
    folder = support.folder()
end

local function upload(body, steps)
    local server <close> = support.server(steps or { { method = "POST", path = "/up", reply = "ok" } })
    local client <close> = perilune.client { base_url = server.url, retry = false }
    local reply, err = client:request { url = "/up", body = body }
    return server:stop()[1], reply, err
end

function suite.test_a_string_is_sent_as_it_is()
    for _, body in ipairs { "x", ("\0\255binary"):rep(20000) } do
        local request = upload(body)
        lu.assertEquals(request.body, body)
        lu.assertEquals(request.headers["content-length"], tostring(#body))
        lu.assertEquals(request.headers.accept, "*/*") -- a plain request takes what comes
    end
end

function suite.test_a_path_and_an_open_file()
    local path = support.write(folder .. "/body", ("0123456789"):rep(50000))
    lu.assertEquals(upload({ path = path }).body, support.read(path))
    local file <close> = assert(io.open(path, "rb"))
    file:seek("set", 499990)
    lu.assertEquals(upload(file).body, "0123456789") -- from where it stands
end

function suite.test_an_open_file_that_cannot_seek_is_streamed()
    local line = ("0123456789"):rep(50000)
    local path = support.write(folder .. "/body", "read before\n" .. line)
    local pipe <close> = assert(io.popen("cat " .. path))
    lu.assertEquals(pipe:read "L", "read before\n") -- and more with it, into the file's buffer
    local request = upload(pipe)
    lu.assertTrue(request.body == line)
    lu.assertEquals(request.headers["transfer-encoding"], "chunked")
    local empty <close> = assert(io.popen "true")
    lu.assertEquals(upload(empty).body, "")
end

function suite.test_an_open_file_that_cannot_seek_is_sent_only_once()
    local pipe <close> = assert(io.popen "echo text")
    local server <close> = support.server { { path = "/up", status = 429, reply = "" } }
    local client <close> = perilune.client { base_url = server.url, retry = { attempts = 3, base = 0.001 } }
    local reply, err = client:request { url = "/up", body = pipe }
    lu.assertNil(reply)
    lu.assertStrContains(err.message, "can't rewind")
    lu.assertEquals(server:stop()[1].body, "text\n")
end

function suite.test_a_pipe_that_is_closed_under_way_is_told()
    local server <close> = support.server {}
    local client <close> = perilune.client { base_url = server.url, retry = false }
    local pipe = assert(io.popen "true")
    local op <close> = assert(core.request(client.handle, { url = "/up", method = "POST", body = pipe }))
    pipe:close()
    local _, err = require "perilune.task".await(op)
    lu.assertEquals(err.code, "io")
    lu.assertStrContains(err.message, "the file was closed")
end

function suite.test_a_file_that_is_not_there_and_one_that_is_closed()
    local client <close> = perilune.client { base_url = "http://127.0.0.1:9" }
    local reply, err = client:request { url = "/up", body = { path = folder .. "/none" } }
    lu.assertNil(reply)
    lu.assertEquals(err.code, "io")
    lu.assertStrContains(err.message, folder .. "/none")
    local file = assert(io.open(support.write(folder .. "/x", "x")))
    file:close()
    lu.assertErrorMsgContains("the file is closed", client.request, client, { url = "/up", body = file })
end

function suite.test_a_function_makes_the_body()
    local count = 0
    local request = upload(function()
        count = count + 1
        return count <= 500 and ("%06d;"):format(count):rep(100) or nil
    end)
    lu.assertEquals(#request.body, 500 * 700)
    lu.assertEquals(request.headers["transfer-encoding"], "chunked")
    lu.assertEquals(request.body:sub(-7), "000500;")
end

function suite.test_a_function_may_wait_and_call()
    local n = 0
    local request = perilune.run(upload, function()
        n = n + 1
        perilune.sleep(0.001)
        return n < 4 and "part" .. n or nil
    end)
    lu.assertEquals(request.body, "part1part2part3")
end

function suite.test_a_function_that_fails_ends_the_request()
    local server <close> = support.server {}
    local client <close> = perilune.client { base_url = server.url, retry = false }
    local first = true
    local reply, err = client:request { url = "/up", body = function()
        if first then
            first = false
            return "some"
        end
        return nil, "the disk is gone"
    end }
    lu.assertNil(reply)
    lu.assertEquals(err.code, "io")
    lu.assertStrContains(err.message, "the disk is gone")
    lu.assertErrorMsgContains("a bug", client.request, client, { url = "/up", body = function() error "a bug" end })
    lu.assertErrorMsgContains("string expected", client.request, client,
        { url = "/up", body = function() return {} end })
end

function suite.test_a_function_can_be_sent_only_once()
    local request, reply, err = upload(function() return nil end, { { path = "/up", status = 429, reply = "" } })
    lu.assertEquals(request.body, "")
    lu.assertNil(reply)
    lu.assertEquals(err.code, "rate_limited")
end

local function download(sink, steps, options)
    local server <close> = support.server(steps)
    local client <close> = perilune.client { base_url = server.url, retry = { attempts = 3, base = 0.001 } }
    local request = { url = "/down", sink = sink }
    for name, value in pairs(options or {}) do
        request[name] = value
    end
    local reply, err = client:request(request)
    server:stop()
    return reply, err
end

function suite.test_to_a_file_and_to_a_path()
    local text = ("abcdefgh"):rep(100000)
    local path = folder .. "/out"
    lu.assertEquals(assert(download({ path = path }, { { path = "/down", reply = text } })).status, 200)
    lu.assertEquals(support.read(path), text)
    local file = assert(io.open(path, "wb"))
    file:write "before:"
    lu.assertEquals(assert(download(file, { { path = "/down", reply = text } })).body, "")
    file:close()
    lu.assertEquals(support.read(path), "before:" .. text)
end

function suite.test_a_path_never_holds_half_a_transfer()
    local path = support.write(folder .. "/out", "old")
    local _, err = download({ path = path }, { { path = "/down", reply = ("x"):rep(1000), cut = true } },
        { method = "POST" })
    lu.assertEquals(err.code, "truncated")
    lu.assertEquals(support.read(path), "old")
    assert(download({ path = path }, { { path = "/down", status = 503, reply = "no" },
        { path = "/down", reply = "new" } }))
    lu.assertEquals(support.read(path), "new")
end

function suite.test_a_function_takes_the_answer_with_back_pressure()
    local pieces = {}
    for i = 1, 40 do
        pieces[i] = ("%04d"):format(i):rep(16384)
    end
    local got, largest = {}, 0
    local reply = perilune.run(download, function(chunk)
        largest = math.max(largest, #chunk)
        got[#got + 1] = chunk
        perilune.sleep(0)
    end, { { path = "/down", pieces = pieces } })
    lu.assertEquals(reply.status, 200)
    lu.assertTrue(table.concat(got) == table.concat(pieces))
    lu.assertTrue(largest <= 512 * 1024, "a piece of " .. largest)
end

function suite.test_a_sink_that_raises_ends_the_request()
    local server <close> = support.server { { path = "/down", pieces = { "a", "b", "c" } } }
    local client <close> = perilune.client { base_url = server.url }
    lu.assertErrorMsgEquals("enough", client.request, client,
        { url = "/down", sink = function() error("enough", 0) end })
end

function suite.test_requests_carry_what_was_said()
    local server <close> = support.server {
        { method = "POST", path = "/sub/a?b=c", reply = '{"id":9007199254740993}',
            headers = "X-Thing: one\r\nx-thing: two\r\nContent-Type: application/json\r\n" },
        { method = "GET", path = "/sub/b", reply = "plain" },
        { method = "GET", path = "/sub/b", reply = "plain" },
    }
    local client <close> = perilune.client { base_url = server.url .. "/sub", token = "t-1", user_agent = "test/1",
        headers = { ["X-All"] = "yes" } }
    local reply = assert(client:request { url = "/a?b=c", json = { n = 1.0, list = perilune.array {} },
        headers = { ["X-One"] = "1" } })
    lu.assertEquals(reply:json(), { id = 9007199254740993 })
    lu.assertEquals(reply.headers["x-thing"], "one, two")
    lu.assertIs(reply.headers, reply.headers)
    lu.assertStrContains(reply.header_text, "X-Thing: one\nx-thing: two\n")
    lu.assertEquals(reply.attempts, 1)
    assert(client:request "/b")
    client:set_token "t-2"
    assert(client:request { url = server.url .. "/sub/b" })
    local requests = server:stop()
    lu.assertEquals(core.json_decode(requests[1].body), { n = 1.0, list = {} })
    lu.assertEquals(requests[1].headers["content-type"], "application/json")
    lu.assertEquals({ requests[1].headers["x-one"], requests[1].headers["x-all"] }, { "1", "yes" })
    lu.assertEquals(requests[1].headers["user-agent"], "test/1")
    lu.assertEquals(requests[1].headers.authorization, "Bearer t-1")
    lu.assertEquals(requests[3].headers.authorization, "Bearer t-2")
    lu.assertEquals(requests[3].connection, 1) -- one kept connection for all
end

function suite.test_the_type_of_a_json_body_is_the_callers_or_the_usual_one()
    local server <close> = support.server {
        { method = "POST", path = "/a", reply = "" },
        { method = "PUT", path = "/a", reply = "" },
        { method = "POST", path = "/a", reply = "" },
    }
    local client <close> = perilune.client { base_url = server.url, headers = { ["X-All"] = "yes" } }
    assert(client:request { url = "/a", json = { 1 } })
    assert(client:request { url = "/a", method = "PUT", json = { 1 }, headers = { ["content-type"] = "text/x-json" } })
    assert(client:request { url = "/a", json = { 1 }, headers = {} })
    local requests = server:stop()
    lu.assertEquals(requests[1].headers["content-type"], "application/json")
    lu.assertEquals(requests[1].headers["x-all"], "yes")
    lu.assertEquals(requests[2].headers["content-type"], "text/x-json")
    lu.assertEquals(requests[3].headers["content-type"], "application/json")
end

function suite.test_credentials_stay_at_their_origin()
    local home <close> = support.server {}
    local away <close> = support.server { { path = "/x", reply = "" } }
    local client <close> = perilune.client { base_url = home.url, token = "t-1" }
    assert(client:request(away.url .. "/x"))
    lu.assertNil(away:stop()[1].headers.authorization)
end

function suite.test_a_token_function_is_asked_before_each_request()
    local server <close> = support.server { { path = "/x", times = 2, reply = "" } }
    local n = 0
    local client <close> = perilune.client { base_url = server.url, token = function()
        n = n + 1
        perilune.sleep(0)
        if n == 3 then
            return nil, "no more"
        end
        return "token-" .. n
    end }
    assert(client:request "/x")
    assert(client:request "/x")
    lu.assertEquals({ client:request "/x" }, { nil, "no more" })
    local requests = server:stop()
    lu.assertEquals(requests[2].headers.authorization, "Bearer token-2")
end

function suite.test_retries_and_the_rate_limit()
    local server <close> = support.server {
        { path = "/x", status = 503, times = 2, reply = "" }, { path = "/x", times = 3, reply = "done" },
    }
    local client <close> = perilune.client { base_url = server.url, retry = { attempts = 3, base = 0.001, cap = 0.002 },
        rate_limit = { requests = 5, seconds = 3600, fail = true } }
    lu.assertEquals(assert(client:request "/x").attempts, 3)
    assert(client:request "/x")
    assert(client:request "/x")
    local reply, err = client:request "/x"
    lu.assertNil(reply)
    lu.assertEquals({ err.code, err.status }, { "rate_limited", 0 })
    lu.assertTrue(err.retry_after > 3000)
    server:stop()
end

function suite.test_shared_client()
    local server <close> = support.server { { path = "/x", reply = "1" } }
    local shared_before = core.live()
    lu.assertEquals(perilune.request(server.url .. "/x").body, "1")
    lu.assertTrue(core.live() <= shared_before + 1)
    perilune.close()
    server:stop()
end

function suite.test_server_sent_events_in_any_pieces()
    local text = "\239\187\191: comment\nevent: line\nid: 3\ndata: {\"a\":1}\ndata: more\n\ndata\n\n"
        .. "event:end\r\ndata:x\r\n\r\ndata: unfinished\n"
    text = text:sub(4)
    for size = 1, #text do
        local got = {}
        local sink = events.parser(function(event) got[#got + 1] = event end)
        for at = 1, #text, size do
            sink(text:sub(at, at + size - 1))
        end
        lu.assertEquals(got, {
            { name = "line", id = "3", data = '{"a":1}\nmore' },
            { name = "message", id = "3", data = "" },
            { name = "end", id = "3", data = "x" },
        })
    end
end

function suite.tearDown()
    support.remove(folder)
    perilune.close()
    support.assert_clean()
end
