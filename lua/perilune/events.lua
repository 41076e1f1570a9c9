-- SPDX-License-Identifier: MIT
-- Server-sent events (WHATWG HTML, section 9.2), as far as they carry data.

local events = {}

local LINE_MAX = 16 * 1024 * 1024

---@class perilune.event
---@field name string "message" unless the stream says otherwise
---@field data string
---@field id? string the last id that the stream gave

--- Returns a sink: it takes the stream in pieces of any size and calls fn with every whole event.
---@param fn fun(event: perilune.event)
---@return fun(chunk: string)
function events.parser(fn)
    local rest, name, data, id = "", nil, nil, nil

    local function line_read(line)
        if line == "" then
            if data then
                fn { name = name or "message", data = table.concat(data, "\n"), id = id }
            end
            name, data = nil, nil
            return
        end
        local field, value = line:match "^([^:]*):? ?(.*)$"
        if field == "event" then
            name = value
        elseif field == "data" then
            data = data or {}
            data[#data + 1] = value
        elseif field == "id" then
            id = value
        end
    end

    return function(chunk)
        local text = rest .. chunk
        local from = 1
        while true do
            local stop = text:find("[\r\n]", from)
            if not stop or (stop == #text and text:byte(stop) == 13) then
                break -- a CR at the end may be half of a CRLF
            end
            line_read(text:sub(from, stop - 1))
            from = stop + (text:sub(stop, stop + 1) == "\r\n" and 2 or 1)
        end
        rest = text:sub(from)
        if #rest > LINE_MAX then
            error("the event stream has a line without end", 0)
        end
    end
end

return events
