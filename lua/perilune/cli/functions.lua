-- SPDX-License-Identifier: MIT
-- deploy, list, show, delete.
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local functions = {}

local function json_of(value)
    return require("perilune").json.encode(value)
end

local function parse_env(text)
    local key, value = text:match("^([%a_][%w_]*)=(.*)$")
    if not key then
        return nil, ("'%s' is not of the form NAME=VALUE"):format(text)
    end
    return { key, value }
end

local function limits_of(fn)
    return ("%s, %s"):format(fn.timeout_ms and units.duration_ms(fn.timeout_ms) or "-",
        fn.memory_limit and units.size(fn.memory_limit) or "-")
end

local function deploy(options)
    local name = options.name
    if not name then
        name = options.folder:gsub("/+$", ""):match("([^/]+)$")
        if not name or name == "." or name == ".." then
            output.fail(session.exit.usage, "'%s' gives the function no name; add --name NAME", options.folder)
        end
    end
    local env
    for _, pair in ipairs(options.env or {}) do
        env = env or {}
        env[pair[1]] = pair[2]
    end
    local host <close> = session.open(options)
    local fn = session.check(host.functions:deploy {
        name = name,
        folder = options.folder,
        entry = options.entry,
        timeout_ms = options.timeout,
        memory = options.memory,
        concurrency = options.concurrency,
        attempts = options.attempts,
        env = env,
        description = options.description,
        create = options.create or nil,
    })
    if options.json then
        output.json_text(json_of(fn))
        return
    end
    output.facts {
        { "function", fn.name },
        { "version", fn.version },
        { "code", fn.code_hash },
        { "size", units.size(fn.code_size) },
        { "limits", limits_of(fn) },
        { "deployed", units.time(fn.updated_at) },
    }
end

local function list(options)
    local host <close> = session.open(options)
    local items = {}
    for fn in host.functions:each { prefix = options.prefix } do
        items[#items + 1] = fn
        if options.limit and #items == options.limit then
            break
        end
    end
    if options.json then
        output.json_text(json_of(require("perilune").array(items)))
        return
    end
    if #items == 0 then
        output.remark("no function is deployed; 'perilune deploy DIR' deploys one")
        return
    end
    local rows = {}
    for i, fn in ipairs(items) do
        rows[i] = { fn.name, fn.status, fn.version, units.size(fn.code_size), units.time(fn.updated_at),
            fn.last_called_at and units.time(fn.last_called_at) or "never", fn.description or "" }
    end
    output.table({ { "NAME", shrink = true }, { "STATUS" }, { "VERSION", right = true }, { "SIZE", right = true },
        { "DEPLOYED" }, { "LAST CALL" }, { "DESCRIPTION", shrink = true } }, rows)
end

local function show_function(host, fn, options)
    local calls = session.check(host.calls:list { name = options.name, limit = 10 })
    if options.json then
        output.json_text(json_of(fn))
        return
    end
    output.facts {
        { "function", fn.name },
        { "id", fn.id },
        { "description", fn.description },
        { "status", fn.status },
        { "version", fn.version },
        { "entry", fn.entry },
        { "code", fn.code_hash },
        { "size", fn.code_size and units.size(fn.code_size) },
        { "limits", limits_of(fn) },
        { "at a time", fn.concurrency },
        { "attempts", fn.attempts },
        { "created", units.time(fn.created_at) },
        { "deployed", units.time(fn.updated_at) },
        { "last call", fn.last_called_at and units.time(fn.last_called_at) or "never" },
        { "error", fn.error and fn.error.message },
        { "trace", fn.error and fn.error.trace },
    }
    if #calls == 0 then
        return
    end
    output.print("")
    local rows = {}
    for i, call in ipairs(calls) do
        rows[i] = { call.id, call.status, units.time(call.created_at),
            call.duration_ms and units.duration_ms(call.duration_ms) or "", call.error and call.error.message or "" }
    end
    output.table({ { "CALL" }, { "STATUS" }, { "CREATED" }, { "TOOK", right = true }, { "ERROR", shrink = true } },
        rows)
end

function functions.show_call(call, options)
    if options.json then
        output.json_text(json_of(call))
        return
    end
    local err = call.error
    output.facts {
        { "call", call.id },
        { "function", call["function"] or call.function_id },
        { "version", call.version },
        { "status", call.status },
        { "kind", call.async and "asynchronous" or "synchronous" },
        { "attempt", call.attempts and ("%d of %d"):format(call.attempt, call.attempts) or call.attempt },
        { "dead", call.dead and "given up; 'perilune dead requeue' tries again" or nil },
        { "key", call.idempotency_key },
        { "queue", call.queue },
        { "not before", call.start_at and units.time(call.start_at) },
        { "expires", call.expires_at and units.time(call.expires_at) },
        { "created", units.time(call.created_at) },
        { "started", call.started_at and units.time(call.started_at) },
        { "ended", call.ended_at and units.time(call.ended_at) },
        { "took", call.duration_ms and units.duration_ms(call.duration_ms) },
        { "cpu", call.cpu_us and units.duration_us(call.cpu_us) },
        { "memory", call.memory_peak and units.size(call.memory_peak) },
        { "error", err and err.message },
        { "trace", err and err.trace },
    }
end

-- A name of digits only is a call's id; a function without a name is known by its number, which is tried after.
local function show(options)
    local host <close> = session.open(options)
    local number = math.tointeger(tonumber(options.name:match("^%d+$")))
    if number then
        local call, err = host.calls:get(number)
        if call then
            return functions.show_call(call, options)
        elseif err.code ~= "not_found" then
            session.fail(err)
        end
    end
    local fn, err = host.functions:get(options.name)
    if not fn then
        if number and err.code == "not_found" then
            output.fail(session.exit.not_found, "there is no call and no function %s", options.name)
        end
        session.fail(err)
    end
    show_function(host, fn, options)
end

local function delete(options)
    local host <close> = session.open(options)
    for _, name in ipairs(options.names) do
        session.check(host.functions:delete(name))
        if not options.json then
            output.print("deleted %s", name)
        end
    end
    if options.json then
        output.json_text(json_of { deleted = require("perilune").array(options.names) })
    end
end

-- Adds the commands to the parser; each one's action gets the options.
function functions.register(parser)
    local command = parser:command("deploy", "Deploy a folder with a handler.lua as a function.")
        :epilog("Examples:\n  perilune deploy reports/daily\n"
            .. "  perilune deploy . --name daily --timeout 30s --memory 64M --env REGION=north")
    command:argument("folder", "The folder; its base name is the function's name."):convert(units.parse_text)
    command:option("--name", "The function's name, if it is not the folder's."):convert(units.parse_text)
    command:option("--entry", "The file with the handler (default handler.lua)."):convert(units.parse_text)
    command:option("--timeout", "What a call may take, for example 30s."):convert(units.parse_duration)
    command:option("--memory", "What a call may hold, for example 256M."):convert(units.parse_size)
    command:option("--concurrency", "How many calls of it may run at a time (default any number)."):argname "<n>"
        :convert(units.parse_count)
    command:option("--attempts", "Of a durable call that crashes interrupt (default 3)."):argname "<n>"
        :convert(units.parse_count)
    command:option("--env", "NAME=VALUE, seen by the handler's os.getenv; may be repeated.")
        :count("*"):convert(parse_env):argname "<name=value>"
    command:option("--description", "One line about it.")
    command:flag("--create", "Fail when the name is taken, instead of making a new version.")
    command:action(function(options) options.run = deploy end)

    command = parser:command("list", "List the functions, newest first.")
        :epilog("Examples:\n  perilune list\n  perilune list --prefix report- --json")
    command:option("--prefix", "Only names that begin so.")
    command:option("--limit", "How many at most."):convert(function(text)
        local count = math.tointeger(tonumber(text))
        if not count or count < 1 then
            return nil, ("'%s' is not a number from 1 on"):format(text)
        end
        return count
    end)
    command:action(function(options) options.run = list end)

    command = parser:command("show", "Show a function with its latest calls, or one call.")
        :epilog("Examples:\n  perilune show daily\n  perilune show 245678901234567")
    command:argument("name", "A function's name, or a call's id."):convert(units.parse_text)
    command:action(function(options) options.run = show end)

    command = parser:command("delete", "Delete functions with their versions and call records.")
        :epilog("Examples:\n  perilune delete daily\n  perilune delete daily weekly")
    command:argument("names", "Names of functions."):args("+"):convert(units.parse_text)
    command:action(function(options) options.run = delete end)
end

return functions
