-- SPDX-License-Identifier: MIT
-- Functions: what cdf.functions offers, and what a function itself can do.

local calls = require "perilune.cdf.calls"
local core = require "perilune.core"
local deploy = require "perilune.cdf.deploy"
local errors = require "perilune.error"
local iterate = require "perilune.iterate"
local object = require "perilune.cdf.object"
local source = require "perilune.cdf.source"
local record = require "perilune.record"
local tasks = require "perilune.task"

local READY_FIRST, READY_FACTOR, READY_LONGEST = 0.02, 1.5, 5 -- seconds between two looks whether it can be called

---@class perilune.cdf.function
---@field id integer
---@field name string
---@field status "Queued"|"Deploying"|"Ready"|"Failed"
---@field created_time integer milliseconds since 1970
---@field last_called? integer
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
local Function = { __name = "perilune.cdf.function" }

---@class perilune.cdf.call_options
---@field data? any the handler's input; default {}
---@field wait? boolean until the call has ended; default true
---@field nonce? string of a session; default: one is created
---@field timeout? number seconds for the whole operation

---@class perilune.cdf.functions
---@field calls perilune.cdf.calls
---@field schedules perilune.cdf.schedules
local Functions = {}
Functions.__index = Functions

---@class perilune.cdf.create_options
---@field name string
---@field folder? string packaged and uploaded; or file_id, or handler
---@field file_id? integer
---@field handler? (fun(ctx: table): any)|string a function, sent as its source text alone; or a file, packaged alone
---@field source? string the text of the only file, as handler would give it
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
---@field exclude? string[] patterns, as in .gitignore, of what stays out of the package
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

--- Packages, uploads and creates. What is wrong with folder, handler or options is said before anything is sent.
---@param options perilune.cdf.create_options
---@return perilune.cdf.function? fn
---@return perilune.error? err
function Functions:create(options)
    local prepared, err = source.prepare(options)
    if not prepared then
        return nil, err
    end
    local fn
    fn, err = self.client:invoke("functions.create", prepared)
    return object.adopt(self.client, Function, fn, source.explain(options, err))
end

---@class perilune.cdf.deploy_options : perilune.cdf.create_options
---@field external_id? string which function it is; default: its name
---@field force? boolean also when nothing changed; default: when there are secrets, whose values can't be compared
---@field client_credentials? {client_id: string, client_secret: string} of the sessions of its schedules

--- Creates the function, or replaces the one with its external id when its content or options have changed (their hash
--- is kept in its metadata). The schedules of the one before are created again, with their input. Several may deploy at
--- once. Answers what was done: "created", "replaced" or "unchanged"; and, when there are such, the schedules that
--- could not be created again. When the new function could not be created, err.schedules has all of them.
---@param options perilune.cdf.deploy_options
---@return perilune.cdf.function? fn
---@return string|perilune.error what_or_err
---@return {schedule: perilune.cdf.schedule_options, error: perilune.error}[]? lost
function Functions:deploy(options)
    return deploy(self, options)
end

---@param options? perilune.cdf.filter
---@return perilune.cdf.function[]? functions
---@return perilune.error? err
function Functions:list(options)
    local list, err = self.client:invoke("functions.list", options)
    return object.adopt_all(self.client, Function, list, err)
end

--- Iterates over functions; raises the error when the request fails. The platform answers in one page.
---@param options? perilune.cdf.filter
---@return fun(): perilune.cdf.function?
function Functions:each(options)
    return iterate(function()
        return self:list(record.with(options, { limit = options and options.limit or -1 }))
    end)
end

---@param options {id: integer?, external_id: string?}
---@return perilune.cdf.function? fn nil without an error: there is none
---@return perilune.error? err
function Functions:retrieve(options)
    local fn, err = self.client:invoke("functions.retrieve", object.plain(options))
    return object.adopt(self.client, Function, fn, err)
end

---@param options {ids: integer[]?, external_ids: string[]?, ignore_unknown_ids: boolean?}
---@return perilune.cdf.function[]? functions
---@return perilune.error? err
function Functions:retrieve_multiple(options)
    local list, err = self.client:invoke("functions.retrieve_multiple", object.plain(options))
    return object.adopt_all(self.client, Function, list, err)
end

---@param options {id: integer|integer[]|nil, external_id: string|string[]|nil}
---@return true? ok
---@return perilune.error? err
function Functions:delete(options)
    return self.client:invoke("functions.delete", object.plain(options))
end

---@class perilune.cdf.call_by_id : perilune.cdf.call_options
---@field id? integer
---@field external_id? string

--- Calls a function, and waits until the call has ended. How it ended is in the call's status. The session that is
--- created for the call is revoked when the platform refuses the call.
---@param options perilune.cdf.call_by_id
---@return perilune.cdf.function_call? call
---@return perilune.error? err
function Functions:call(options)
    local call, err = self.client:invoke("functions.call", object.plain(options))
    return object.adopt(self.client, calls.FunctionCall, call, err)
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

---- methods of a function ----

---@param options? perilune.cdf.call_options
---@return perilune.cdf.function_call? call
---@return perilune.error? err
function Function:call(options)
    return object.client(self).functions:call(record.with(options, { id = self.id }))
end

--- Reads it again; nil: it is gone.
local function reread(self)
    local fresh, err = object.client(self).functions:retrieve { id = self.id }
    if not fresh then
        return nil, err
    end
    return record.renew(self, fresh)
end

--- Reads the function again. One that is gone stays as it was.
---@return perilune.cdf.function? self
---@return perilune.error? err
function Function:update()
    local _, err = reread(self)
    if err then
        return nil, err
    end
    return self
end

local function failure(self, code, message, trace)
    return nil, errors.new {
        code = code, operation = "cdf.functions.wait", message = ("function %d %s"):format(self.id, message),
        trace = trace,
    }
end

--- Waits until the function can be called: the platform builds it first. One that can't be built is a failure.
---@param options? {timeout: number?} seconds
---@return perilune.cdf.function? self
---@return perilune.error? err
function Function:wait(options)
    local pause, timeout = READY_FIRST, options and options.timeout
    local deadline = timeout and core.monotonic() + timeout
    while true do
        local there, err = reread(self)
        if err then
            return nil, err
        elseif not there then
            return failure(self, "not_found", "is gone")
        elseif self.status == "Ready" then
            return self
        elseif self.status == "Failed" then
            local why = type(self.error) == "table" and self.error or { message = self.error }
            return failure(self, "package", ("can't be built: %s"):format(why.message or "no reason is given"),
                why.trace)
        elseif deadline and core.monotonic() + pause > deadline then
            return failure(self, "timeout", ("is not ready after %g s: its status is %s"):format(timeout, self.status))
        end
        tasks.sleep(pause)
        pause = math.min(pause * READY_FACTOR, READY_LONGEST)
    end
end

---@param options? perilune.cdf.call_filter
---@return perilune.cdf.function_call[]? calls
---@return perilune.error|string|nil err_or_cursor
function Function:list_calls(options)
    return object.client(self).functions.calls:list(record.with(options, { function_id = self.id }))
end

---@param options? {limit: integer?} default 25; -1: all
---@return perilune.cdf.function_schedule[]? schedules
---@return perilune.error? err
function Function:list_schedules(options)
    return object.client(self).functions.schedules:list(record.with(options, { function_id = self.id }))
end

---@param call_id integer
---@return perilune.cdf.function_call? call
---@return perilune.error? err
function Function:retrieve_call(call_id)
    return object.client(self).functions.calls:retrieve { call_id = call_id, function_id = self.id }
end

---@return true? ok
---@return perilune.error? err
function Function:delete()
    return object.client(self).functions:delete { id = self.id }
end

--- What would create the same again, from the same file. Secrets stay masked; index urls are not known.
---@return perilune.cdf.create_options
function Function:as_write()
    return object.pick(self, {
        "name", "file_id", "external_id", "description", "owner", "function_path", "secrets", "env_vars", "cpu",
        "memory", "runtime", "metadata",
    })
end

function Function:__tostring()
    return ("function %s %q (%s)"):format(self.id, tostring(self.name), self.status)
end

return { Functions = Functions, Function = Function }
