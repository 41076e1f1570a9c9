-- SPDX-License-Identifier: MIT
-- Lossless JSON: 64-bit integers stay integers, floats read back equal, an empty array stays an array.

local core = require "perilune.core"

---@class perilune.json
local json = {}

--- JSON's null; the same value as cjson.null. It is true in a condition: compare with ==.
---@type lightuserdata
json.null = core.null

--- The text of a value. Tables with keys 1..n are arrays, those with string keys objects, and an empty one is {} unless
--- it was made by perilune.array. Refused, with the path: functions, NaN, infinities, cycles, holes, mixed keys.
---@param value any
---@return string? text
---@return perilune.error? err
function json.encode(value)
    return core.json_encode(value)
end

--- The value of a text. The error has line and column.
---@param text string
---@return any value
---@return perilune.error? err
function json.decode(text)
    return core.json_decode(text)
end

--- Marks a table as an array, so that it stays [] when it is empty.
---@generic T
---@param list T[]?
---@return T[]
function json.array(list)
    return setmetatable(list or {}, core.array_metatable)
end

--- Whether a table is marked as an array: every array that was decoded is.
---@param value any
---@return boolean
function json.is_array(value)
    return type(value) == "table" and getmetatable(value) == core.array_metatable
end

return json
