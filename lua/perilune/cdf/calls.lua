-- SPDX-License-Identifier: MIT
-- Calls of functions: what cdf.functions.calls offers, and what a call itself can do.

local Log = require "perilune.log"
local errors = require "perilune.error"
local iterate = require "perilune.iterate"
local object = require "perilune.cdf.object"
local record = require "perilune.record"
local tasks = require "perilune.task"

local PAGE = 1000
local FOLLOW_FIRST, FOLLOW_FACTOR, FOLLOW_LONGEST = 0.05, 1.5, 2 -- seconds between two looks at a log

---@class perilune.cdf.function_call
---@field id integer
---@field function_id integer
---@field status "Running"|"Completed"|"Failed"|"Timeout"
---@field start_time? integer milliseconds since 1970
---@field end_time? integer
---@field schedule_id? integer
---@field scheduled_time? integer
---@field error? {message: string, trace: string}
local FunctionCall = { __name = "perilune.cdf.function_call" }

local LogLine = { __name = "perilune.log_line" }

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
    local page, err = self.client:invoke("functions.calls.list", object.plain(options))
    if not page then
        return nil, err
    end
    local list, odd = object.adopt_all(self.client, FunctionCall, page.items)
    return list, odd or page.next_cursor
end

--- Iterates over calls, page by page; raises the error when a page fails. limit: in all; default: every call.
---@param options perilune.cdf.call_filter
---@return fun(): perilune.cdf.function_call?
function Calls:each(options)
    local limit = options and options.limit
    if limit == -1 then
        limit = nil
    end
    local page = record.with(options, { limit = math.min(limit or PAGE, PAGE) })
    return iterate(function(cursor)
        page.cursor = cursor
        return self:list(page)
    end, limit)
end

---@param options perilune.cdf.call_id
---@return perilune.cdf.function_call? call nil without an error: there is none
---@return perilune.error? err
function Calls:retrieve(options)
    local call, err = self.client:invoke("functions.calls.retrieve", object.plain(options))
    return object.adopt(self.client, FunctionCall, call, err)
end

--- What the handler returned.
---@param options perilune.cdf.call_id
---@return any value
---@return perilune.error? err
function Calls:get_response(options)
    return self.client:invoke("functions.calls.get_response", object.plain(options))
end

---@param options perilune.cdf.call_id
---@return perilune.log? log
---@return perilune.error? err
function Calls:get_logs(options)
    local lines, err = self.client:invoke("functions.calls.get_logs", object.plain(options))
    for i = 1, lines and #lines or 0 do
        local line = lines[i]
        local stamp = type(line) == "table" and line.timestamp
        if type(line) ~= "table" or type(line.message) ~= "string" or (stamp and math.type(stamp) ~= "integer") then
            return object.odd(LogLine, line)
        end
    end
    return lines and Log.new(lines), err
end

local function refresh(self, operation, more)
    local args = record.with({ call_id = self.id, function_id = self.function_id }, more or {})
    local fresh, err = object.client(self):invoke(operation, args)
    if err then
        return nil, err
    elseif fresh == nil then
        return nil, errors.new {
            code = "not_found", operation = "cdf." .. operation, message = ("call %d is gone"):format(self.id),
        }
    elseif type(fresh) ~= "table" then
        return object.odd(FunctionCall, fresh)
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
    return object.client(self).functions.calls:get_response { call_id = self.id, function_id = self.function_id }
end

---@return perilune.log? log
---@return perilune.error? err
function FunctionCall:get_logs()
    return object.client(self).functions.calls:get_logs { call_id = self.id, function_id = self.function_id }
end

--- Gives fn the lines that it has not seen yet. A log only grows at its end.
local function show_new_lines(self, state, fn)
    local log, err = self:get_logs()
    if not log then
        return nil, err
    end
    local new = #log > state.shown
    while state.shown < #log do
        state.shown = state.shown + 1
        state.showing = true
        fn(log[state.shown])
        state.showing = false
    end
    return new
end

--- Looks at the log again and again, seldom when nothing comes. A look that fails is made up for by the next. What fn
--- raises ends the waiting.
local function watch(self, state, fn, waiter)
    local pause = FOLLOW_FIRST
    while not state.ended do
        local ok, new = pcall(show_new_lines, self, state, fn)
        if not ok then
            state.raised = { new }
            return waiter:cancel()
        end
        pause = new and FOLLOW_FIRST or math.min(pause * FOLLOW_FACTOR, FOLLOW_LONGEST)
        if not state.ended then
            tasks.sleep(pause)
        end
    end
end

local function follow(self, fn, options)
    local state = { shown = 0, ended = false, showing = false }
    if self.status == "Running" then
        local waiter = tasks.spawn(self.wait, self, options)
        local watcher = tasks.spawn(watch, self, state, fn, waiter)
        local _ <close> = setmetatable({}, {
            __close = function()
                waiter:cancel()
                watcher:cancel()
            end,
        })
        local ok, err = waiter:await()
        state.ended = true
        if state.showing then
            watcher:await() -- fn is in the middle of a line
        end
        if state.raised then
            error(state.raised[1], 0)
        elseif not ok then
            return nil, err
        end
    end
    local ok, err = show_new_lines(self, state, fn)
    if ok == nil then
        return nil, err
    end
    return self
end

--- Gives fn each line of the log ({timestamp, message}) as it comes, until the call has ended.
---@param fn fun(line: perilune.log_line)
---@param options? {timeout: number?} seconds
---@return perilune.cdf.function_call? self
---@return perilune.error? err
function FunctionCall:follow(fn, options)
    return tasks.run(follow, self, fn, options)
end

function FunctionCall:__tostring()
    return ("call %s of function %s (%s)"):format(self.id, self.function_id, self.status)
end

return { Calls = Calls, FunctionCall = FunctionCall }
