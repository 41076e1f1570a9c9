-- SPDX-License-Identifier: MIT
-- Failures are values: every function that can fail returns nil and one of these. tostring(err) is readable, and
-- assert(...) raises the very table.

local core = require "perilune.core"

---@class perilune.error
---@field code string what happened: "not_found", "timeout", "handler_failed", ... (see error.codes)
---@field message string one sentence
---@field status integer HTTP status; 0: no answer arrived
---@field retryable boolean the same again later may succeed
---@field operation? string for example "cdf.functions.create"
---@field platform_code? string the platform's own code
---@field request_id? string the platform's request id
---@field retry_after? number seconds that the server asks to wait
---@field missing? table[] cdf: identifiers that do not exist
---@field duplicated? table[] cdf: identifiers that exist already
---@field trace? string the handler's traceback
---@field detail? any dataflux: what the platform says beyond the message
---@field call_id? integer host: the call that failed
---@field body? string the answer as it came

local metatable = getmetatable(core.error {})

---@class perilune.errors
local errors = {}

--- Code to text, of every code there is.
---@type table<string, string>
errors.codes = core.codes

--- Makes a table an error.
---@param fields table needs code and message
---@return perilune.error
function errors.new(fields)
    fields.status = fields.status or 0
    fields.retryable = fields.retryable or false
    return core.error(fields)
end

--- Whether a value is such an error.
---@param value any
---@return boolean
function errors.is(value)
    return type(value) == "table" and getmetatable(value) == metatable
end

return errors
