-- SPDX-License-Identifier: MIT
-- The access service in Lua: the vectors, streams of all kinds, progress, and what is refused.
local core = require "perilune.core"
local errors = require "perilune.error"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestCim = suite

function suite:setUp()
    self.folder = support.folder()
end

function suite:tearDown()
    support.remove(self.folder)
    support.assert_clean()
end

local function open(server, more)
    local options = { url = server.url, token = "tok-123", retry = false }
    for name, value in pairs(more or {}) do
        options[name] = value
    end
    return perilune.cim(options)
end

-- generator.get_numbers takes its arguments in a row, the others a table.
local function call(cim, operation, args)
    local module, method = operation:match "^(%w[%w_]*)%.([%w_]+)$"
    if module == "generator" then
        return cim.generator[method](cim.generator, args.name, args.count)
    end
    return cim[module][method](cim[module], args)
end

local function steps_of(vector)
    local steps = {}
    for i, exchange in ipairs(vector.exchanges) do
        steps[i] = {
            method = exchange.method, path = exchange.path, status = exchange.status,
            reply = exchange.text or assert(core.json_encode(exchange.reply)),
            headers = exchange.etag and ("ETag: %s\r\n"):format(exchange.etag) or nil,
        }
    end
    return steps
end

local function check_requests(vector, requests, url)
    local lock
    lu.assertEquals(#requests, #vector.exchanges, vector.id)
    for i, exchange in ipairs(vector.exchanges) do
        local request, id = requests[i], vector.id .. " " .. exchange.path
        lu.assertEquals({ request.method, request.path }, { exchange.method, exchange.path })
        lu.assertEquals(request.headers.authorization, exchange.access and "Bearer tok-123" or nil, id)
        lu.assertEquals(request.headers["content-type"],
            exchange.access and exchange.method == "POST" and "application/json" or nil, id)
        local body = (exchange.body or ""):gsub("%$B", url)
        lock = lock or request.body:match '"lock_id": "(%a+)"'
        body = body:gsub('"lock_id": "%a+"', function() return ('"lock_id": "%s"'):format(lock) end)
        lu.assertEquals(request.body, body, id)
    end
end

function suite.test_vectors()
    local vectors = assert(core.json_decode(support.read(support.source .. "/tests/vectors/cim.json"))).calls
    lu.assertEquals(#vectors, 17)
    for _, vector in ipairs(vectors) do
        local server <close> = support.server(steps_of(vector))
        local cim <close> = open(server)
        local args = vector.args
        args.stream = vector.stream
        if vector.seekable == false then
            local at = 0
            args.stream = function()
                at = at + 1
                return at <= #vector.stream and vector.stream:sub(at, at) or nil
            end
        end
        local result, err = call(cim, vector.operation, args)
        if vector.error then
            lu.assertEquals(err.code, vector.error.code)
            lu.assertEquals(err.status, vector.error.status)
            lu.assertEquals(err.message, vector.error.message or err.message)
        else
            lu.assertNil(err)
            lu.assertEquals(result, vector.result == nil and true or vector.result)
        end
        check_requests(vector, server:stop(), server.url)
    end
end

local function uploads(count, chunksize, length)
    local urls = {}
    local steps = {
        { path = "/file_upload/f/generate_presigned_url" }, { path = "/file_upload/f/complete", reply = "null" },
    }
    for i = 1, count do
        urls[i] = "$B/" .. i
        steps[#steps + 1] = { method = "PUT", path = "/" .. i }
    end
    steps[1].reply = core.json_encode { blob_id = "b", urls = perilune.array(urls), chunksize = chunksize }
    return steps, ("0123456789abcdef"):rep(length // 16 + 1):sub(1, length)
end

local function sent(requests)
    local parts = {}
    for _, request in ipairs(requests) do
        if request.method == "PUT" then
            parts[tonumber(request.path:sub(2))] = request.body
        end
    end
    return parts
end

function suite:test_sources()
    local function piecewise(text)
        local at = 1
        return function()
            local piece = text:sub(at, at + 9999)
            at = at + 10000
            return piece ~= "" and piece or nil
        end
    end
    local length = 150000
    local path = support.write(self.folder .. "/source", "skipped" .. select(2, uploads(1, 1, length)))
    local sources = {
        string = function(text) return text, length end,
        path = function(text) return { path = support.write(self.folder .. "/whole", text) }, nil end,
        file = function()
            local file = assert(io.open(path, "rb"))
            lu.assertEquals(file:read(7), "skipped") -- the rest counts, and is sent
            return file, nil, file
        end,
        pipe = function()
            local file = assert(io.popen("tail -c +8 " .. path))
            return file, length, file
        end,
        ["function"] = function(text) return piecewise(text), length end,
    }
    for name, make in pairs(sources) do
        local steps, text = uploads(3, 65536, length)
        local server <close> = support.server(steps)
        local cim <close> = open(server, { persno = "p" })
        local stream, filesize, file = make(text)
        local last, total = 0, nil
        local ok, err = cim.file_upload:upload_file_content {
            file_object_id = "f", stream = stream, filesize = filesize, concurrency = 2,
            on_progress = function(now, all)
                lu.assertTrue(now > last, name)
                last, total = now, all
            end,
        }
        lu.assertNil(err, name)
        lu.assertTrue(ok)
        lu.assertEquals({ last, total }, { length, length }, name)
        lu.assertEquals(table.concat(sent(server:stop())), text, name)
        if file then
            file:close()
        end
    end
end

-- Two uploads at once, each in a task, with the progress told in the task itself.
function suite.test_tasks()
    local steps, text = uploads(2, 65536, 100000)
    for _, step in ipairs(steps) do
        step.times = 2
    end
    local server <close> = support.server(steps)
    local cim <close> = open(server, { persno = "p" })
    local function upload()
        local task = coroutine.running()
        return cim.file_upload:upload_file_content { file_object_id = "f", stream = text,
            on_progress = function() lu.assertEquals(coroutine.running(), task) end }
    end
    lu.assertEquals(perilune.gather(upload, upload), { true, true })
    server:stop()
end

function suite.test_source_fails()
    local abort = { path = "/file_upload/f/abort", reply = "null" }
    for _, mode in ipairs { "returns", "raises", "ends early", "goes on" } do
        local steps = uploads(1, 100, 50)
        steps[2] = abort
        if mode ~= "goes on" then
            steps[3] = nil -- no whole chunk arrives
        end
        abort.times = 1
        local server <close> = support.server(steps)
        local cim <close> = open(server, { persno = "p" })
        local calls = 0
        local ok, result, err = pcall(cim.file_upload.upload_file_content, cim.file_upload, {
            file_object_id = "f", filesize = 50, stream = function()
                calls = calls + 1
                if mode == "goes on" then
                    return ("x"):rep(30)
                elseif calls == 1 then
                    return ("x"):rep(20)
                elseif mode == "raises" then
                    error({ mine = true })
                end
                return nil, mode == "returns" and "the disk is on fire" or nil
            end,
        })
        if mode == "raises" then
            lu.assertFalse(ok)
            lu.assertEquals(result, { mine = true })
        else
            lu.assertNil(result)
            lu.assertStrContains(err.message, ({ returns = "the disk is on fire",
                ["ends early"] = "the stream ended 30 bytes before the 50 that filesize says",
                ["goes on"] = "the stream goes on after the 50 bytes that filesize says" })[mode])
        end
        local requests = server:stop()
        lu.assertEquals(requests[#requests].path, "/file_upload/f/abort", mode)
    end
end

function suite.test_files()
    local server <close> = support.server {
        { method = "GET", path = "/base/files/a%2Fb", reply = '{"filename":"x","filesize":9007199254740993}' },
        { method = "GET", path = "/base/files/f/content", reply = "the bytes" },
        { method = "GET", path = "/base/files/f/content", reply = "the bytes" },
        { method = "GET", path = "/base/files/g/content", status = 404, reply = '{"detail":"no such file"}' },
    }
    local cim <close> = perilune.cim { url = " " .. server.url .. "/base// ", token = function() return "t" end }
    lu.assertEquals(cim.files:retrieve "a/b", { filename = "x", filesize = 9007199254740993 })
    lu.assertEquals(cim.files:download "f", "the bytes")
    local parts = {}
    lu.assertTrue(cim.files:download("f", function(chunk) parts[#parts + 1] = chunk end))
    lu.assertEquals(table.concat(parts), "the bytes")
    local content, err = cim.files:download "g"
    lu.assertNil(content)
    lu.assertEquals(err.code, "not_found")
    lu.assertStrContains(tostring(err), "no such file")
    lu.assertEquals(server:stop()[1].headers.authorization, "Bearer t")
end

function suite.test_mimetype_by_name()
    local server <close> = support.server {
        { path = "/temp_file/create", status = 422, reply = '{"detail":"too large"}' },
        { path = "/temp_file/create", status = 422, reply = '{"detail":"too large"}' },
    }
    local cim <close> = open(server, { persno = "p" })
    for _, name in ipairs { "a.CSV", "unknown" } do
        local id, err = cim.temp_file:upload { stream = "x", filename = name }
        lu.assertNil(id)
        lu.assertEquals(err.code, "unprocessable")
    end
    local requests = server:stop()
    lu.assertStrContains(requests[1].body, '"mimetype": "text/csv"')
    lu.assertStrContains(requests[2].body, '"mimetype": "application/octet-stream"')
end

function suite:test_misuse()
    local url = "http://127.0.0.1:1"
    local function raises(message, f, ...)
        local ok, err = pcall(f, ...)
        lu.assertFalse(ok)
        lu.assertFalse(errors.is(err))
        lu.assertStrContains(err, message)
    end
    raises("no service url was given", perilune.cim, { token = "t" })
    raises("no service url was given", perilune.cim, { url = "", token = "t" })
    raises("no service token was given", perilune.cim, { url = url })
    raises("no service token was given", perilune.cim, { url = url, token = "" })
    raises("no query and no fragment", perilune.cim, { url = url .. "/?x=1", token = "t" })
    raises("password", perilune.cim, { url = "http://u:p@h", token = "t" })
    raises("unknown option 'tokn'", perilune.cim, { url = url, token = "t", tokn = 1 })
    local cim <close> = perilune.cim { url = url, token = "t" }
    local uploader = cim.file_upload
    raises("option 'count' must be from 1 to 100, not 101", cim.generator.get_numbers, cim.generator, "n", 101)
    raises("option 'name' is required", cim.generator.get_number, cim.generator)
    raises("option 'stream' is required", uploader.upload_new_file, uploader, { persno = "p" })
    raises("no persno", uploader.upload_new_file, uploader, { stream = "x" })
    raises("option 'filename' is required", uploader.upload_new_file, uploader,
        { stream = "x", persno = "p", parent_object_id = "d" })
    raises("unknown option 'file_name'", uploader.upload_new_file, uploader,
        { stream = "x", persno = "p", parent_object_id = "d", file_name = "f" })
    raises("say it with filesize", uploader.upload_file_content, uploader,
        { stream = function() end, persno = "p", file_object_id = "f" })
    local path = support.write(self.folder .. "/f", "abc")
    raises("option 'filesize' says 4 bytes, but the stream has 3", uploader.upload_file_content, uploader,
        { stream = { path = path }, persno = "p", file_object_id = "f", filesize = 4 })
    local ok, err = uploader:upload_file_content { stream = { path = path .. "-" }, persno = "p", file_object_id = "f" }
    lu.assertNil(ok)
    lu.assertEquals(err.code, "io")
end
