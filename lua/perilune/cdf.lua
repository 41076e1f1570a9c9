-- SPDX-License-Identifier: MIT
-- Cognite Data Fusion, Functions. Methods, options and fields carry the names of the platform's Python SDK.

local Client = require "perilune.client"
local Log = require "perilune.log"
local errors = require "perilune.error"
local iterate = require "perilune.iterate"

local client_of = setmetatable({}, { __mode = "k" }) -- what a result was got with

local function with(args, more)
    local merged = {}
    for name, value in pairs(args or {}) do
        merged[name] = value
    end
    for name, value in pairs(more) do
        merged[name] = value
    end
    return merged
end

---@class perilune.cdf.function_call
---@field id integer
---@field function_id integer
---@field status "Running"|"Completed"|"Failed"|"Timeout"
---@field start_time? integer milliseconds since 1970
---@field end_time? integer
---@field schedule_id? integer
---@field scheduled_time? integer
---@field error? {message: string, trace: string}
local FunctionCall = {}
FunctionCall.__index = FunctionCall
FunctionCall.__name = "perilune.cdf.function_call"

---@class perilune.cdf.function
---@field id integer
---@field name string
---@field status "Queued"|"Deploying"|"Ready"|"Failed"
---@field created_time integer milliseconds since 1970
---@field external_id? string
---@field file_id? integer
---@field function_path? string
---@field description? string
---@field owner? string
---@field metadata? table<string, string>
---@field secrets? table<string, string> masked
---@field env_vars? table<string, string>
---@field cpu? number
---@field memory? number
---@field runtime? string
---@field runtime_version? string
---@field error? {message: string, trace: string}
local Function = {}
Function.__index = Function
Function.__name = "perilune.cdf.function"

local function adopt(client, class, object)
    if object then
        client_of[object] = client
        setmetatable(object, class)
    end
    return object
end

local function adopt_all(client, class, list)
    for _, object in ipairs(list) do
        adopt(client, class, object)
    end
    return list
end

---@class perilune.cdf.call_options
---@field data? any the handler's input; default {}
---@field wait? boolean until the call has ended; default true
---@field nonce? string of a session; default: one is created
---@field timeout? number seconds for the whole operation

---@class perilune.cdf.calls
local Calls = {}
Calls.__index = Calls

---@class perilune.cdf.call_filter
---@field function_id? integer
---@field function_external_id? string
---@field status? string
---@field schedule_id? integer
---@field start_time? {min: integer?, max: integer?}
---@field end_time? {min: integer?, max: integer?}
---@field limit? integer default 25
---@field cursor? string of the page before

---@class perilune.cdf.call_id
---@field call_id integer
---@field function_id? integer
---@field function_external_id? string
---@field timeout? number seconds

--- One page of calls, and the cursor of the next.
---@param options perilune.cdf.call_filter
---@return perilune.cdf.function_call[]? calls
---@return perilune.error|string|nil err_or_cursor
function Calls:list(options)
    local page, err = self.client:invoke("functions.calls.list", options)
    if not page then
        return nil, err
    end
    return adopt_all(self.client, FunctionCall, page.items), page.next_cursor
end

--- Iterates over calls, page by page; raises the error when a page fails. limit: in all.
---@param options perilune.cdf.call_filter
---@return fun(): perilune.cdf.function_call?
function Calls:each(options)
    local limit = options.limit
    if limit == -1 then
        limit = nil
    end
    return iterate(function(cursor)
        return self:list(with(options, { limit = math.min(limit or 1000, 1000), cursor = cursor }))
    end, limit)
end

---@param options perilune.cdf.call_id
---@return perilune.cdf.function_call? call nil without an error: there is none
---@return perilune.error? err
function Calls:retrieve(options)
    local call, err = self.client:invoke("functions.calls.retrieve", options)
    return adopt(self.client, FunctionCall, call), err
end

--- What the handler returned.
---@param options perilune.cdf.call_id
---@return any value
---@return perilune.error? err
function Calls:get_response(options)
    return self.client:invoke("functions.calls.get_response", options)
end

---@param options perilune.cdf.call_id
---@return perilune.log? log
---@return perilune.error? err
function Calls:get_logs(options)
    local lines, err = self.client:invoke("functions.calls.get_logs", options)
    return lines and Log.new(lines), err
end

---@class perilune.cdf.functions
---@field calls perilune.cdf.calls
local Functions = {}
Functions.__index = Functions

---@class perilune.cdf.create_options
---@field name string
---@field folder? string packaged and uploaded; or file_id
---@field file_id? integer
---@field function_path? string the entry file
---@field external_id? string
---@field description? string
---@field owner? string
---@field secrets? table<string, string>
---@field env_vars? table<string, string>
---@field cpu? number
---@field memory? number
---@field runtime? string
---@field metadata? table<string, string>
---@field index_url? string
---@field extra_index_urls? string[]
---@field skip_folder_validation? boolean
---@field data_set_id? integer
---@field exclude? string[] patterns of what stays out of the package
---@field timeout? number seconds

---@class perilune.cdf.filter
---@field name? string
---@field owner? string
---@field file_id? integer
---@field status? string
---@field external_id_prefix? string
---@field created_time? {min: integer?, max: integer?}
---@field metadata? table<string, string>
---@field limit? integer default 25; -1: all

---@param options perilune.cdf.create_options
---@return perilune.cdf.function? fn
---@return perilune.error? err
function Functions:create(options)
    local fn, err = self.client:invoke("functions.create", options)
    return adopt(self.client, Function, fn), err
end

---@param options? perilune.cdf.filter
---@return perilune.cdf.function[]? functions
---@return perilune.error? err
function Functions:list(options)
    local list, err = self.client:invoke("functions.list", options)
    return list and adopt_all(self.client, Function, list), err
end

--- Iterates over functions; raises the error when the request fails. The platform answers in one page.
---@param options? perilune.cdf.filter
---@return fun(): perilune.cdf.function?
function Functions:each(options)
    return iterate(function()
        return self:list(with(options, { limit = options and options.limit or -1 }))
    end)
end

---@param options {id: integer?, external_id: string?}
---@return perilune.cdf.function? fn nil without an error: there is none
---@return perilune.error? err
function Functions:retrieve(options)
    local fn, err = self.client:invoke("functions.retrieve", options)
    return adopt(self.client, Function, fn), err
end

---@param options {ids: integer[]?, external_ids: string[]?, ignore_unknown_ids: boolean?}
---@return perilune.cdf.function[]? functions
---@return perilune.error? err
function Functions:retrieve_multiple(options)
    local list, err = self.client:invoke("functions.retrieve_multiple", options)
    return list and adopt_all(self.client, Function, list), err
end

---@param options {id: integer|integer[]|nil, external_id: string|string[]|nil}
---@return true? ok
---@return perilune.error? err
function Functions:delete(options)
    return self.client:invoke("functions.delete", options)
end

---@class perilune.cdf.call_by_id : perilune.cdf.call_options
---@field id? integer
---@field external_id? string

--- Calls a function, and waits until the call has ended. How it ended is in the call's status.
---@param options perilune.cdf.call_by_id
---@return perilune.cdf.function_call? call
---@return perilune.error? err
function Functions:call(options)
    local call, err = self.client:invoke("functions.call", options)
    return adopt(self.client, FunctionCall, call), err
end

---@return table? limits
---@return perilune.error? err
function Functions:limits()
    return self.client:invoke "functions.limits"
end

---@return {status: string}? status
---@return perilune.error? err
function Functions:status()
    return self.client:invoke "functions.status"
end

---@return {status: string}? status
---@return perilune.error? err
function Functions:activate()
    return self.client:invoke "functions.activate"
end

---@param options? perilune.cdf.call_options
---@return perilune.cdf.function_call? call
---@return perilune.error? err
function Function:call(options)
    local call, err = client_of[self]:invoke("functions.call", with(options, { id = self.id }))
    return adopt(client_of[self], FunctionCall, call), err
end

--- Reads the function again. One that is gone stays as it was.
---@return perilune.cdf.function? self
---@return perilune.error? err
function Function:update()
    local fresh, err = client_of[self]:invoke("functions.retrieve", { id = self.id })
    if err then
        return nil, err
    end
    if fresh then
        for name in pairs(self) do
            self[name] = fresh[name]
        end
        for name, value in pairs(fresh) do
            self[name] = value
        end
    end
    return self
end

local function calls_of(self)
    return setmetatable({ client = client_of[self] }, Calls)
end

---@param options? perilune.cdf.call_filter
---@return perilune.cdf.function_call[]? calls
---@return perilune.error|string|nil err_or_cursor
function Function:list_calls(options)
    return calls_of(self):list(with(options, { function_id = self.id }))
end

---@param call_id integer
---@return perilune.cdf.function_call? call
---@return perilune.error? err
function Function:retrieve_call(call_id)
    return calls_of(self):retrieve { call_id = call_id, function_id = self.id }
end

---@return true? ok
---@return perilune.error? err
function Function:delete()
    return client_of[self]:invoke("functions.delete", { id = self.id })
end

function Function:__tostring()
    return ("function %s %q (%s)"):format(self.id, self.name, self.status)
end

local function refresh(self, operation, more)
    local args = with({ call_id = self.id, function_id = self.function_id }, more or {})
    local fresh, err = client_of[self]:invoke(operation, args)
    if err then
        return nil, err
    elseif not fresh then
        return nil, errors.new {
            code = "not_found", operation = "cdf." .. operation, message = ("call %d is gone"):format(self.id),
        }
    end
    self.status, self.end_time, self.error = fresh.status, fresh.end_time, fresh.error
    return self
end

--- Waits until the call has ended.
---@param options? {timeout: number?} seconds
---@return perilune.cdf.function_call? self
---@return perilune.error? err
function FunctionCall:wait(options)
    return refresh(self, "functions.calls.wait", options)
end

--- Reads status, end_time and error again.
---@return perilune.cdf.function_call? self
---@return perilune.error? err
function FunctionCall:update()
    return refresh(self, "functions.calls.retrieve")
end

--- What the handler returned.
---@return any value
---@return perilune.error? err
function FunctionCall:get_response()
    return calls_of(self):get_response { call_id = self.id, function_id = self.function_id }
end

---@return perilune.log? log
---@return perilune.error? err
function FunctionCall:get_logs()
    return calls_of(self):get_logs { call_id = self.id, function_id = self.function_id }
end

function FunctionCall:__tostring()
    return ("call %s of function %s (%s)"):format(self.id, self.function_id, self.status)
end

---@class perilune.cdf.sessions
local Sessions = {}
Sessions.__index = Sessions

--- A session; its nonce lets a function act for whoever created it.
---@param options? {client_credentials: {client_id: string, client_secret: string}?, session_type: string?}
---@return {id: integer, status: string, nonce: string, type: string?, client_id: string?}? session
---@return perilune.error? err
function Sessions:create(options)
    return self.client:invoke("iam.sessions.create", options)
end


---@class perilune.cdf : perilune.client
---@field functions perilune.cdf.functions
---@field iam {sessions: perilune.cdf.sessions}

--- A client of one project. Close it, or declare it `local cdf <close>`.
---@param options perilune.client_options base_url, project and token at least
---@return perilune.cdf
return function(options)
    local self = Client.new("cdf", options)
    self.functions = setmetatable({ client = self, calls = setmetatable({ client = self }, Calls) }, Functions)
    self.iam = { sessions = setmetatable({ client = self }, Sessions) }
    return self
end
