-- SPDX-License-Identifier: MIT
---@meta perilune.handler
-- luacheck: ignore 211

-- What a handler gets: return { handle = function(ctx) ... end }.

---@class perilune.handler
---@field handle fun(ctx: perilune.handler.context): any, any the answer; nil and why it failed

---@class perilune.handler.context
---@field data any the decoded JSON; of an event, event.data
---@field request perilune.handler.request
---@field call perilune.handler.call
---@field secrets table<string, string>
---@field log {debug: fun(...), info: fun(...), warn: fun(...), error: fun(...)}
---@field response fun(options: perilune.handler.response): any an answer of the handler's own shape
---@field service perilune.handler.service the access service, with a token of this call; made when first asked for
---@field client perilune.cdf the host's Functions API, as the call's session may use it; made when first asked for
---@field event? perilune.cim.event when the function was called with an event of CIM Database Cloud
---@field metadata? perilune.cim.metadata likewise

---@class perilune.handler.request
---@field method string
---@field path string
---@field query table<string, string>
---@field headers table<string, string> names in lower case
---@field content_type? string
---@field body string as it came

---@class perilune.handler.call
---@field id integer
---@field function_id integer
---@field function_name string
---@field attempt integer
---@field deadline integer milliseconds since 1970
---@field schedule_id? integer of a schedule's call
---@field scheduled_time? integer when it was due, in milliseconds since 1970

---@class perilune.handler.response
---@field status? integer 200 to 599
---@field content_type? string
---@field headers? table<string, string>
---@field body? any a string is sent as it is, anything else as JSON

---@class perilune.handler.service: perilune.cim
---@field service_url string
---@field service_token string good while the call runs, and 10 s longer
