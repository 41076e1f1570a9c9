-- SPDX-License-Identifier: MIT
-- Schedules: what cdf.functions.schedules offers, and what a schedule itself can do.

local iterate = require "perilune.iterate"
local object = require "perilune.cdf.object"
local record = require "perilune.record"

---@class perilune.cdf.function_schedule
---@field id integer
---@field name string
---@field function_id? integer
---@field function_external_id? string
---@field description? string
---@field cron_expression string
---@field created_time integer milliseconds since 1970
---@field session_id integer
---@field when string the expression in words
local FunctionSchedule = { __name = "perilune.cdf.function_schedule" }

---@class perilune.cdf.schedules
local Schedules = {}
Schedules.__index = Schedules

---@class perilune.cdf.schedule_options
---@field name string
---@field cron_expression string minute, hour, day, month, weekday
---@field function_id? integer
---@field function_external_id? string
---@field description? string
---@field data? table the handler's input at each call
---@field nonce? string of a session; default: one is created
---@field client_credentials? {client_id: string, client_secret: string} of that session; default: the client's own
---@field timeout? number seconds

--- Calls a function at the times of a cron expression.
---@param options perilune.cdf.schedule_options
---@return perilune.cdf.function_schedule? schedule
---@return perilune.error? err
function Schedules:create(options)
    local schedule, err = self.client:invoke("functions.schedules.create", object.plain(options))
    return object.adopt(self.client, FunctionSchedule, schedule, err)
end

---@class perilune.cdf.schedule_filter
---@field name? string
---@field function_id? integer
---@field function_external_id? string
---@field created_time? {min: integer?, max: integer?}
---@field cron_expression? string
---@field limit? integer default 25; -1: all

---@param options? perilune.cdf.schedule_filter
---@return perilune.cdf.function_schedule[]? schedules
---@return perilune.error? err
function Schedules:list(options)
    local list, err = self.client:invoke("functions.schedules.list", object.plain(options))
    return object.adopt_all(self.client, FunctionSchedule, list, err)
end

--- Iterates over schedules; raises the error when the request fails. The platform answers in one page.
---@param options? perilune.cdf.schedule_filter
---@return fun(): perilune.cdf.function_schedule?
function Schedules:each(options)
    return iterate(function()
        return self:list(record.with(options, { limit = options and options.limit or -1 }))
    end)
end

--- One schedule by its id, or a list by a list of ids.
---@param options {id: integer|integer[], ignore_unknown_ids: boolean?}
---@return perilune.cdf.function_schedule|perilune.cdf.function_schedule[]|nil found nil without an error: there is none
---@return perilune.error? err
function Schedules:retrieve(options)
    options = object.plain(options)
    local found, err = self.client:invoke("functions.schedules.retrieve", options)
    if type(options.id) == "table" then
        return object.adopt_all(self.client, FunctionSchedule, found, err)
    end
    return object.adopt(self.client, FunctionSchedule, found, err)
end

---@param options {id: integer|integer[]}
---@return true? ok
---@return perilune.error? err
function Schedules:delete(options)
    return self.client:invoke("functions.schedules.delete", object.plain(options))
end

--- What the handler gets at each call.
---@param options {id: integer}
---@return any data
---@return perilune.error? err
function Schedules:get_input_data(options)
    return self.client:invoke("functions.schedules.get_input_data", object.plain(options))
end

--- What the handler gets at each call.
---@return any data
---@return perilune.error? err
function FunctionSchedule:get_input_data()
    return object.client(self).functions.schedules:get_input_data { id = self.id }
end

---@return true? ok
---@return perilune.error? err
function FunctionSchedule:delete()
    return object.client(self).functions.schedules:delete { id = self.id }
end

--- What would create the same schedule again, with its input, which it asks the platform for.
---@return perilune.cdf.schedule_options? options
---@return perilune.error? err
function FunctionSchedule:as_write()
    local data, err = self:get_input_data()
    if err then
        return nil, err
    end
    local write = object.pick(self, { "name", "function_id", "description", "cron_expression" })
    if not write.function_id then
        write.function_external_id = self.function_external_id
    end
    write.data = data
    return write
end

function FunctionSchedule:__tostring()
    return ("schedule %s %q of function %s (%s)"):format(self.id, tostring(self.name),
        self.function_id or self.function_external_id, self.when or self.cron_expression)
end

return { Schedules = Schedules, FunctionSchedule = FunctionSchedule }
