-- SPDX-License-Identifier: MIT
-- functions:deploy: nothing when nothing changed, schedules kept, several at once, nothing lost without a word.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestCdfDeploy = suite

local P = "/api/v1/projects/demo"
local S = P .. "/functions/schedules"
local TEXT = "return { handle = function(ctx) return ctx end }\n"

local function connect(steps)
    local server = support.server(steps)
    return perilune.cdf { base_url = server.url, project = "demo", token = "t", retry = false, gzip = false }, server
end

local function items(...)
    return ('{"items":[%s]}'):format(table.concat({ ... }, ","))
end

local function fn_json(id, hash, status)
    return ('{"id":%d,"name":"f","externalId":"f","status":"%s","metadata":{"perilune_hash":"%s"}}'):format(id,
        status or "Ready", hash)
end

local function body_of(request)
    return assert(core.json_decode(request.body))
end

--- The requests as "METHOD path", without the project.
local function paths_of(requests)
    local paths = {}
    for i, request in ipairs(requests) do
        paths[i] = request.method .. " " .. request.path:gsub("^" .. P, ""):gsub("^/functions", ""):gsub("^$", "/")
    end
    return paths
end

local function lookup(...)
    return { path = P .. "/functions/byids", reply = items(...) }
end

local function upload(times)
    return { path = P .. "/files?overwrite=true", status = 201, reply = '{"id":77,"uploadUrl":"/up"}', times = times },
        { path = "/up", times = times },
        { path = P .. "/files/byids", reply = items '{"id":77,"uploaded":true}', times = times and 2 * times or 2 }
end

--- The hash that a first deployment of these options writes.
local function hash_of(options)
    local a, b, c = upload()
    local cdf <close>, server = connect { lookup(), a, b, c,
        { path = P .. "/functions", status = 201, reply = items(fn_json(1, "?")) } }
    local fn, what = cdf.functions:deploy(options)
    lu.assertEquals({ fn.id, what }, { 1, "created" })
    local requests = server:stop()
    lu.assertEquals(paths_of(requests), { "POST /byids", "POST /files?overwrite=true", "PUT /up", "POST /files/byids",
        "POST /files/byids", "POST /" })
    local sent = body_of(requests[6]).items[1]
    lu.assertEquals({ sent.externalId, sent.fileId, sent.functionPath }, { "f", 77, "handler.lua" })
    return sent.metadata.perilune_hash, sent
end

local function options_with(more)
    local options = { name = "f", source = TEXT, metadata = { mine = "x" } }
    for name, value in pairs(more or {}) do
        options[name] = value
    end
    return options
end

function suite.test_unchanged()
    local hash, sent = hash_of(options_with())
    lu.assertEquals(#hash, 64)
    lu.assertEquals(sent.metadata.mine, "x")
    local cdf <close>, server = connect { lookup(fn_json(5, hash)) }
    local fn, what, lost = cdf.functions:deploy(options_with())
    lu.assertEquals({ fn.id, what, lost }, { 5, "unchanged", nil })
    lu.assertEquals(#server:stop(), 1)
end

function suite.test_what_changes_the_hash()
    local hash = hash_of(options_with())
    lu.assertEquals(hash_of(options_with()), hash)
    lu.assertEquals(hash_of(options_with { skip_folder_validation = true, client_credentials = {} }), hash)
    for _, more in ipairs {
        { source = TEXT .. " " }, { env_vars = { A = "1" } }, { memory = 2 }, { description = "d" },
        { metadata = { mine = "y" } }, { secrets = { a = "1" } },
    } do
        lu.assertNotEquals(hash_of(options_with(more)), hash)
    end
    -- the values of secrets leave no trace
    lu.assertEquals(hash_of(options_with { secrets = { a = "2" } }), hash_of(options_with { secrets = { a = "1" } }))
    local url = { index_url = "https://me:pw@x/simple" }
    lu.assertEquals(hash_of(options_with(url)), hash)
end

function suite.test_secrets_are_deployed_again()
    local options = options_with { secrets = { a = "1" } }
    local hash = hash_of(options)
    local a, b, c = upload()
    local cdf <close>, server = connect { lookup(fn_json(5, hash)), lookup(fn_json(5, hash)), a, b, c,
        { path = S .. "/list", reply = items() }, { path = P .. "/functions/delete", reply = "{}" },
        { path = P .. "/functions", status = 201, reply = items(fn_json(6, hash)) } }
    options.force = false
    local _, what = cdf.functions:deploy(options)
    lu.assertEquals(what, "unchanged")
    options.force = nil
    local fn
    fn, what = cdf.functions:deploy(options)
    lu.assertEquals({ fn.id, what }, { 6, "replaced" })
    server:stop()
end

local SCHEDULE = '{"id":%d,"name":"s%d","cronExpression":"* * * * *","functionId":5,"when":"w","sessionId":1}'

local function old_schedules()
    return { path = S .. "/list", reply = items(SCHEDULE:format(1, 1), SCHEDULE:format(2, 2)) },
        { path = S .. "/1/input_data", reply = '{"id":1,"data":{"k":1}}' },
        { path = S .. "/2/input_data", reply = '{"id":2}' }
end

function suite.test_replaced_with_its_schedules()
    local a, b, c = upload()
    local l, d1, d2 = old_schedules()
    local cdf <close>, server = connect { lookup(fn_json(5, "old")), a, b, c, l, d1, d2,
        { path = P .. "/functions/delete", reply = "{}" },
        { path = P .. "/functions", status = 201, reply = items(fn_json(6, "new")) },
        { path = P .. "/sessions", reply = items '{"id":9,"nonce":"n"}', times = 2 },
        { path = S, status = 201, reply = items(SCHEDULE:format(3, 1)) },
        { path = S .. "/delete", status = 400, reply = '{"error":{"message":"m","missing":[{"id":1}]}}' },
        { path = S, status = 409, reply = '{"error":{"message":"too many schedules"}}' },
        { path = P .. "/sessions/revoke", reply = items '{"id":9}' },
    }
    local options = options_with { client_credentials = { client_id = "i", client_secret = "s" } }
    local fn, what, lost = cdf.functions:deploy(options)
    lu.assertEquals({ fn.id, what, #lost }, { 6, "replaced", 1 })
    lu.assertEquals(lost[1].schedule, { name = "s2", cron_expression = "* * * * *", function_id = 5 })
    lu.assertStrContains(lost[1].error.message, "too many schedules")
    local requests = server:stop()
    -- uploaded first: what can fail, fails while the old one is there
    lu.assertEquals(table.concat(paths_of(requests), "\n"), [[
POST /byids
POST /files?overwrite=true
PUT /up
POST /files/byids
POST /schedules/list
GET /schedules/1/input_data
GET /schedules/2/input_data
POST /delete
POST /files/byids
POST /
POST /sessions
POST /schedules
POST /schedules/delete
POST /sessions
POST /schedules
POST /sessions/revoke]])
    lu.assertEquals(body_of(requests[11]), { items = { { clientId = "i", clientSecret = "s" } } })
    lu.assertEquals(body_of(requests[12]).items[1], { name = "s1", cronExpression = "* * * * *", functionId = 6,
        data = { k = 1 }, nonce = "n" })
end

function suite.test_a_failure_after_the_deletion_tells_the_schedules()
    local a, b, c = upload()
    local l, d1, d2 = old_schedules()
    local cdf <close>, server = connect { lookup(fn_json(5, "old")), a, b, c, l, d1, d2,
        { path = P .. "/functions/delete", reply = "{}" },
        { path = P .. "/functions", status = 500, reply = '{"error":{"message":"down"}}' },
    }
    local fn, err = cdf.functions:deploy(options_with())
    lu.assertNil(fn)
    lu.assertStrContains(err.message, "the function was deleted, and could not be created again: down")
    lu.assertEquals({ #err.schedules, err.schedules[1].name, err.schedules[1].data }, { 2, "s1", { k = 1 } })
    server:stop()
end

function suite.test_a_failure_before_leaves_the_old_one()
    local a, b, c = upload()
    c.times = 1
    local l = { path = S .. "/list", reply = items(SCHEDULE:format(1, 1)) }
    local cdf <close>, server = connect { lookup(fn_json(5, "old")), a, b, c, l,
        { path = S .. "/1/input_data", status = 500, reply = '{"error":{"message":"no input"}}' } }
    local fn, err = cdf.functions:deploy(options_with())
    lu.assertNil(fn)
    lu.assertStrContains(err.message, "no input")
    server:stop()
    local refused <close>, second = connect { lookup(fn_json(5, "old")),
        { path = P .. "/files?overwrite=true", status = 403, reply = '{"error":{"message":"no right"}}' } }
    fn, err = refused.functions:deploy(options_with())
    lu.assertNil(fn)
    lu.assertEquals(err.code, "forbidden")
    second:stop()
    local broken <close>, third = connect {}
    fn, err = broken.functions:deploy(options_with { source = "x = " })
    lu.assertNil(fn)
    lu.assertEquals(err.code, "package")
    third:stop()
end

local DUPLICATED = '{"error":{"message":"exists","duplicated":[{"externalId":"f"}]}}'

--- Somebody else was quicker with the same, when there was none before.
function suite.test_created_by_another_meanwhile()
    local hash = hash_of(options_with())
    local a, b, c = upload()
    local cdf <close>, server = connect { lookup(), a, b, c,
        { path = P .. "/functions", status = 409, reply = DUPLICATED }, lookup(fn_json(8, hash)) }
    local fn, what = cdf.functions:deploy(options_with())
    lu.assertEquals({ fn.id, what }, { 8, "unchanged" })
    server:stop()
end

--- Whoever deleted the old one gives the schedules to the new one, even when that is another's.
function suite.test_replaced_by_another_meanwhile()
    local hash = hash_of(options_with())
    for _, theirs in ipairs { hash, "other" } do
        local a, b, c = upload()
        local l, d1, d2 = old_schedules()
        local again = lookup(fn_json(8, theirs))
        again.times = 2
        if theirs == hash then
            again.times = 1
        end
        local cdf <close>, server = connect { lookup(fn_json(5, "old")), a, b, c, l, d1, d2,
            { path = P .. "/functions/delete", reply = "{}" },
            { path = P .. "/functions", status = 409, reply = DUPLICATED }, again,
            { path = P .. "/sessions", reply = items '{"id":9,"nonce":"n"}', times = 2 },
            { path = S, status = 201, reply = items(SCHEDULE:format(3, 1)), times = 2 },
            { path = S .. "/delete", reply = "{}", times = 2 } }
        local fn, what = cdf.functions:deploy(options_with())
        if theirs == hash then
            lu.assertEquals({ fn.id, what }, { 8, "replaced" })
        else
            lu.assertNil(fn)
            lu.assertStrContains(what.message, "somebody else deployed another at the same time")
            lu.assertEquals(what.schedules, {})
        end
        server:stop()
    end
end

--- Whoever found the old one deleted already leaves the schedules to the one that did it.
function suite.test_deleted_by_another_meanwhile()
    local a, b, c = upload()
    local l, d1, d2 = old_schedules()
    local cdf <close>, server = connect { lookup(fn_json(5, "old")), a, b, c, l, d1, d2,
        { path = P .. "/functions/delete", status = 400, reply = '{"error":{"message":"m","missing":[{"id":5}]}}' },
        { path = P .. "/functions", status = 201, reply = items(fn_json(6, "new")) } }
    local fn, what = cdf.functions:deploy(options_with())
    lu.assertEquals({ fn.id, what }, { 6, "replaced" })
    server:stop()
end

function suite.tearDown()
    support.assert_clean()
end
