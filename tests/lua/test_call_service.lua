-- SPDX-License-Identifier: MIT
-- ctx.service through a real host: numbers, files, and whose token is good for how long.
local core = require "perilune.core"
local json = require "perilune.json"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestCallService = suite

local data, gateway, host, facts

function suite.setUp()
    data = support.folder()
    facts, gateway = support.gateway(data, "--sandboxes", "2")
    host = assert(perilune.host { data = data, retry = false })
end

function suite.tearDown()
    host:close()
    gateway:kill()
    gateway:wait()
    lu.assertEquals({ gateway.code, gateway.signal }, { 0, 0 }, gateway.err)
    support.remove(data)
    support.assert_clean()
end

local function deploy(name, code, options)
    local folder = support.folder()
    support.write(folder .. "/handler.lua", "local perilune = require 'perilune'\nreturn { handle = function(ctx)\n"
        .. code .. "\nend }")
    local args = { name = name, folder = folder }
    for key, value in pairs(options or {}) do
        args[key] = value
    end
    local fn = assert(host.functions:deploy(args))
    support.remove(folder)
    return fn
end

--- A request to the access service with this token.
local function numgen(token)
    local client <close> = perilune.client { base_url = facts.url .. "/cim", token = token, retry = false }
    return client:request "/numgen?name=n&count=1"
end

function suite.test_numbers_and_files()
    assert(host.parents:create { id = "doc-1" })
    local fn = deploy("work", [[
        local service = ctx.service
        local first = assert(service.generator:get_number "report_no")
        local more = assert(service.generator:get_numbers("report_no", 3))
        local content = ("row;\0é\n"):rep(100000)
        local id = assert(service.file_upload:upload_new_file { parent_object_id = "doc-1", filename = "täst.csv",
            stream = content })
        local back = assert(service.files:download(id))
        local about = assert(service.files:retrieve(id))
        return { first = first, more = more, same = back == content, name = about.filename, size = about.filesize,
            id = id, url = service.service_url }]])
    for round = 0, 2 do
        local result = assert(fn:call {})
        local at = round * 4
        lu.assertEquals({ result.first, result.more }, { at + 1, { at + 2, at + 3, at + 4 } })
        lu.assertEquals({ result.same, result.name, result.size }, { true, "täst.csv", #"row;\0é\n" * 100000 })
        lu.assertEquals(result.url, facts.url .. "/cim")
        lu.assertEquals(assert(host.files:get(math.tointeger(result.id))).persno, "work")
    end
end

function suite.test_a_token_is_good_for_100_requests()
    local fn = deploy("greedy", [[
        local client <close> = perilune.client { base_url = ctx.service.service_url, retry = false,
            token = ctx.service.service_token }
        local statuses = {}
        for i = 1, 101 do
            local reply, err = client:request "/numgen?name=n&count=1"
            statuses[i] = reply and reply.status or err.status
            if err then
                return { statuses = statuses, code = err.code, body = err.body, after = err.retry_after }
            end
        end
        return { statuses = statuses }]])
    for _ = 1, 2 do -- each call anew
        local result = assert(fn:call {})
        lu.assertEquals({ #result.statuses, result.statuses[100], result.statuses[101] }, { 101, 200, 429 })
        lu.assertEquals({ result.code, result.body }, { "rate_limited",
            '{"detail":"Rate limit exceeded: 100 per 1 minute"}' })
        lu.assertTrue(result.after > 0 and result.after <= 60)
    end
end

function suite.test_calls_at_once_have_their_own_tokens()
    local fn = deploy("both", [[
        local token, last = ctx.service.service_token, 0
        for _ = 1, 10 do
            perilune.sleep(0.001)
            last = assert(ctx.service.generator:get_number "shared")
            assert(ctx.service.service_token == token)
        end
        return { token = token, last = last, id = ctx.call.id }]])
    local functions = {}
    for i = 1, 20 do
        functions[i] = function() return fn:call {} end
    end
    local seen, highest = {}, 0
    for _, result in ipairs(assert(perilune.gather(functions))) do
        lu.assertNil(seen[result.token])
        seen[result.token] = true
        lu.assertStrContains(result.token, ("pc1.%d."):format(result.id))
        highest = math.max(highest, result.last)
    end
    lu.assertEquals(highest, 200) -- no number twice
end

function suite.test_tokens_of_calls_that_ended_or_never_were()
    local fn = deploy("tell", "return ctx.service.service_token")
    local token = fn:call {}
    lu.assertEquals(numgen(token).status, 200) -- within the grace
    local other = fn:call {}
    local id, mac = token:match "^pc1%.(%d+)%.(.*)$"
    local wrong = {
        ("pc1.%s.%s"):format(other:match "^pc1%.(%d+)", mac), ("pc1.%d.%s"):format(id + 1, mac), "pc1.1." .. mac,
        token:sub(1, -2), token .. "A", "pc1." .. id, "x" .. token,
    }
    for _, bad in ipairs(wrong) do
        local reply, err = numgen(bad)
        lu.assertNil(reply)
        lu.assertEquals({ err.code, err.status }, { "unauthorized", 401 })
        lu.assertNil(err.body:find(bad, 1, true))
        lu.assertNil(err.body:find(mac, 1, true))
    end
    -- the token opens the access service and the Functions API, not the host's own door
    for _, path in ipairs { "/v1/host", "/v1/functions" } do
        local client <close> = perilune.client { base_url = facts.url, token = token, retry = false }
        local reply, err = client:request(path)
        lu.assertNil(reply, path)
        lu.assertEquals(err.status, 401)
    end
    -- with its host the call is gone
    gateway:kill "sigkill"
    gateway:wait()
    host:close()
    facts, gateway = support.gateway(data, "--sandboxes", "1")
    host = assert(perilune.host { data = data, retry = false })
    local _, err = numgen(token)
    lu.assertEquals(err.status, 401)
    lu.assertStrContains(err.body, "does not run here any more")
end

function suite.test_the_deadline_ends_what_waits_for_the_service()
    assert(host.parents:create { id = "doc-1" })
    local fn = deploy("late", [[
        local sent = 0
        local id, err = ctx.service.file_upload:upload_new_file { parent_object_id = "doc-1", filename = "f",
            persno = "p", filesize = 100000, stream = function()
                sent = sent + 1
                if sent == 2 then
                    ctx.log.info "stuck"
                    perilune.sleep(3600)
                end
                return ("x"):rep(1000)
            end }
        return id or tostring(err)]], { timeout = 0.3 })
    local value, err = fn:call {}
    lu.assertNil(value)
    lu.assertEquals(err.code, "handler_timeout")
    -- the upload was given up: its lock goes, though nobody waits for that
    local files = assert(host.files:list())
    lu.assertEquals(#files, 1)
    for _ = 1, 3000 do
        if not files[1].locked then
            break
        end
        perilune.sleep(0.01)
        files = assert(host.files:list())
    end
    lu.assertFalse(files[1].locked)
    lu.assertEquals({ files[1].filename, files[1].filesize }, { "f", 0 })
end

function suite.test_events_use_the_service()
    local vectors = assert(json.decode(support.read(support.source .. "/tests/vectors/cim_event.json")))
    deploy("event", [[
        return { number = assert(ctx.service.generator:get_number "part"), persno = ctx.metadata.app_user }]])
    local url, token = core.host_credentials(data)
    local client <close> = perilune.client { base_url = url, token = token, retry = false }
    local reply = assert(client:request { url = "/cim/events/event", body = vectors.request })
    lu.assertEquals(assert(reply:json()).data, { number = 1, persno = "caddok" })
end

--- What these processes hold at most, in KiB.
local function high_water(pids)
    local most = {}
    for i, pid in ipairs(pids) do
        most[i] = math.tointeger(support.read(("/proc/%d/status"):format(pid)):match "VmHWM:%s+(%d+)")
    end
    return most
end

function suite.test_an_upload_from_a_function_is_never_gathered()
    assert(host.parents:create { id = "doc-1" })
    local fn = deploy("stream", [[
        local block, left = ("0123456789abcdef"):rep(4096), ctx.data.blocks
        return assert(ctx.service.file_upload:upload_new_file { parent_object_id = "doc-1", filename = "big",
            filesize = #block * left, stream = function()
                left = left - 1
                return left >= 0 and block or nil
            end })]], { memory = "8M" })
    local children = support.read(("/proc/%d/task/%d/children"):format(gateway.pid, gateway.pid))
    local pids = { gateway.pid }
    for pid in children:gmatch "%d+" do
        pids[#pids + 1] = math.tointeger(pid)
    end
    lu.assertEquals(#pids, 3)
    for _ = 1, 8 do
        assert(fn:call { blocks = 64 }) -- 4 MiB: both sandboxes and the pool's threads are warm
    end
    local before = high_water(pids)
    local id = assert(fn:call { blocks = 1024 })
    lu.assertEquals(assert(host.files:get(math.tointeger(id))).filesize, 64 << 20)
    if support.read(("/proc/%d/maps"):format(gateway.pid)):find "lib[at]san" then
        return -- a sanitizer keeps what was freed
    end
    for i, now in ipairs(high_water(pids)) do
        lu.assertTrue(now - before[i] < 16 << 10, ("process %d grew from %d to %d KiB"):format(i, before[i], now))
    end
end
