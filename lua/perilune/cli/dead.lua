-- SPDX-License-Identifier: MIT
-- dead list, show, requeue, delete: calls that were given up after their attempts.
local functions = require "perilune.cli.functions"
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local dead = {}

local function json_of(value)
    return require("perilune").json.encode(value)
end

local function list(options)
    local host <close> = session.open(options)
    local items, rows = {}, {}
    for call in host.dead:each { limit = options.limit } do
        items[#items + 1] = call
        rows[#rows + 1] = { call.id, call["function"], call.status, call.attempt, units.time(call.ended_at),
            call.error and call.error.message or "" }
    end
    if options.json then
        output.json_text(json_of(require("perilune").array(items)))
    elseif #items == 0 then
        output.remark("no call was given up")
    else
        output.table({ { "CALL" }, { "FUNCTION", shrink = true }, { "STATUS" }, { "ATTEMPTS", right = true },
            { "ENDED" }, { "ERROR", shrink = true } }, rows)
    end
end

local function show(options)
    local host <close> = session.open(options)
    local call = session.check(host.calls:get(options.call))
    if not call.dead then
        output.fail(session.exit.not_found, "call %d is not among the dead ones: it is %s", call.id, call.status)
    end
    functions.show_call(call, options)
end

-- Does the same to each of the given calls, or to all that are dead.
local function change(options, verb, done)
    local host <close> = session.open(options)
    local ids = options.calls or {}
    if options.all == (#ids > 0) then
        output.fail(session.exit.usage, "name the calls, or give --all")
    end
    if options.all then
        for call in host.dead:each() do
            ids[#ids + 1] = call.id
        end
    end
    for _, id in ipairs(ids) do
        session.check(host.dead[verb](host.dead, id))
        if not options.json then
            output.print("%s %d", done, id)
        end
    end
    if options.json then
        output.json_text(json_of { [done] = require("perilune").array(ids) })
    end
end

local function register_change(group, name, summary, done)
    local command = group:command(name, summary)
        :epilog(("Examples:\n  perilune dead %s 245678901234567\n  perilune dead %s --all"):format(name, name))
    command:argument("calls", "Ids of calls."):args("*"):convert(units.parse_call)
    command:flag("--all", "All that are dead."):init(false)
    command:action(function(options)
        options.run = function() return change(options, name, done) end
    end)
end

function dead.register(parser)
    local group = parser:command("dead", "Calls that were given up after their attempts.")
        :epilog("Examples:\n  perilune dead list\n  perilune dead requeue 245678901234567")
    group:command_target("dead_command")
    group:require_command(true)

    local command = group:command("list", "List them, newest first.")
        :epilog("Examples:\n  perilune dead list\n  perilune dead list --limit 20 --json")
    command:option("--limit", "How many at most."):convert(units.parse_count)
    command:action(function(options) options.run = list end)

    command = group:command("show", "Show one of them.")
        :epilog("Examples:\n  perilune dead show 245678901234567")
    command:argument("call", "The call's id."):convert(units.parse_call)
    command:action(function(options) options.run = show end)

    register_change(group, "requeue", "Put calls back into the queue, with all their attempts.", "requeued")
    register_change(group, "delete", "Take calls off the list; their records stay.", "deleted")
end

return dead
