-- SPDX-License-Identifier: MIT
-- What a deployment script makes and changes on the platform, signed in: APIs, jobs, authentications, scripts; and the
-- records of tasks. Names of fields are the platform's in snake_case; `data` holds more of them as the platform spells
-- them.

local iterate = require "perilune.iterate"

local PAGE_SIZE = 100 -- the platform's most

local function invoke(self, operation, options, id)
    local args = {}
    for name, value in pairs(options or {}) do
        args[name] = value
    end
    if id ~= nil then
        args.id = id
    end
    args.credentials = self.credentials
    return self.client:invoke(operation, args)
end

local function list(self, operation, options)
    local page, err = invoke(self, operation, options)
    if not page then
        return nil, err
    end
    return page.items, page.page_info
end

--- Asks for one page after the other until one is not full.
local function each(self, options)
    local size = options and options.page_size or PAGE_SIZE
    return iterate(function(number)
        local args = { page_size = size, page_number = number or 1 }
        for name, value in pairs(options or {}) do
            args[name] = value
        end
        local items, err = self:list(args)
        if not items then
            return nil, err
        end
        return items, #items >= size and (number or 1) + 1 or nil
    end)
end

---@class perilune.dataflux.list_options
---@field page_size? integer 1 to 100; default 10
---@field page_number? integer from 1
---@field fuzzy_search? string what some text holds
---@field id? string only this one
---@field timeout? number seconds

---@class perilune.dataflux.fields of an API, job or authentication
---@field id? string up to 64 characters; default: a random one
---@field func_id? string set__script.func
---@field func_call_kwargs_json? table preset arguments; "INPUT_BY_CALLER" for what the caller gives
---@field tags_json? string[]
---@field note? string
---@field is_disabled? boolean
---@field task_record_limit? integer records that are kept, to 10000; default none
---@field api_auth_id? string of an API
---@field show_in_doc? boolean of an API
---@field expire_time? string of a Sync API or job, ISO 8601
---@field throttling_json? table<string, integer> of a Sync API: {bySecond =, byMinute =, ...}
---@field cron_expr? string of a job, five fields
---@field type? string of an authentication: fixedField, httpBasic, httpDigest or func
---@field name? string of an authentication
---@field config_json? table of an authentication: {fields =}, {users =} or {funcId =}
---@field data? table further fields, as the platform spells them
---@field timeout? number seconds

---@class perilune.dataflux.entities
---@field package client perilune.client
---@field package credentials table

--- Methods that call these operations of the service.
local function class(operations)
    local methods = {}
    methods.__index = methods
    if operations.list then
        methods.list = function(self, options)
            return list(self, operations.list, options)
        end
        methods.each = each
    end
    if operations.add then
        methods.add = function(self, fields)
            return invoke(self, operations.add, fields)
        end
        methods.modify = function(self, id, fields)
            return invoke(self, operations.modify, fields, id)
        end
        methods.delete = function(self, id, options)
            return invoke(self, operations.delete, options, id)
        end
    end
    return methods
end

--- One page, newest first, and {page_number, page_count, total_count, ...}.
---@class perilune.dataflux.entities
---@field list fun(self, options?: perilune.dataflux.list_options): table[]?, table|perilune.error
--- Iterates over all; raises the error when a request fails.
---@field each fun(self, options?: perilune.dataflux.list_options): fun(): table?
--- Makes one: {id =, and of an API url =}. A call may answer not_found for 5 s yet.
---@field add fun(self, fields: perilune.dataflux.fields): {id: string, url: string?}?, perilune.error?
--- Changes what is given. A change may take 5 s to be seen.
---@field modify fun(self, id: string, fields: perilune.dataflux.fields): any, perilune.error?
---@field delete fun(self, id: string, options?: {timeout: number?}): any, perilune.error?

---@class perilune.dataflux.cron_jobs : perilune.dataflux.entities
local CronJobs = class {
    list = "cron_jobs.list", add = "cron_jobs.add", modify = "cron_jobs.modify", delete = "cron_jobs.delete",
}

--- Runs a job now, also one that is disabled. There is no task id.
---@param id string
---@param options? {timeout: number?}
---@return any null
---@return perilune.error? err
function CronJobs:run(id, options)
    return invoke(self, "cron_jobs.run", options, id)
end

---@class perilune.dataflux.script_fields
---@field id? string set__name
---@field code_draft? string its text
---@field prev_code_draft_md5? string refuse when the draft is another one by now
---@field data? table further fields, as the platform spells them
---@field timeout? number seconds

---@class perilune.dataflux.scripts
---@field package client perilune.client
---@field package credentials table
---@field add fun(self, fields: perilune.dataflux.script_fields): table?, perilune.error?
---@field modify fun(self, id: string, fields: perilune.dataflux.script_fields): table?, perilune.error?
---@field delete fun(self, id: string, options?: {timeout: number?}): any, perilune.error?
local Scripts = class { add = "scripts.add", modify = "scripts.modify", delete = "scripts.delete" }

--- Runs the draft and puts what it exports into service. When it fails nothing changes, and err.detail.result says why.
---@param id string set__name
---@param options? {note: string?, timeout: number?}
---@return table? published
---@return perilune.error? err
function Scripts:publish(id, options)
    return invoke(self, "scripts.publish", options, id)
end

---@class perilune.dataflux.record_options : perilune.dataflux.list_options
---@field root_task_id? string
---@field script_set_id? string
---@field script_id? string
---@field func_id? string
---@field origin? string
---@field origin_id? string
---@field queue? integer
---@field status? "success"|"failure"|"timeout"|"skip"
---@field fields? string "a,b": only these; "-,a,b": all but these

---@class perilune.dataflux.task_records
---@field package client perilune.client
---@field package credentials table
---@field list fun(self, options?: perilune.dataflux.record_options): table[]?, table|perilune.error
---@field each fun(self, options?: perilune.dataflux.record_options): fun(): table?

return {
    sync_apis = class {
        list = "sync_apis.list", add = "sync_apis.add", modify = "sync_apis.modify", delete = "sync_apis.delete",
    },
    async_apis = class {
        list = "async_apis.list", add = "async_apis.add", modify = "async_apis.modify", delete = "async_apis.delete",
    },
    cron_jobs = CronJobs,
    api_auth = class {
        list = "api_auth.list", add = "api_auth.add", modify = "api_auth.modify", delete = "api_auth.delete",
    },
    scripts = Scripts,
    task_records = class { list = "task_records.list" },
}
