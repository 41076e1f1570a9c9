-- SPDX-License-Identifier: MIT
-- A scripted HTTP/1.1 server for the Lua tests, a program of its own: lua5.4 httpd.lua SCRIPT
-- SCRIPT returns a list of steps: {method, path, status, headers = "K: V\r\n", reply, times, delay_ms, drop, cut,
-- pieces = {text...}}; $B in a reply is the server's URL. Each request is answered by the first unused step that
-- matches, else with status 599.
-- Prints its port; when its standard input ends, prints what it was asked as a Lua table and goes.
local uv = require "luv"

local steps = dofile(assert(arg[1], "usage: httpd.lua SCRIPT"))
local requests = {}
local connections = 0
local server = uv.new_tcp()

local function find_step(request)
    for _, step in ipairs(steps) do
        if (step.times or 1) > 0 and (not step.method or step.method == request.method)
            and (not step.path or step.path == request.path) then
            step.times = (step.times or 1) - 1
            return step
        end
    end
    return { missing = true, status = 599, reply = ("no step for %s %s"):format(request.method, request.path) }
end

local function after(delay_ms, fn)
    if delay_ms <= 0 then
        return fn()
    end
    local timer = uv.new_timer()
    timer:start(delay_ms, 0, function()
        timer:close()
        fn()
    end)
end

local function close(client)
    if not client:is_closing() then
        client:close()
    end
end

local function answer_in_pieces(client, step, head, i)
    if client:is_closing() then
        return
    elseif i > #step.pieces then
        client:write "0\r\n\r\n"
        return
    end
    local piece = step.pieces[i]
    client:write(head .. ("%x\r\n%s\r\n"):format(#piece, piece))
    after(step.piece_delay_ms or 1, function() answer_in_pieces(client, step, "", i + 1) end)
end

local function answer(client, request)
    local step = find_step(request)
    request.matched = not step.missing
    after(step.delay_ms or 0, function()
        if client:is_closing() then
            return
        elseif step.drop then
            return close(client)
        end
        local reply = (step.reply or ""):gsub("%$B", "http://127.0.0.1:" .. server:getsockname().port)
        local head = ("HTTP/1.1 %d Status\r\n%s"):format(step.status or 200, step.headers or "")
        if step.pieces then
            return answer_in_pieces(client, step, head .. "Transfer-Encoding: chunked\r\n\r\n", 1)
        end
        head = ("%sContent-Length: %d\r\n\r\n"):format(head, #reply)
        if step.cut then
            client:write(head .. reply:sub(1, #reply // 2), function() close(client) end)
        else
            client:write(head .. reply)
        end
    end)
end

--- The body of a chunked request and what follows it; nil while it is incomplete.
local function dechunk(text)
    local parts, at = {}, 1
    while true do
        local size, from = text:match("^(%x+)[^\r\n]*\r\n()", at)
        if not size then
            return nil
        end
        local length = tonumber(size, 16)
        if #text < from + length + 1 then
            return nil
        elseif length == 0 then
            return table.concat(parts), text:sub(from + 2)
        end
        parts[#parts + 1] = text:sub(from, from + length - 1)
        at = from + length + 2
    end
end

--- Takes the first whole request off the buffer.
local function take_request(text, connection)
    local head, at = text:match "^(.-\r\n)\r\n()"
    if not head then
        return nil, text
    end
    local method, path = head:match "^(%S+) (%S+)"
    local request = { method = method, path = path, headers = {}, connection = connection }
    for name, value in head:gmatch "\r\n([^:\r\n]+):%s*([^\r\n]*)" do
        request.headers[name:lower()] = value
    end
    local rest
    if request.headers["transfer-encoding"] == "chunked" then
        request.body, rest = dechunk(text:sub(at))
        if not request.body then
            return nil, text
        end
    else
        local length = tonumber(request.headers["content-length"] or "0")
        if #text < at + length - 1 then
            return nil, text
        end
        request.body, rest = text:sub(at, at + length - 1), text:sub(at + length)
    end
    return request, rest
end

assert(server:bind("127.0.0.1", 0))
assert(server:listen(128, function()
    local client = uv.new_tcp()
    server:accept(client)
    connections = connections + 1
    local connection, text = connections, ""
    client:read_start(function(err, chunk)
        if err or not chunk then
            return close(client)
        end
        text = text .. chunk
        while true do
            local request
            request, text = take_request(text, connection)
            if not request then
                break
            end
            requests[#requests + 1] = request
            answer(client, request)
        end
    end)
end))

local function quote(value)
    if type(value) ~= "table" then
        return ("%q"):format(value)
    end
    local parts = {}
    for key, item in pairs(value) do
        parts[#parts + 1] = ("[%s]=%s"):format(quote(key), quote(item))
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

local stdin = uv.new_pipe(false)
stdin:open(0)
stdin:read_start(function(err, chunk)
    if err or not chunk then
        local unused = 0
        for _, step in ipairs(steps) do
            unused = unused + ((step.times or 1) > 0 and 1 or 0)
        end
        io.stdout:write("return ", quote { requests = requests, unused = unused }, "\n")
        io.stdout:flush()
        os.exit(0)
    end
end)

io.stdout:write(server:getsockname().port, "\n")
io.stdout:flush()
uv.run()
