-- SPDX-License-Identifier: MIT
-- What is done with tables of named fields: options, and objects that a platform has told.

local record = {}

--- A copy of options with more in it.
---@param options table?
---@param more table
---@return table
function record.with(options, more)
    local merged = {}
    for name, value in pairs(options or {}) do
        merged[name] = value
    end
    for name, value in pairs(more) do
        merged[name] = value
    end
    return merged
end

--- Gives an object the fields of a fresh one: those that it lacks go.
---@generic T: table
---@param self T
---@param fresh table
---@return T self
function record.renew(self, fresh)
    for name in pairs(self) do
        self[name] = fresh[name]
    end
    for name, value in pairs(fresh) do
        self[name] = value
    end
    return self
end

return record
