-- SPDX-License-Identifier: MIT
-- Schedules of a host: calls of a function at the times of a cron expression.

local iterate = require "perilune.iterate"
local record = require "perilune.record"

local PAGE = 100
local client_of = setmetatable({}, { __mode = "k" }) -- what a result was got with

---@class perilune.host.schedule
---@field id integer
---@field name string
---@field function_id integer
---@field function string the function's name
---@field cron string
---@field when string the expression in words
---@field timezone string
---@field missed "skip"|"once"|"all"
---@field overlap "allow"|"skip"|"queue"
---@field paused boolean
---@field data? any the input of each call; not in lists
---@field description? string
---@field created_at integer milliseconds since 1970
---@field updated_at integer
---@field last_at? integer scheduled time of the last call
---@field next_at? integer
local Schedule = {}
Schedule.__index = Schedule
Schedule.__name = "perilune.host.schedule"

local function adopt(client, object)
    if object then
        client_of[object] = client
        setmetatable(object, Schedule)
    end
    return object
end

---@class perilune.host.schedules
local Schedules = {}
Schedules.__index = Schedules

---@class perilune.host.schedule_options
---@field name string
---@field fn string the function's name
---@field cron string minute hour day month weekday, perhaps with seconds first; or @daily and the like
---@field timezone? string such as "Europe/Berlin"; default UTC
---@field data? any the input of each call
---@field description? string
---@field missed? "skip"|"once"|"all" ticks that were missed while the host was down; default skip
---@field overlap? "allow"|"skip"|"queue" a tick while an earlier call has not ended; default allow
---@field paused? boolean
---@field create? boolean fail when the name is taken, instead of changing that schedule

--- Creates a schedule, or changes the one of that name: what is not given has its default then, too.
---@param options perilune.host.schedule_options
---@return perilune.host.schedule? schedule
---@return perilune.error? err
function Schedules:put(options)
    local schedule, err = self.client:invoke("schedules.put", options)
    return adopt(self.client, schedule), err
end

---@param options? {limit: integer?, before_id: integer?, fn: string?}
---@return perilune.host.schedule[]? schedules newest first
---@return perilune.error? err
function Schedules:list(options)
    local list, err = self.client:invoke("schedules.list", options)
    for _, schedule in ipairs(list or {}) do
        adopt(self.client, schedule)
    end
    return list, err
end

--- Iterates over schedules, newest first; raises the error when a page fails.
---@param options? {limit: integer?, fn: string?}
---@return fun(): perilune.host.schedule?
function Schedules:each(options)
    return iterate(function(before_id)
        local list, err = self:list { fn = options and options.fn, limit = PAGE, before_id = before_id }
        if not list then
            return nil, err
        end
        return list, #list == PAGE and list[#list].id or nil
    end, options and options.limit)
end

---@param name string or the id in decimal
---@return perilune.host.schedule? schedule
---@return perilune.error? err
function Schedules:get(name)
    local schedule, err = self.client:invoke("schedules.get", { name = name })
    return adopt(self.client, schedule), err
end

---@param name string
---@return true? ok
---@return perilune.error? err
function Schedules:delete(name)
    return self.client:invoke("schedules.delete", { name = name })
end

---@param name string
---@return perilune.host.schedule? schedule
---@return perilune.error? err
function Schedules:pause(name)
    local schedule, err = self.client:invoke("schedules.pause", { name = name })
    return adopt(self.client, schedule), err
end

--- The first tick is one after now.
---@param name string
---@return perilune.host.schedule? schedule
---@return perilune.error? err
function Schedules:resume(name)
    local schedule, err = self.client:invoke("schedules.resume", { name = name })
    return adopt(self.client, schedule), err
end

--- When it is due next, paused or not.
---@param name string
---@param options? {n: integer?, after: integer?} after: milliseconds since 1970, default now
---@return integer[]? times milliseconds since 1970
---@return perilune.error? err
function Schedules:next(name, options)
    return self.client:invoke("schedules.next", {
        name = name, n = options and options.n, after = options and options.after,
    })
end

---@class perilune.host.tick
---@field scheduled_at integer milliseconds since 1970
---@field ticked_at integer
---@field outcome "Called"|"Skipped"|"Missed"|"Failed"
---@field call_id? integer
---@field reason? string

--- What became of its ticks, newest first.
---@param name string
---@param options? {limit: integer?, before: integer?}
---@return perilune.host.tick[]? ticks
---@return perilune.error? err
function Schedules:ticks(name, options)
    return self.client:invoke("schedules.ticks", {
        name = name, limit = options and options.limit, before = options and options.before,
    })
end

--- Reads the schedule again.
---@return perilune.host.schedule? self
---@return perilune.error? err
function Schedule:update()
    local fresh, err = client_of[self]:invoke("schedules.get", { name = self.name })
    if not fresh then
        return nil, err
    end
    return record.renew(self, fresh)
end

---@return true? ok
---@return perilune.error? err
function Schedule:delete()
    return client_of[self]:invoke("schedules.delete", { name = self.name })
end

function Schedule:__tostring()
    return ("schedule %s of %s: %s, %s%s"):format(self.name, self["function"], self.when, self.timezone,
        self.paused and " (paused)" or "")
end

---@param client perilune.host.client
---@return perilune.host.schedules
return function(client)
    return setmetatable({ client = client }, Schedules)
end
