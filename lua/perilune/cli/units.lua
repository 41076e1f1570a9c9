-- SPDX-License-Identifier: MIT
-- Sizes, durations and times, as people write and read them.
local units = {}

local size_factor = { [""] = 1, K = 1 << 10, M = 1 << 20, G = 1 << 30, T = 1 << 40 }
local duration_ms = { ms = 1, [""] = 1000, s = 1000, m = 60000, h = 3600000, d = 86400000 }

-- Whole units only up to what an integer of JSON holds everywhere.
local function scaled(number, factor)
    local value = tonumber(number)
    value = value and (value + 0.0) * factor
    if not value or value > 2 ^ 53 then
        return nil
    end
    return math.tointeger(math.floor(value + 0.5))
end

-- "64K", "256M", "1.5G", "1048576", also "256MiB": bytes. Else nil and a sentence.
function units.parse_size(text)
    local number, unit = text:match("^(%d+%.?%d*) ?(%a*)$")
    unit = unit and unit:upper():gsub("IB$", ""):gsub("B$", "")
    local bytes = number and size_factor[unit] and scaled(number, size_factor[unit])
    if not bytes or bytes == 0 then
        return nil, ("'%s' is not a size; write for example 64K, 256M or 1G"):format(text)
    end
    return bytes
end

-- "500ms", "30s", "10m", "1.5h", "30" (seconds): milliseconds. Else nil and a sentence.
function units.parse_duration(text)
    local number, unit = text:match("^(%d+%.?%d*) ?(%a*)$")
    local ms = number and duration_ms[unit] and scaled(number, duration_ms[unit])
    if not ms or ms == 0 then
        return nil, ("'%s' is not a duration; write for example 500ms, 30s, 10m or 1h"):format(text)
    end
    return ms
end

-- A call's id. Else nil and a sentence.
function units.parse_call(text)
    local id = math.tointeger(tonumber(text:match("^%d+$")))
    if not id or id < 1 then
        return nil, ("'%s' is not the id of a call (a whole number)"):format(text)
    end
    return id
end

-- "3": 3. Else nil and a sentence.
function units.parse_count(text)
    local count = math.tointeger(tonumber(text:match("^%d+$")))
    if not count or count < 1 then
        return nil, ("'%s' is not a number from 1 on"):format(text)
    end
    return count
end

-- "2026-11-22T02:42", "2026-11-22 02:42:47", local time: wall milliseconds. Else nil and a sentence.
function units.parse_time(text)
    local year, month, day, hour, minute, rest = text:match("^(%d%d%d%d)-(%d%d)-(%d%d)[T ](%d%d):(%d%d)(.*)$")
    local second = rest == "" and "0" or rest and rest:match("^:(%d%d)$")
    local given = second and { year = year, month = month, day = day, hour = hour, min = minute, sec = second }
    local seconds = given and os.time(given)
    if not seconds or os.date("%Y-%m-%d", seconds) ~= ("%s-%s-%s"):format(year, month, day) then
        return nil, ("'%s' is not a time; write for example 2026-11-22T02:42"):format(text)
    end
    return seconds * 1000
end

-- For names and the like: an empty one is the mark of an unset variable in a script.
function units.parse_text(text)
    if text == "" then
        return nil, "an argument is empty"
    end
    return text
end

-- 1536 -> "1.5 KiB"
function units.size(bytes)
    if bytes < 1024 then
        return ("%d B"):format(bytes)
    end
    local value = bytes
    for _, name in ipairs { "KiB", "MiB", "GiB", "TiB" } do
        value = value / 1024
        if value < 1023.95 or name == "TiB" then
            local text = (value < 9.95 and "%.1f" or "%.0f"):format(value):gsub("%.0$", "")
            return text .. " " .. name
        end
    end
end

-- 850 microseconds -> "0.85 ms", 90 seconds -> "1 m 30 s". Takes microseconds.
function units.duration_us(us)
    if us < 1000 then
        return ("%.2f ms"):format(us / 1000)
    elseif us < 100000 then
        return ("%.1f ms"):format(us / 1000)
    elseif us < 1000000 then
        return ("%.0f ms"):format(us / 1000)
    elseif us < 60000000 then
        return ("%.2f s"):format(us / 1000000)
    end
    local seconds = us // 1000000
    local parts = {}
    for _, unit in ipairs { { 86400, "d" }, { 3600, "h" }, { 60, "m" }, { 1, "s" } } do
        local count = seconds // unit[1]
        seconds = seconds % unit[1]
        if count > 0 then
            parts[#parts + 1] = ("%d %s"):format(count, unit[2])
        end
    end
    return table.concat(parts, " ", 1, math.min(#parts, 2))
end

function units.duration_ms(ms)
    return units.duration_us(ms * 1000)
end

-- Wall milliseconds -> "2026-11-22 02:42:47", local time.
function units.time(ms)
    return os.date("%Y-%m-%d %H:%M:%S", ms // 1000)
end

-- Wall milliseconds -> "02:42:47.123", local time.
function units.clock(ms)
    return ("%s.%03d"):format(os.date("%H:%M:%S", ms // 1000), ms % 1000)
end

-- Wall milliseconds -> "2026-11-22T02:42:47.123Z".
function units.iso(ms)
    return ("%s.%03dZ"):format(os.date("!%Y-%m-%dT%H:%M:%S", ms // 1000), ms % 1000)
end

return units
