-- SPDX-License-Identifier: MIT
-- One function for every item of a list, many at once: what fails does not stop the others.

local tasks = require "perilune.task"

---@class perilune.map_options
---@field concurrency? integer at most so many at once; default 50

--- Calls fn(item, index) for every item, so many at once, and returns its first results under their indices. What
--- failed (fn returned nil and an error, or raised an error of perilune's) is missing there, and its error is in the
--- second table under its index; nil: nothing failed. Any other raise ends all and goes on up.
---@param list any[]
---@param fn fun(item: any, index: integer): any, any
---@param options? perilune.map_options
---@return table<integer, any> results
---@return table<integer, perilune.error>? errors
return function(list, fn, options)
    for name in pairs(options or {}) do
        if name ~= "concurrency" then
            error(("map: unknown option '%s'"):format(name), 2)
        end
    end
    local items = {}
    for i = 1, #list do
        items[i] = function()
            return fn(list[i], i)
        end
    end
    local settled = tasks.gather(items, { concurrency = options and options.concurrency or 50, settle = true })
    local results, failed = {}, {}
    for i, outcome in ipairs(settled) do
        if outcome.ok then
            results[i] = outcome.value
        else
            failed[i] = outcome.error
        end
    end
    return results, next(failed) and failed or nil
end
