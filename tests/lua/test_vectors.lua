-- SPDX-License-Identifier: MIT
-- The golden vectors of tests/vectors, read a second time: the binding does not bend what is right in C.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"
local uv = require "luv"
local Log = require "perilune.log"

local suite = {}
_G.TestVectors = suite

local function load_vectors(name)
    return assert(core.json_decode(support.read(("%s/tests/vectors/%s.json"):format(support.source, name))))
end

local function section(vectors, name)
    lu.assertTrue(#vectors[name] > 0, "no vectors in " .. name)
    return vectors[name]
end

local function bytes_of(vector)
    return vector.text or (vector.hex:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end))
end

function suite.test_json_valid()
    for _, vector in ipairs(section(load_vectors "json", "valid")) do
        local value, err = core.json_decode(vector.text)
        lu.assertNil(err, vector.text)
        -- Lua's tables keep no order: with more than one key the values are compared.
        local want, got = vector.out or vector.text, assert(core.json_encode(value))
        if want ~= got then
            lu.assertStrContains(want, ",")
            lu.assertEquals(core.json_decode(got), core.json_decode(want))
            lu.assertEquals(#got, #want)
        end
    end
end

function suite.test_json_refused()
    for _, vector in ipairs(section(load_vectors "json", "refused")) do
        local text = bytes_of(vector)
        -- jansson can't hold a NUL in a key; a Lua string can.
        if text ~= '{"a\\u0000b":1}' then
            local value, err = core.json_decode(text)
            lu.assertNil(value, text)
            lu.assertEquals(err.code, "json")
            lu.assertStrContains(err.message, ("line %d column %d: "):format(vector.line, vector.column), nil, nil,
                text)
        end
    end
end

function suite.test_json_reals()
    for _, vector in ipairs(section(load_vectors "json", "reals")) do
        local bytes = vector.bits:gsub("%x%x", function(byte) return string.char(tonumber(byte, 16)) end)
        local x = string.unpack(">d", bytes)
        lu.assertEquals(core.json_encode(x), vector.text)
        lu.assertEquals(string.pack(">d", core.json_decode(vector.text)), bytes)
    end
end

---- cdf ----

local function step_of(exchange, extra)
    local step = { method = exchange.method, path = exchange.path, status = exchange.status }
    step.headers = "x-request-id: req-0001\r\n"
    if exchange.reply ~= nil then
        step.reply = assert(core.json_encode(exchange.reply))
    else
        step.reply = exchange.text
    end
    for name, value in pairs(extra or {}) do
        step[name] = value
    end
    return step
end

local function credentials_of(vector, url)
    local credentials
    for name, value in pairs(vector.credentials or {}) do
        credentials = credentials or {}
        credentials[name] = name == "token_url" and url .. value or value
    end
    return credentials
end

--- The names in a zip, from its central directory.
local function zip_names(bytes)
    local count, at = string.unpack("<I2xxxxI4", bytes, bytes:find("PK\5\6", 1, true) + 10)
    local names = {}
    at = at + 1
    for i = 1, count do
        local name, extra, comment = string.unpack("<I2I2I2", bytes, at + 28)
        names[i] = bytes:sub(at + 46, at + 45 + name)
        at = at + 46 + name + extra + comment
    end
    return names
end

--- The options, with '@files' replaced by a folder that holds the vector's files.
local function args_of(vector, folder)
    local args = {}
    for name, value in pairs(vector.args or {}) do
        args[name] = value
    end
    for name, text in pairs(vector.files or {}) do
        if name:find "/" then
            uv.fs_mkdir(folder .. "/" .. name:match "^(.*)/", 493)
        end
        support.write(folder .. "/" .. name, text)
    end
    if args.folder then
        args.folder = folder
    end
    return args
end

local function run(client, vector, folder)
    local op, err = core.call(client, "cdf", vector.operation, args_of(vector, folder))
    if not op then
        return nil, err
    end
    lu.assertEquals(op:wait(), "done")
    return op:result()
end

local function check_error(vector, err)
    local want = vector.error
    lu.assertNotNil(err, vector.name)
    lu.assertEquals(err.code, want.code, vector.name)
    lu.assertEquals(err.operation:match "^[^.]+", "cdf")
    for _, name in ipairs { "status", "request_id", "platform_code" } do
        if want[name] ~= nil then
            lu.assertEquals(err[name], want[name], vector.name)
        end
    end
    if want.message then
        lu.assertEquals(err.message:sub(1, #want.message), want.message, vector.name)
    end
end

local function check_case(vector)
    local steps = {}
    for i, exchange in ipairs(vector.exchanges or {}) do
        steps[i] = step_of(exchange)
    end
    local folder = support.folder()
    local server <close> = support.server(steps)
    local credentials = credentials_of(vector, server.url)
    local client <close> = core.client {
        base_url = server.url, project = "demo", token = not credentials and "secret" or nil, credentials = credentials,
        gzip = false, retry = { base = 0.001, cap = 0.002 },
    }
    local ok, result, err = pcall(run, client, vector, folder)
    if not ok then -- misuse is raised in Lua
        result, err = nil, { code = "invalid", operation = "cdf", message = result:gsub("^cdf%.[%w_.]+: ", "") }
    end
    if vector.error then
        check_error(vector, err)
    else
        lu.assertNil(err, vector.name .. ": " .. tostring(err))
        local want = vector.result
        if want == perilune.null then
            want = result == true or nil -- an operation without a result answers true in Lua
        end
        lu.assertEquals(result, want, vector.name)
        if vector.text then
            lu.assertEquals(Log.new(result):to_text { with_timestamps = true }, vector.text)
        end
    end
    local requests = server:stop()
    lu.assertEquals(#requests, #steps, vector.name)
    for i, exchange in ipairs(vector.exchanges or {}) do
        lu.assertEquals(requests[i].method .. " " .. requests[i].path, exchange.method .. " " .. exchange.path)
        if exchange.raw then
            lu.assertEquals(requests[i].body, exchange.raw)
        elseif exchange.zip then
            lu.assertEquals(zip_names(requests[i].body), exchange.zip, vector.name)
        end
        if exchange.body ~= nil then
            lu.assertEquals(assert(core.json_decode(requests[i].body)), exchange.body, vector.name)
        end
    end
    support.remove(folder)
end

function suite.test_cdf_cases()
    local cases = section(load_vectors "cdf", "cases")
    for _, vector in ipairs(cases) do
        check_case(vector)
    end
    lu.assertTrue(#cases > 30)
end

--- Sections 17.1 and 17.2: how often each request is tried, through the binding.
function suite.test_cdf_retries()
    local good = {
        { method = "POST", path = "/api/v1/projects/demo/files?overwrite=false", status = 201,
            reply = '{"id":77,"uploadUrl":"/upload/77"}' },
        { method = "POST", path = "/api/v1/projects/demo/files/byids", reply = '{"items":[{"id":7,"uploaded":true}]}' },
        { method = "POST", path = "/api/v1/projects/demo/sessions", reply = '{"items":[{"nonce":"n"}]}' },
    }
    for _, vector in ipairs(section(load_vectors "cdf", "retry")) do
        local folder = support.folder()
        support.write(folder .. "/handler.py", "def handle(data):\n    return data\n")
        local server <close> = support.server { { method = vector.method or "POST", path = vector.path,
            status = vector.status, times = 1000, reply = '{"error":{"code":1,"message":"again"}}',
            headers = vector.header and vector.header .. "\r\n" or "" }, table.unpack(good) }
        local client <close> = core.client {
            base_url = server.url, project = "demo", token = "t",
            retry = { attempts = 11, base = 0.001, cap = 0.001 },
        }
        local result, err = run(client, vector, folder)
        lu.assertNil(result)
        lu.assertEquals(err.code, vector.error, vector.name)
        local tried = 0
        server.child:wait()
        for _, request in ipairs(assert(load(server.child.out:match "^[^\n]*\n(.*)$"))().requests) do
            tried = tried + (request.path == vector.path and 1 or 0)
        end
        lu.assertEquals(tried, vector.attempts, vector.name)
        support.remove(folder)
    end
end

function suite.test_cdf_errors()
    for _, vector in ipairs(section(load_vectors "cdf", "errors")) do
        check_case(vector)
    end
end

function suite.tearDown()
    support.assert_clean()
end
