-- SPDX-License-Identifier: MIT
-- A handler called with an event of CIM Database Cloud. The runtime calls what this returns (bindings/event.c).

local json = require "perilune.json"
local link = require "perilune.cim.links"
local responses = require "perilune.cim.response"

---@class perilune.cim.metadata
---@field app_lang string ISO code of the user's language
---@field app_user string who triggered the event
---@field request_id string
---@field service_url? string of the platform's own access service
---@field service_token? string
---@field request_datetime string|number
---@field transaction_id string
---@field instance_url string
---@field db_service_url? string

---@class perilune.cim.event
---@field name string
---@field event_id string
---@field data table as it came; null is perilune.null

---- the request ----

local function is_string(value)
    return type(value) == "string"
end

local function is_url(value)
    return is_string(value) and value:find "^%s*[Hh][Tt][Tt][Pp][Ss]?://[^/?#%s]" ~= nil
end

--- ISO 8601, a date, or seconds since 1970.
local function is_time(value)
    if type(value) == "number" then
        return true
    end
    return is_string(value) and (value:find "^%d%d%d%d%-%d%d%-%d%d$" ~= nil
        or value:find "^%d%d%d%d%-%d%d%-%d%d[Tt _]%d%d:%d%d" ~= nil or value:find "^%-?%d+%.?%d*$" ~= nil)
end

local STRING, URL, TIME, OBJECT = { is_string, "a string" }, { is_url, "an http or https URL" },
    { is_time, "a date and time" }, { function(value) return type(value) == "table" and not json.is_array(value) end,
        "an object" }

-- {key, type, optional =}
local METADATA = {
    { "app_lang", STRING }, { "app_user", STRING }, { "request_id", STRING }, { "service_url", URL, optional = true },
    { "service_token", STRING, optional = true }, { "request_datetime", TIME }, { "transaction_id", STRING },
    { "instance_url", URL }, { "db_service_url", URL, optional = true },
}
local EVENT = { { "name", STRING }, { "event_id", STRING }, { "data", OBJECT } }
local REQUEST = { { "metadata", OBJECT }, { "event", OBJECT } }

local function look(problems, path, object, fields)
    for _, field in ipairs(fields) do
        local value, kind = object[field[1]], field[2]
        if value == nil and not field.optional then
            problems[#problems + 1] = ("%s%s is missing"):format(path, field[1])
        elseif value ~= nil and not (field.optional and value == json.null) and not kind[1](value) then
            problems[#problems + 1] = ("%s%s must be %s"):format(path, field[1], kind[2])
        end
    end
    return #problems == 0
end

--- nil, or what is wrong with a request.
local function problem_of(request)
    local problems = {}
    if not OBJECT[1](request) then
        return "the request must be an object"
    end
    if look(problems, "", request, REQUEST) then
        look(problems, "metadata.", request.metadata, METADATA)
        look(problems, "event.", request.event, EVENT)
        if request.event.name == "" then
            problems[#problems + 1] = "event.name is empty"
        end
    end
    return #problems > 0 and "the request is no event: " .. table.concat(problems, "; ") or nil
end

---- the call ----

local function finish(ctx, event_id, result, err)
    if result == nil and err ~= nil then
        return nil, err
    elseif result == nil then
        return ctx.response { content_type = "application/json", body = "" }
    elseif type(result) == "table" and getmetatable(result) == false then
        return result -- ctx.response: the handler's own business
    end
    local text, failed = responses.encode(event_id, result)
    return ctx.response { status = failed and 500 or 200, content_type = "application/json", body = text }
end

--- Returns what the runtime takes for the handler's results, or false and a sentence when the request is bad.
---@param handle fun(ctx: perilune.handler.context): any, any
---@param ctx perilune.handler.context
---@param body string the request
return function(handle, ctx, body)
    local request, err = json.decode(body)
    if request == nil then
        return false, "the request is not JSON: " .. err.message
    end
    local problem = problem_of(request)
    if problem then
        return false, problem
    end
    for _, field in ipairs(METADATA) do
        if request.metadata[field[1]] == json.null then
            request.metadata[field[1]] = nil
        end
    end
    link(request.event.data)
    ctx.metadata, ctx.event, ctx.data = request.metadata, request.event, request.event.data
    return finish(ctx, request.event.event_id, handle(ctx))
end
