-- SPDX-License-Identifier: MIT
-- The lines that a call logged.

---@class perilune.log_line
---@field timestamp? integer milliseconds since 1970, UTC
---@field level? string host: "debug", "info", "warn" or "error"
---@field message string

---@class perilune.log : perilune.log_line[]
local Log = {}
Log.__index = Log
Log.__name = "perilune.log"
Log.__array = true -- an empty one is [] as JSON

---@param lines perilune.log_line[]
---@return perilune.log
function Log.new(lines)
    return setmetatable(lines, Log)
end

local function stamp(ms)
    local text = os.date("!%Y-%m-%d %H:%M:%S", ms // 1000)
    local fraction = ms % 1000
    if fraction ~= 0 then
        text = ("%s.%03d000"):format(text, fraction)
    end
    return text .. "+00:00"
end

--- The log as one text.
---@param options? {with_timestamps: boolean?}
---@return string
function Log:to_text(options)
    local lines = {}
    for i, line in ipairs(self) do
        if options and options.with_timestamps and line.timestamp then
            lines[i] = ("[%s] %s"):format(stamp(line.timestamp), line.message)
        else
            lines[i] = line.message
        end
    end
    return table.concat(lines, "\n")
end

Log.__tostring = Log.to_text

return Log
