-- SPDX-License-Identifier: MIT
-- Events of CIM Database Cloud: what handlers answer, through a real host, and the objects that know each other.
local core = require "perilune.core"
local json = require "perilune.json"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local vectors = assert(json.decode(support.read(support.source .. "/tests/vectors/cim_event.json")))

---- through a real host ----

local suite = {}
_G.TestCimEvents = suite

local data, gateway, host, client

function suite.setUp()
    data = support.folder()
    local _
    _, gateway = support.gateway(data, "--sandboxes", "2")
    host = assert(perilune.host { data = data, retry = false })
    local url, token = core.host_credentials(data)
    client = perilune.client { base_url = url, token = token, retry = false }
end

function suite.tearDown()
    host:close()
    client:close()
    gateway:kill()
    gateway:wait()
    lu.assertEquals({ gateway.code, gateway.signal }, { 0, 0 }, gateway.err)
    support.remove(data)
    support.assert_clean()
end

local function deploy(name, code)
    local folder = support.folder()
    support.write(folder .. "/handler.lua", code)
    assert(host.functions:deploy { name = name, folder = folder })
    support.remove(folder)
end

local function send(path, request)
    local reply, err = client:request { url = "/cim/events" .. path, body = request, method = "POST",
        headers = { ["Content-Type"] = "application/json" } }
    if reply then
        return reply.status, reply.body
    end
    return err.status, err.body
end

function suite.test_vectors()
    for name, code in pairs(vectors.functions) do
        deploy(name, code)
    end
    for _, vector in ipairs(vectors.calls) do
        local status, body = send(vector.path, vectors.request)
        lu.assertEquals(status, vector.status, vector.path)
        if vector.body then
            lu.assertEquals(body, vector.body, vector.path)
        elseif vector.json then
            lu.assertEquals(assert(json.decode(body)), vector.json, vector.path)
        else
            local answer = assert(json.decode(body))
            lu.assertStrContains(answer.message, vector.error.message)
            lu.assertEquals({ answer.response_type, answer.error_type, answer.event_id },
                { "error", vector.error.error_type, vector.error.event_id })
        end
    end
    for _, vector in ipairs(vectors.bad) do
        local status, body = send("/echo", vector.request)
        local answer = assert(json.decode(body))
        lu.assertStrContains(answer.message, vector.says)
        lu.assertEquals({ status, answer.error_type, answer.event_id }, { 500, vector.error_type, vector.event_id })
    end
    for _, vector in ipairs(vectors.good) do
        local status, body = send("/echo", vector.request)
        lu.assertEquals({ status, assert(json.decode(body)).data }, { 200, vector.data })
    end
end

function suite.test_handlers_that_wait_run_out_of_time_or_end()
    deploy("slow", [[
        local perilune = require "perilune"
        return { handle = function(ctx)
            perilune.sleep(ctx.data.seconds)
            return { id = ctx.event.event_id }
        end }]])
    local function request(id, seconds)
        local all = assert(json.decode(vectors.request))
        all.event.event_id, all.event.data = id, { seconds = seconds }
        return assert(json.encode(all))
    end
    local functions = {}
    for i = 1, 20 do
        functions[i] = function()
            return { send("/slow", request("e" .. i, 0.02)) }
        end
    end
    for i, result in ipairs(assert(perilune.gather(functions))) do
        lu.assertEquals(result, { 200, ('{"response_type":"data","event_id":"e%d","data":{"id":"e%d"}}'):format(i, i) })
    end
    local folder = support.folder()
    support.write(folder .. "/handler.lua", "return { handle = function() while true do end end }")
    assert(host.functions:deploy { name = "spin", folder = folder, timeout = 0.2 })
    support.remove(folder)
    local status, body = send("/spin", request("e", 0))
    local answer = assert(json.decode(body))
    lu.assertEquals({ status, answer.error_type, answer.event_id }, { 500, "TimeoutError", "e" })
    lu.assertStrContains(answer.message, "deadline of 0.2 s")
end

---- objects that know each other ----

local links = {}
_G.TestCimLinks = links

local function linked(text)
    local objects = assert(json.decode(text))
    require "perilune.cim.links"(objects)
    return objects
end

function links.test_documents_and_parts()
    local text = [[{"documents":[{"z_nummer":"D1","z_index":"a","teilenummer":"P2","t_index":""},]]
        .. [[{"z_nummer":"D2","z_index":"","teilenummer":"","t_index":"x"},{"z_nummer":"D3","z_index":"b"}],]]
        .. [["parts":[{"teilenummer":"P1","t_index":"","document_ids":["D3@b","D1@a","D9@"]},]]
        .. [[{"teilenummer":"P2","t_index":"","document_ids":null},{"teilenummer":"P2","t_index":"","second":true}],]]
        .. [["bom_item":{"teilenummer":"P1","t_index":""},"note":"x"}]]
    local all = linked(text)
    lu.assertIs(all.documents[1].part, all.parts[2])
    lu.assertNil(all.documents[2].part)
    lu.assertNil(all.documents[3].part)
    lu.assertIs(all.parts[1].documents[1], all.documents[1])
    lu.assertIs(all.parts[1].documents[2], all.documents[3])
    lu.assertEquals(#all.parts[1].documents, 2)
    lu.assertEquals({ #all.parts[2].documents, #all.parts[3].documents }, { 0, 0 })
    lu.assertIs(all.bom_item.part, all.parts[1])
    lu.assertNil(all.parts[1].part)
    lu.assertEquals(json.decode(assert(json.encode(all))), json.decode(text)) -- never written
    lu.assertNil(rawget(all.documents[1], "part"))
end

function links.test_changes_briefcases_and_workflows()
    local all = linked [[{
        "document": {"z_nummer":"D1","z_index":""}, "documents": [{"z_nummer":"D2","z_index":""}],
        "parts": [{"teilenummer":"P1","t_index":""},{"teilenummer":"P2","t_index":""}],
        "engineering_change": {"cdb_ec_id":"E1","status":0,"part_ids":["P2@"],"planned_changes_part_ids":["P1@"],
            "document_ids":["D1@"],"planned_changes_document_ids":["D2@"],"accompanying_document_ids":["D1@","D2@"]},
        "change_orders": [{"cs_change_id":"O1","status":0,"affected_part_ids":["P1@"],"affected_document_ids":["D2@"]}],
        "change_requests": [{"cs_change_id":"R1","status":0,"part_ids":["P1@","P2@"]}],
        "briefcases": [{"cdb_object_id":"B1","part_ids":["P1@"],"engineering_change_ids":["E1"],
            "change_order_ids":["O1"],"change_request_ids":["R1"]},{"cdb_object_id":"B2"}],
        "workflows": [{"cdb_process_id":"W","local_briefcase_ids":["B2"],"global_briefcase_ids":["B1","B9"]}]}]]
    local change = all.engineering_change
    lu.assertIs(change.parts[1], all.parts[2])
    lu.assertIs(change.planned_changes_parts[1], all.parts[1])
    lu.assertIs(change.documents[1], all.document)
    lu.assertIs(change.planned_changes_documents[1], all.documents[1])
    lu.assertEquals(#change.accompanying_documents, 2)
    lu.assertIs(all.change_orders[1].affected_parts[1], all.parts[1])
    lu.assertIs(all.change_orders[1].affected_documents[1], all.documents[1])
    lu.assertEquals(#all.change_requests[1].parts, 2)
    local case = all.briefcases[1]
    lu.assertIs(case.parts[1], all.parts[1])
    lu.assertIs(case.engineering_changes[1], change)
    lu.assertIs(case.change_orders[1], all.change_orders[1])
    lu.assertIs(case.change_requests[1], all.change_requests[1])
    lu.assertIs(all.workflows[1].local_briefcases[1], all.briefcases[2])
    lu.assertIs(all.workflows[1].global_briefcases[1], case)
    lu.assertNil(case.nonsense)
end

function links.test_data_of_any_shape()
    for _, text in ipairs { "{}", '{"parts":5}', '{"parts":{"a":1},"documents":[1,null,[]]}',
        '{"part":[],"document":null}',
        '{"parts":[{"teilenummer":5,"t_index":null,"document_ids":[1,{},null]}]}' } do
        local all = linked(text)
        lu.assertEquals(json.encode(all), json.encode(assert(json.decode(text))))
        for _, part in ipairs(json.is_array(all.parts) and all.parts or {}) do
            lu.assertEquals(#part.documents, 0)
        end
    end
end
