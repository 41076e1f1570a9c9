-- SPDX-License-Identifier: MIT
-- call, logs.
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local calls = {}

local function content_type_of(name)
    local kind = require("perilune.media").of_name(name) or "application/octet-stream"
    return kind:find "^text/" and kind .. "; charset=utf-8" or kind
end

local function json_of(value)
    return require("perilune").json.encode(value)
end

local function read_all(path)
    if path == "-" then
        return io.stdin:read("a")
    end
    local file <close>, message = io.open(path, "rb")
    local text
    if file then
        text, message = file:read("a")
        message = message and path .. ": " .. message
    end
    if not text then
        output.fail(session.exit.failed, "can't read %s", message)
    end
    return text
end

-- The text of --data, checked here so that a slip is shown with its line and column before anything is sent.
local function read_json(argument)
    local text, source = argument, "--data"
    if argument == "-" then
        text, source = read_all("-"), "standard input"
    elseif argument:sub(1, 1) == "@" then
        source = argument:sub(2)
        text = read_all(source)
    end
    local value, err = require("perilune").json.decode(text)
    if value == nil then
        output.fail(session.exit.usage, "%s is not JSON: %s", source, tostring(err.message or err))
    end
    return text
end

local function input_of(options)
    if options.input then
        return { body = read_json(options.input), content_type = "application/json" }
    elseif not options.body then
        return {}
    end
    local content_type = options.content_type or content_type_of(options.body)
    if options.body == "-" then
        local function next_piece()
            return io.stdin:read(65536)
        end
        return { body = next_piece, content_type = content_type }
    end
    local file, message = io.open(options.body, "rb")
    if not file then
        output.fail(session.exit.failed, "can't read %s", message)
    end
    file:close()
    return { file = options.body, content_type = content_type }
end

local function is_json(content_type)
    local kind = (content_type or ""):lower():match("^[^;%s]*")
    return kind == "application/json" or kind:find("+json", 1, true) ~= nil
end

local function base64(bytes)
    local alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    local out = bytes:gsub("..?.?", function(group)
        local a, b, c = group:byte(1, 3)
        local bits = a << 16 | (b or 0) << 8 | (c or 0)
        local text = ""
        for i = 0, #group do
            local six = bits >> (18 - 6 * i) & 63
            text = text .. alphabet:sub(six + 1, six + 1)
        end
        return text .. ("="):rep(3 - #group)
    end)
    return out
end

-- One JSON object: what was answered, and what the call took.
local function envelope(reply)
    local facts = { call_id = reply.call_id, status = reply.status, content_type = reply.content_type,
        duration_us = reply.duration_us, cpu_us = reply.cpu_us, memory_peak = reply.memory_peak }
    local head = json_of(facts)
    local tail
    if is_json(reply.content_type) then
        tail = '"result":' .. (reply.body ~= "" and reply.body or "null")
    elseif utf8.len(reply.body) then
        tail = '"text":' .. json_of(reply.body)
    else
        tail = '"base64":"' .. base64(reply.body) .. '"'
    end
    return head:sub(1, -2) .. (head == "{}" and "" or ",") .. tail .. "}"
end

local of_async = { "delay", "at", "attempts", "retry", "idempotency_key" }

-- What is asked of the call itself; the names of the API, in its units.
local function terms_of(options, input)
    for _, name in ipairs(of_async) do
        if options[name] and not options.no_wait then
            output.fail(session.exit.usage, "--%s is for durable calls; add --no-wait", (name:gsub("_", "-")))
        end
    end
    input.expires = options.expires and options.expires / 1000
    input.queue = options.queue
    input.delay = options.delay and options.delay / 1000
    input.at = options.at
    input.attempts = options.attempts
    input.retry = options.retry or nil
    input.idempotency_key = options.idempotency_key
    if next(input) and not (input.data or input.body or input.file) then
        input.data = {}
    end
end

local function call(options)
    if options.input and options.body then
        output.fail(session.exit.usage, "--data and --body exclude each other")
    end
    local input = input_of(options)
    input.timeout_ms = options.timeout
    terms_of(options, input)
    local host <close> = session.open(options)
    local fn = session.check(host.functions:get(options.name))
    if options.no_wait then
        local pending = session.check(fn:call_async(input))
        if options.json then
            output.json_text(json_of(pending))
        else
            output.print("%d", pending.id)
        end
        return
    end
    local value, reply = fn:call(input)
    if value == nil then
        session.fail(reply)
    end
    if options.json then
        output.json_text(envelope(reply))
    elseif is_json(reply.content_type) then
        output.json_text(reply.body)
    else
        output.write(reply.body)
    end
    output.flush()
    if reply.call_id and reply.duration_us then
        output.remark("call %d took %s", reply.call_id, units.duration_us(reply.duration_us))
    end
end

local function print_line(line)
    local message = output.clean(line.message)
    if output.is_terminal("stdout") then
        output.print("%s %-5s %s", units.clock(line.timestamp), line.level, message)
    else
        output.print("%s %s %s", units.iso(line.timestamp), line.level, message)
    end
end

local function logs(options)
    local host <close> = session.open(options)
    local found = session.check(host.calls:get(options.call))
    if options.follow then
        session.check(found:follow(function(line)
            if options.json then
                output.print("%s", json_of(line))
            else
                print_line(line)
            end
            output.flush()
        end))
        return
    end
    local lines = session.check(found:get_logs())
    if options.json then
        output.json_text(json_of(lines))
        return
    end
    for _, line in ipairs(lines) do
        print_line(line)
    end
end

local function parse_queue(text)
    local queue = text:match("^[1-9]$")
    if not queue then
        return nil, ("'%s' is not a queue from 1 to 9"):format(text)
    end
    return math.tointeger(tonumber(queue))
end

function calls.register(parser)
    local command = parser:command("call", "Call a function and print its answer.")
        :epilog("Examples:\n"
            .. "  perilune call report --data '{\"day\": \"2026-11-22\"}'\n"
            .. "  perilune call report --data @input.json\n"
            .. "  perilune call inventory --body /var/lib/dpkg/status\n"
            .. "  id=$(perilune call report --no-wait) && perilune logs \"$id\" --follow\n"
            .. "  perilune call report --no-wait --delay 1h --retry --attempts 5 --idempotency-key day-22\n\n"
            .. "The handler's failure is exit code 3. On this command --data is the input;\n"
            .. "the host's data folder is named before it: perilune --data DIR call NAME.")
    command:argument("name", "The function's name."):convert(units.parse_text)
    command:option("--data", "JSON for ctx.data; @FILE reads a file, - standard input.")
        :target("input"):argname "<json|@file|->"
    command:option("--body", "Raw bytes for ctx.request.body; - reads standard input."):argname "<file|->"
    command:option("--content-type", "Of --body; otherwise told from the file's name.")
    command:option("--timeout", "What this call may take, for example 30s."):convert(units.parse_duration)
    command:option("--expires", "It starts within that time, or never, for example 1m."):convert(units.parse_duration)
    command:option("--queue", "1 to 9: lower ones start first (default 5)."):convert(parse_queue):argname "<n>"
    command:flag("--no-wait", "Don't wait: print the id of a durable call. These are for such calls:")
    command:option("--delay", "Start it so much later, for example 10m."):convert(units.parse_duration)
    command:option("--at", "Start it at that local time, for example 2026-11-22T02:42."):convert(units.parse_time)
    command:option("--attempts", "How many in all (default the function's, for crashes)."):convert(units.parse_count)
        :argname "<n>"
    command:flag("--retry", "Try again also when the handler fails, after growing waits.")
    command:option("--idempotency-key", "One call for each key: again, and you get the first one."):argname "<key>"
        :convert(units.parse_text)
    command:action(function(options) options.run = call end)

    command = parser:command("logs", "Print what a call logged.")
        :epilog("Examples:\n  perilune logs 245678901234567\n  perilune logs 245678901234567 --follow\n\n"
            .. "With --json one array; with --follow --json one object a line.")
    command:argument("call", "The call's id."):convert(units.parse_call)
    command:flag("-f --follow", "Go on until the call ends.")
    command:action(function(options) options.run = logs end)
end

return calls
