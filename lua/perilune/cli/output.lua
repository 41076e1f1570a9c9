-- SPDX-License-Identifier: MIT
-- What the command writes: tables, JSON, one sentence for an error.
local core = require "perilune.core"

local output = {}

local terminal = { stdout = core.isatty(1), stderr = core.isatty(2), columns = core.terminal_width(1) or 80 }

function output.is_terminal(stream)
    return terminal[stream]
end

-- Raised by everything here that fails, and by commands; perilune.cli turns it into the exit code.
-- {exit = code, message = sentence}
function output.fail(exit, format, ...)
    error({ exit = exit, message = select("#", ...) > 0 and format:format(...) or format }, 0)
end

local function check(ok, message, code)
    if ok then
        return
    end
    if code == 32 then -- EPIPE: the reader has what it wanted
        error({ exit = 141 }, 0)
    end
    output.fail(1, "can't write the output: %s", message)
end

function output.write(...)
    check(io.stdout:write(...))
end

function output.print(format, ...)
    check(io.stdout:write(select("#", ...) > 0 and format:format(...) or format, "\n"))
end

function output.flush()
    check(io.stdout:flush())
end

-- A remark for the person at the keyboard: on stderr, and only when that is a terminal.
function output.remark(format, ...)
    if terminal.stderr then
        io.stderr:write(format:format(...), "\n")
    end
end

-- Text of others, made harmless for a terminal: control characters would move the cursor or change its state.
function output.clean(text)
    if not terminal.stdout then
        return text
    end
    return (text:gsub("[\0-\8\11-\31\127]", function(c)
        return ("\\x%02x"):format(c:byte())
    end):gsub("\xc2[\x80-\x9f]", "?"))
end

-- Lays compact JSON text out over lines. Works on the text: numbers and the order of keys stay as they are.
function output.indent(json)
    local out, depth, position = {}, 0, 1
    local function line()
        out[#out + 1] = "\n" .. ("  "):rep(depth)
    end
    while true do
        position = json:find("%S", position)
        if not position then
            break
        end
        local c = json:sub(position, position)
        local stop = position
        if c == '"' then
            stop = position + 1
            while true do
                stop = json:find('["\\]', stop)
                if not stop or json:sub(stop, stop) == '"' then
                    break
                end
                stop = stop + 2
            end
            stop = stop or #json
            out[#out + 1] = json:sub(position, stop)
        elseif c == "{" or c == "[" then
            local close = json:match("^%s*([%]}])", position + 1)
            if close then
                out[#out + 1] = c .. close
                stop = json:find(close, position + 1, true)
            else
                out[#out + 1] = c
                depth = depth + 1
                line()
            end
        elseif c == "}" or c == "]" then
            depth = depth - 1
            line()
            out[#out + 1] = c
        elseif c == "," then
            out[#out + 1] = c
            line()
        elseif c == ":" then
            out[#out + 1] = ": "
        else
            stop = json:find("[%s,:%]}]", position) or #json + 1
            stop = stop - 1
            out[#out + 1] = json:sub(position, stop)
        end
        position = stop + 1
    end
    return table.concat(out)
end

-- JSON text: laid out on a terminal, as it is otherwise.
function output.json_text(json)
    output.write(terminal.stdout and output.clean(output.indent(json)) or json, "\n")
end

local function width_of(text)
    return utf8.len(text) or #text
end

local function cut(text, width)
    if width_of(text) <= width then
        return text
    end
    local stop = utf8.len(text) and utf8.offset(text, width) or width
    return text:sub(1, stop - 1) .. "…"
end

-- Takes columns away from the widest column that may shrink, until the line fits.
local function fit(columns, widths, limit)
    local total = 2 * (#columns - 1)
    for _, width in ipairs(widths) do
        total = total + width
    end
    while total > limit do
        local widest
        for i, column in ipairs(columns) do
            local least = math.max(width_of(column.title), 8)
            if column.shrink and widths[i] > least and (not widest or widths[i] > widths[widest]) then
                widest = i
            end
        end
        if not widest then
            return
        end
        widths[widest] = widths[widest] - 1
        total = total - 1
    end
end

-- columns: {title, right = align to the right, shrink = may be cut on a narrow terminal}; rows: lists of strings.
-- On a terminal lines fit its width; in a pipe nothing is ever cut.
function output.table(columns, rows)
    local widths = {}
    for i, column in ipairs(columns) do
        column.title = column.title or column[1]
        widths[i] = width_of(column.title)
    end
    for _, row in ipairs(rows) do
        for i = 1, #columns do
            row[i] = output.clean(tostring(row[i]))
            widths[i] = math.max(widths[i], width_of(row[i]))
        end
    end
    if terminal.stdout then
        fit(columns, widths, terminal.columns)
    end
    local function put(row)
        local cells = {}
        for i, column in ipairs(columns) do
            local text = terminal.stdout and cut(row[i], widths[i]) or row[i]
            local blanks = (" "):rep(widths[i] - width_of(text))
            cells[i] = column.right and blanks .. text or text .. blanks
        end
        output.print("%s", (table.concat(cells, "  "):gsub(" +$", "")))
    end
    local titles = {}
    for i, column in ipairs(columns) do
        titles[i] = column.title
    end
    put(titles)
    for _, row in ipairs(rows) do
        put(row)
    end
end

-- Pairs {name, value}, names aligned; pairs without a value are left out.
function output.facts(pairs_)
    local widest = 0
    for _, pair in ipairs(pairs_) do
        widest = math.max(widest, #pair[1])
    end
    for _, pair in ipairs(pairs_) do
        if pair[2] ~= nil then
            local indented = output.clean(tostring(pair[2])):gsub("\n", "\n" .. (" "):rep(widest + 2))
            output.print("%s%s%s", pair[1], (" "):rep(widest + 2 - #pair[1]), indented)
        end
    end
end

return output
