-- SPDX-License-Identifier: MIT
-- What a function of CIM Database Cloud may answer to an event: actions and responses, and the JSON they become. They
-- are checked when they are made and again when they are written, since a table may have been changed in between.

local json = require "perilune.json"

---@class perilune.cim.responses
local responses = {}

---- how objects look: {key, type, required =, default =, max =} in the order of the wire ----

local SUBJECT_TYPES = { Person = true, ["PCS Role"] = true, ["Common Role"] = true }

local subject = {
    { "subject_id", "string", required = true },
    { "subject_type", "string", required = true, one_of = SUBJECT_TYPES },
}

local task_configuration = {
    { "task_id", "string", required = true },
    { "responsible", subject },
    { "recipients", subject, list = true },
    { "description", "string", max = 1024 },
    { "title", "string", max = 60 },
}

local actions = {
    abort_and_show_error = {
        { "id", "string" },
        { "message", "string", default = "unknown error" },
    },
    start_workflow = {
        { "id", "string" },
        { "template_id", "string", required = true },
        { "cdb_project_id", "string" },
        { "title", "string", required = true, max = 255 },
        { "attachment_ids", "string", list = true },
        { "global_briefcase_object_ids", "string", list = true },
        { "task_configurations", task_configuration, list = true },
    },
}

local write_fields

local function write_string(field, value, path)
    if type(value) ~= "string" then
        error(("%s must be a string, not a %s"):format(path, type(value)), 0)
    end
    local length = utf8.len(value)
    if not length then
        error(("%s is not UTF-8"):format(path), 0)
    end
    if field.max and length > field.max then
        error(("%s has %d characters, more than %d"):format(path, length, field.max), 0)
    end
    if field.one_of and not field.one_of[value] then
        local names = {}
        for name in pairs(field.one_of) do
            names[#names + 1] = "'" .. name .. "'"
        end
        table.sort(names)
        error(("%s must be %s, not '%s'"):format(path, table.concat(names, ", "), value), 0)
    end
    return assert(json.encode(value))
end

local function write_one(field, value, path)
    if field[2] == "string" then
        return write_string(field, value, path)
    end
    return write_fields("", field[2], value, path)
end

local function write_list(field, value, path)
    if type(value) ~= "table" then
        error(("%s must be a list, not a %s"):format(path, type(value)), 0)
    end
    local parts = {}
    for i, item in ipairs(value) do
        parts[i] = write_one(field, item, ("%s[%d]"):format(path, i))
    end
    for key in pairs(value) do
        if math.type(key) ~= "integer" or key < 1 or key > #parts then
            error(("%s must be a list; it has a key '%s'"):format(path, tostring(key)), 0)
        end
    end
    return "[" .. table.concat(parts, ",") .. "]"
end

local function write_field(field, value, path)
    if value == nil or value == json.null then
        if field.required then
            error(("%s is missing"):format(path), 0)
        elseif field.list then
            return "[]"
        elseif field.default == nil then
            return "null"
        end
        value = field.default
    end
    return (field.list and write_list or write_one)(field, value, path)
end

--- The members of an object behind `begin`; raises a sentence that names what is wrong.
function write_fields(begin, fields, value, path)
    if type(value) ~= "table" then
        error(("%s must be a table, not a %s"):format(path, type(value)), 0)
    end
    local parts, known = { begin ~= "" and begin or nil }, {}
    for _, field in ipairs(fields) do
        known[field[1]] = true
        parts[#parts + 1] = ('"%s":%s'):format(field[1], write_field(field, value[field[1]], path .. "." .. field[1]))
    end
    for key in pairs(value) do
        if not known[key] then
            error(("%s: unknown option '%s'"):format(path, tostring(key)), 0)
        end
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

---- actions ----

local Action = {} -- class of them all; the metatable of each is its own
local name_of = setmetatable({}, { __mode = "k" })

local function write_action(action)
    local name = name_of[action]
    return write_fields(('"name":"%s"'):format(name), actions[name], action, name)
end

local function make_action(name, options)
    local action = {}
    for key, value in pairs(options or {}) do
        action[key] = value
    end
    name_of[action] = name
    local good, problem = pcall(write_action, action)
    if not good then
        error(problem, 3)
    end
    return setmetatable(action, Action)
end

Action.__index = Action
Action.__name = "perilune.cim.action"

---@class perilune.cim.action

---@class perilune.cim.abort_and_show_error
---@field message? string shown to the user; default "unknown error"
---@field id? string

--- Ends the operation that the event is about, and shows the user a message. Only for events that come before it.
---@param options? perilune.cim.abort_and_show_error
---@return perilune.cim.action
function responses.abort_and_show_error(options)
    return make_action("abort_and_show_error", options)
end

---@class perilune.cim.subject
---@field subject_id string
---@field subject_type "Person"|"PCS Role"|"Common Role"

---@class perilune.cim.task_configuration
---@field task_id string
---@field responsible? perilune.cim.subject
---@field recipients? perilune.cim.subject[]
---@field description? string at most 1,024 characters
---@field title? string at most 60 characters

---@class perilune.cim.start_workflow
---@field template_id string
---@field title string at most 255 characters
---@field id? string
---@field cdb_project_id? string
---@field attachment_ids? string[]
---@field global_briefcase_object_ids? string[]
---@field task_configurations? perilune.cim.task_configuration[]

--- Starts a workflow from a template.
---@param options perilune.cim.start_workflow
---@return perilune.cim.action
function responses.start_workflow(options)
    return make_action("start_workflow", options)
end

---- responses ----

local Response = {}
Response.__index = Response
Response.__name = "perilune.cim.response"

---@class perilune.cim.response

--- Values of fields. A plain table with names says the same.
---@param fields table<string, any>
---@return perilune.cim.response
function responses.data_response(fields)
    if type(fields) ~= "table" then
        error("data_response: a table of fields expected, not a " .. type(fields), 2)
    end
    return setmetatable({ kind = "data", data = fields }, Response)
end

--- Actions. A list of actions says the same, and so does one action.
---@param list perilune.cim.action[]
---@return perilune.cim.response
function responses.workload_response(list)
    if type(list) ~= "table" then
        error("workload_response: a list of actions expected, not a " .. type(list), 2)
    end
    return setmetatable({ kind = "workload", actions = list }, Response)
end

---@class perilune.cim.error_response
---@field message string
---@field error_type? string default "RuntimeError"
---@field trace? string

local error_fields = {
    { "message", "string", required = true },
    { "error_type", "string", default = "RuntimeError" },
    { "trace", "string", default = "" },
}

--- A failure that the function words itself. Raising an error, or returning nil and one, says it with a trace.
---@param options perilune.cim.error_response
---@return perilune.cim.response
function responses.error_response(options)
    local good, problem = pcall(write_fields, "", error_fields, options, "error_response")
    if not good then
        error(problem, 2)
    end
    return setmetatable({ kind = "error", fields = options }, Response)
end

---- writing ----

--- The platform's JSON has null where a number is none.
local function finite(value, depth)
    if math.type(value) == "float" and (value ~= value or value == math.huge or value == -math.huge) then
        return json.null
    elseif type(value) ~= "table" or depth == 128 then
        return value
    end
    local copy = setmetatable({}, getmetatable(value) or nil)
    for key, item in next, value do
        copy[key] = finite(item, depth + 1)
    end
    return copy
end

local function write_data(data)
    local text = json.encode(data)
    if not text then
        text = assert(json.encode(finite(data, 0)))
    end
    return text
end

local function write_actions(list)
    local parts = {}
    for i, action in ipairs(list) do
        if name_of[action] == nil then
            error(("the result is a list whose element %d is no action (perilune.cim.abort_and_show_error, "
                .. "start_workflow)"):format(i), 0)
        end
        parts[i] = write_action(action)
    end
    for key in pairs(list) do
        if math.type(key) ~= "integer" or key < 1 or key > #parts then
            error(("the result is a list of actions with a key '%s'"):format(tostring(key)), 0)
        end
    end
    return "[" .. table.concat(parts, ",") .. "]"
end

local function response_text(kind, event_id, members)
    return ('{"response_type":"%s","event_id":%s,%s'):format(kind, assert(json.encode(event_id)), members)
end

local writers = {
    data = function(response) return '"data":' .. write_data(response.data) .. "}" end,
    workload = function(response) return '"actions":' .. write_actions(response.actions) .. "}" end,
    error = function(response) return write_fields("", error_fields, response.fields, "error_response"):sub(2) end,
}

--- What a handler's result means.
local function meaning(result)
    if type(result) ~= "table" then
        error(("the result must be an action, a list of actions, a table of fields or nothing, not a %s"):format(
            type(result)), 0)
    elseif getmetatable(result) == Response then
        return result
    elseif name_of[result] then
        return { kind = "workload", actions = { result } }
    elseif json.is_array(result) or name_of[result[1]] or math.type((next(result))) == "integer" then
        return { kind = "workload", actions = result }
    end
    return { kind = "data", data = result }
end

--- The response to an event, and whether it says a failure. Raises what is wrong with the result.
---@param event_id string
---@param result any
---@return string text
---@return boolean failed
function responses.encode(event_id, result)
    local response = meaning(result)
    return response_text(response.kind, event_id, writers[response.kind](response)), response.kind == "error"
end

return responses
