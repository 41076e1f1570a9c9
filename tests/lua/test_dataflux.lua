-- SPDX-License-Identifier: MIT
-- DataFlux Func in Lua: the vectors, uploads of all kinds, raw bodies, sinks, pages, and what is refused.
local core = require "perilune.core"
local errors = require "perilune.error"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestDataflux = suite

function suite:setUp()
    self.folder = support.folder()
end

function suite:tearDown()
    support.remove(self.folder)
    support.assert_clean()
end

local function open(server, more)
    local options = { url = server.url, retry = false }
    for name, value in pairs(more or {}) do
        options[name] = value
    end
    return perilune.dataflux(options)
end

--- Lua's tables keep no order: arguments in a query come in any.
local function in_any_order(vector, exchange)
    return vector.operation == "sync.call" and exchange.method == "GET"
end

local function sorted(path)
    local bytes = { path:byte(1, -1) }
    table.sort(bytes)
    return string.char(table.unpack(bytes))
end

local function steps_of(vector)
    local steps = {}
    for i, exchange in ipairs(vector.exchanges) do
        local headers = exchange.type and ("Content-Type: %s\r\n"):format(exchange.type) or ""
        for name, value in pairs(exchange.reply_headers or {}) do
            headers = headers .. name .. ": " .. value .. "\r\n"
        end
        local path = not in_any_order(vector, exchange) and exchange.path or nil
        steps[i] = { method = exchange.method, path = path, status = exchange.status, reply = exchange.reply,
            headers = headers }
    end
    return steps
end

local calls = { ["sync.call"] = "call", ["async.call"] = "call_async", ["func.call"] = "call_func" }

--- Runs a vector's operation as a program would.
local function run(dataflux, vector)
    local args = vector.args
    local id, kwargs = args.id, args.kwargs
    args.credentials = nil
    if calls[vector.operation] then
        args.id, args.kwargs, args.body, args.files = nil, nil, vector.content, vector.files
        return dataflux[calls[vector.operation]](dataflux, id, kwargs, args)
    elseif vector.operation == "task.result" then
        local task_id = args.task_id
        args.task_id = nil
        return dataflux:result(task_id, args)
    end
    local part, method = vector.operation:match "^([%w_]+)%.(%w+)$"
    if method == "list" then
        local items, page_info = dataflux[part]:list(args)
        if items then
            return { items = items, page_info = page_info }
        end
        return nil, page_info
    elseif method == "add" then
        return dataflux[part]:add(args)
    end
    args.id = nil
    return dataflux[part][method](dataflux[part], id, args)
end

--- Lua's tables keep no order: bodies of JSON are compared by value.
local function check_body(vector, exchange, request)
    local boundary = (request.headers["content-type"] or ""):match "boundary=(.*)" or ""
    local expected = exchange.body:gsub("%$BOUNDARY", function() return boundary end)
    if expected:find "^{" then
        lu.assertEquals(core.json_decode(request.body), core.json_decode(expected), vector.id)
        lu.assertEquals(#request.body, #expected, vector.id)
    else
        lu.assertEquals(request.body, expected, vector.id)
    end
end

local function check_requests(vector, requests)
    lu.assertEquals(#requests, #vector.exchanges, vector.id)
    for i, exchange in ipairs(vector.exchanges) do
        local request = requests[i]
        local order = in_any_order(vector, exchange) and sorted or tostring
        lu.assertEquals({ request.method, order(request.path) }, { exchange.method, order(exchange.path) }, vector.id)
        local boundary = (request.headers["content-type"] or ""):match "boundary=(.*)" or ""
        for name, value in pairs(exchange.headers or {}) do
            local got = request.headers[name:lower()]
            value = value:gsub("%$BOUNDARY", function() return boundary end)
            lu.assertEquals(value == "Digest " and got:sub(1, 7) or got, value, vector.id)
        end
        for _, name in ipairs(exchange.absent or {}) do
            lu.assertNil(request.headers[name:lower()], vector.id .. " " .. name)
        end
        if exchange.body then
            check_body(vector, exchange, request)
        end
    end
end

local function check_error(vector, err)
    for name, value in pairs(vector.error) do
        if name == "retry_after_ms" then
            lu.assertEquals(err.retry_after, value / 1000, vector.id)
        else
            lu.assertEquals(err[name], value, vector.id .. " " .. name)
        end
    end
end

function suite.test_vectors()
    local vectors = assert(core.json_decode(support.read(support.source .. "/tests/vectors/dataflux.json"))).calls
    lu.assertEquals(#vectors, 68)
    for _, vector in ipairs(vectors) do
        local server <close> = support.server(steps_of(vector))
        local dataflux <close> = open(server, vector.args.credentials)
        local result, err = run(dataflux, vector)
        if vector.error then
            lu.assertNil(result, vector.id)
            lu.assertTrue(errors.is(err))
            check_error(vector, err)
        else
            lu.assertFalse(errors.is(err), vector.id .. ": " .. tostring(err))
            lu.assertEquals(result, vector.bytes or vector.result, vector.id)
        end
        check_requests(vector, server:stop())
    end
end

local function served(path, reply, more)
    local step = { method = "POST", path = path, status = 200, reply = reply or "1",
        headers = "Content-Type: application/json\r\n" }
    for name, value in pairs(more or {}) do
        step[name] = value
    end
    return support.server { step }
end

function suite:test_uploads()
    local path = support.write(self.folder .. "/report.csv", "a,b\n")
    local skipped = support.write(self.folder .. "/whole", "skipped:rest")
    local server <close> = served "/api/v1/sync/s/normal"
    local dataflux <close> = open(server)
    local file <close> = assert(io.open(skipped, "rb"))
    file:read(8)
    local pipe <close> = assert(io.popen "printf piped")
    assert(dataflux:call("s", { n = 1 }, { files = {
        { path = path }, { data = "\0\255", filename = "x.bin" }, file,
        { file = pipe, filename = "p.json", name = "other" },
    } }))
    local request = server:stop()[1]
    local boundary = request.headers["content-type"]:match "^multipart/form%-data; boundary=(perilune%-%w+)$"
    local parts = {
        'name="files"; filename="report.csv"\r\nContent-Type: text/csv\r\n\r\na,b\n',
        'name="files"; filename="x.bin"\r\nContent-Type: application/octet-stream\r\n\r\n\0\255',
        'name="files"; filename="file"\r\nContent-Type: application/octet-stream\r\n\r\nrest',
        'name="other"; filename="p.json"\r\nContent-Type: application/json\r\n\r\npiped',
        'name="kwargs"\r\n\r\n{"n":1}',
    }
    local expected = ""
    for _, part in ipairs(parts) do
        expected = ("%s--%s\r\nContent-Disposition: form-data; %s\r\n"):format(expected, boundary, part)
    end
    lu.assertEquals(request.body, expected .. "--" .. boundary .. "--\r\n")
    lu.assertEquals(request.headers["transfer-encoding"], "chunked") -- nobody knows how long a pipe is
end

--- A file is read while it is sent: what this process holds does not grow with it.
function suite:test_a_large_upload_is_not_gathered()
    local path, size = self.folder .. "/large", 16 * 1024 * 1024
    local file <close> = assert(io.open(path, "wb"))
    file:seek("set", size - 1)
    file:write "x"
    file:close()
    local function peak()
        return tonumber(support.read "/proc/self/status":match "VmHWM:%s*(%d+) kB")
    end
    local server <close> = served "/api/v1/async/a/normal"
    local dataflux <close> = open(server)
    local before = peak()
    local _, err = dataflux:call_async("a", nil, { files = { { path = path } } })
    lu.assertEquals(err.code, "protocol") -- "1" is no envelope: all of it was sent
    lu.assertTrue(peak() - before < 6 * 1024, "it grew by " .. peak() - before .. " kB")
    lu.assertTrue(#server:stop()[1].body > size)
end

function suite:test_raw_bodies()
    local path = support.write(self.folder .. "/a.json", '{"a":1}')
    local pieces = { "one ", "two" }
    local cases = {
        { "text", nil, "text", "text/plain; charset=utf-8" },
        { "\0\255", "application/octet-stream", "\0\255", "application/octet-stream" },
        { { path = path }, nil, '{"a":1}', "application/json" },
        { function() return table.remove(pieces, 1) end, "text/plain", "one two", "text/plain" },
    }
    for _, case in ipairs(cases) do
        local server <close> = served "/api/v1/sync/s/simplified"
        local dataflux <close> = open(server)
        assert(dataflux:call("s", nil, { body = case[1], content_type = case[2] }))
        local request = server:stop()[1]
        lu.assertEquals({ request.body, request.headers["content-type"] }, { case[3], case[4] })
    end
end

function suite:test_answers()
    local server <close> = served("/api/v1/sync/s", "a,b", { times = 3, status = 201,
        headers = "Content-Type: text/csv\r\nX-Dff-Cache: Cached\r\n" })
    local dataflux <close> = open(server)
    local value, reply = assert(dataflux:call "s")
    lu.assertEquals({ value, reply.status, reply.headers["content-type"], reply.headers["x-dff-cache"] },
        { "a,b", 201, "text/csv", "Cached" })
    lu.assertTrue(dataflux:call("s", nil, { sink = { path = self.folder .. "/out" } }))
    lu.assertEquals(support.read(self.folder .. "/out"), "a,b")
    local got = {}
    lu.assertTrue(dataflux:call("s", nil, { sink = function(piece) got[#got + 1] = piece end }))
    lu.assertEquals(table.concat(got), "a,b")
    server:stop()
end

function suite.test_an_empty_answer_is_null()
    local server <close> = served("/api/v1/sync/s", "", { headers = "" })
    local dataflux <close> = open(server)
    local value, reply = dataflux:call "s"
    lu.assertTrue(rawequal(value, perilune.null))
    lu.assertEquals(reply.status, 200)
    server:stop()
end

function suite.test_pages()
    local function page(number, ids)
        local data = {}
        for i, id in ipairs(ids) do
            data[i] = { id = id }
        end
        return { method = "GET", path = "/api/v1/sync-apis/do/list?pageSize=2&pageNumber=" .. number, status = 200,
            reply = core.json_encode { ok = true, data = perilune.array(data) } }
    end
    local server <close> = support.server { page(1, { "a", "b" }), page(2, { "c", "d" }), page(3, {}) }
    local dataflux <close> = open(server, { auth_token = "t" })
    local ids = {}
    for api in dataflux.sync_apis:each { page_size = 2 } do
        ids[#ids + 1] = api.id
    end
    lu.assertEquals(ids, { "a", "b", "c", "d" })
    for _, request in ipairs(server:stop()) do
        lu.assertEquals(request.headers["x-dff-auth-token"], "t")
    end
end

function suite.test_credentials()
    local envelope = '{"ok":true,"data":null}'
    local server <close> = support.server {
        { method = "GET", path = "/api/v1/scripts/s__m/do/delete", reply = envelope },
        { method = "POST", path = "/api/v1/cron/c", reply = envelope },
        { method = "POST", path = "/api/v1/sync/s", reply = "1", headers = "Content-Type: application/json\r\n" },
    }
    local dataflux <close> = open(server, { ak_id = "ak-1", ak_secret = "s3cret",
        auth = { type = "fixedField", location = "header", name = "X-Key", value = "v" } })
    assert(dataflux.scripts:delete "s__m")
    dataflux:set_auth_token "fresh"
    assert(dataflux.cron_jobs:run "c")
    assert(dataflux:call "s")
    local requests = server:stop()
    lu.assertEquals(requests[1].headers["x-dff-ak-id"], "ak-1")
    lu.assertEquals(#requests[1].headers["x-dff-ak-sign"], 40)
    lu.assertNil(requests[2].headers["x-dff-ak-id"])
    lu.assertEquals(requests[2].headers["x-dff-auth-token"], "fresh")
    lu.assertEquals(requests[3].headers["x-key"], "v") -- the API's own, and nothing of the sign-in
    lu.assertNil(requests[3].headers["x-dff-auth-token"])
    lu.assertNil(requests[1].headers["x-key"])
end

function suite.test_in_tasks()
    local server <close> = served("/api/v1/sync/s", "[1]", { times = 8 })
    local dataflux <close> = open(server)
    local jobs = {}
    for i = 1, 8 do
        jobs[i] = function() return assert(dataflux:call("s", { n = i })) end
    end
    lu.assertEquals(#perilune.gather(jobs), 8)
    server:stop()
end

function suite:test_failures_before_sending()
    local dataflux <close> = perilune.dataflux { url = "http://127.0.0.1:1" }
    local value, err = dataflux:call("s", nil, { files = { { path = self.folder .. "/missing" } } })
    lu.assertNil(value)
    lu.assertEquals(err.code, "io")
    local cases = {
        { function() dataflux:call("s", nil, { kwrgs = 1 }) end, "unknown option 'kwrgs'; did you mean 'kwargs'?" },
        { function() dataflux:call("s", nil, { files = { {} } }) end, "exactly one of 'path', 'data' and 'file'" },
        { function() dataflux:call("s", nil, { files = { 5 } }) end, "not of number" },
        { function() dataflux:call("s", nil, { files = { { data = 5 } } }) end, "'data' must be a string, not number" },
        { function() dataflux:call("s", nil, { files = { { pth = "x" } } }) end, "unknown option 'pth'; did you mean" },
        { function() dataflux:call("s", nil, { files = {}, body = "x" }) end, "either a raw body or files" },
        { function() dataflux:call() end, "option 'id' is required" },
        { function() dataflux.cron_jobs:add { cron_expr = "x" } end, "option 'func_id' is required" },
        { function() perilune.dataflux {} end, "no url was given" },
        { function() perilune.dataflux { url = "http://h", tokn = "x" } end, "unknown option 'tokn'" },
    }
    for _, case in ipairs(cases) do
        lu.assertErrorMsgContains(case[2], case[1])
    end
end
