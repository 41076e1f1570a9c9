-- SPDX-License-Identifier: MIT
-- schedule create, list, show, next, pause, resume, delete.
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local schedules = {}

local function json_of(value)
    return require("perilune").json.encode(value)
end

local function parse_count(text)
    local count = math.tointeger(tonumber(text))
    if not count or count < 1 or count > 1000 then
        return nil, ("'%s' is not a number from 1 to 1000"):format(text)
    end
    return count
end

local function read_data(text)
    if not text then
        return nil
    end
    local value, err = require("perilune").json.decode(text)
    if value == nil then
        output.fail(session.exit.usage, "--data is not JSON: %s", tostring(err.message or err))
    end
    return value
end

local function tell(schedule, options)
    if options.json then
        output.json_text(json_of(schedule))
        return
    end
    output.facts {
        { "schedule", schedule.name },
        { "id", schedule.id },
        { "description", schedule.description },
        { "function", schedule["function"] },
        { "cron", schedule.cron },
        { "when", schedule.when },
        { "time zone", schedule.timezone },
        { "missed", schedule.missed },
        { "overlap", schedule.overlap },
        { "data", schedule.data ~= nil and json_of(schedule.data) or nil },
        { "paused", schedule.paused and "yes" or nil },
        { "last call", schedule.last_at and units.time(schedule.last_at) or "never" },
        { "next", schedule.next_at and units.time(schedule.next_at) },
    }
end

local function create(options)
    local host <close> = session.open(options)
    tell(session.check(host.schedules:put {
        name = options.name,
        fn = options.fn,
        cron = options.cron,
        timezone = options.timezone,
        data = read_data(options.input),
        description = options.description,
        missed = options.missed,
        overlap = options.overlap,
        paused = options.paused or nil,
        create = options.create or nil,
    }), options)
end

local function list(options)
    local host <close> = session.open(options)
    local items = {}
    for schedule in host.schedules:each { fn = options.fn } do
        items[#items + 1] = schedule
    end
    if options.json then
        output.json_text(json_of(require("perilune").array(items)))
        return
    end
    if #items == 0 then
        output.remark("there is no schedule; 'perilune schedule create NAME FUNCTION CRON' makes one")
        return
    end
    local rows = {}
    for i, s in ipairs(items) do
        rows[i] = { s.name, s["function"], s.cron, s.timezone, s.when, s.last_at and units.time(s.last_at) or "never",
            s.paused and "paused" or s.next_at and units.time(s.next_at) or "never" }
    end
    output.table({ { "NAME", shrink = true }, { "FUNCTION", shrink = true }, { "CRON" }, { "ZONE" },
        { "WHEN", shrink = true }, { "LAST CALL" }, { "NEXT" } }, rows)
end

local function show(options)
    local host <close> = session.open(options)
    local schedule = session.check(host.schedules:get(options.name))
    local ticks = session.check(host.schedules:ticks(options.name, { limit = 10 }))
    tell(schedule, options)
    if options.json or #ticks == 0 then
        return
    end
    output.print("")
    local rows = {}
    for i, tick in ipairs(ticks) do
        rows[i] = { units.time(tick.scheduled_at), tick.outcome, tick.call_id or "", tick.reason or "" }
    end
    output.table({ { "TICK" }, { "OUTCOME" }, { "CALL" }, { "REASON", shrink = true } }, rows)
end

local function next_times(options)
    local host <close> = session.open(options)
    local times = session.check(host.schedules:next(options.name, { n = options.n }))
    if options.json then
        output.json_text(json_of(require("perilune").array(times)))
        return
    end
    for _, at in ipairs(times) do
        output.print("%s", units.time(at))
    end
end

local function change(verb)
    return function(options)
        local host <close> = session.open(options)
        tell(session.check(host.schedules[verb](host.schedules, options.name)), options)
    end
end

local function delete(options)
    local host <close> = session.open(options)
    session.check(host.schedules:delete(options.name))
    if options.json then
        output.json_text(json_of { deleted = options.name })
    else
        output.print("deleted %s", options.name)
    end
end

local function add(group, name, help, run)
    local command = group:command(name, help)
    command:argument("name", "The schedule's name."):convert(units.parse_text)
    command:action(function(options) options.run = run end)
    return command
end

-- Adds the commands to the parser; each one's action gets the options.
function schedules.register(parser)
    local group = parser:command("schedule", "Call functions at the times of a cron expression.")
        :epilog("Examples:\n  perilune schedule create nightly report '0 3 * * *' --zone Europe/Berlin\n"
            .. "  perilune schedule next nightly -n 5")
    group:command_target("schedule_command")
    group:require_command(true)

    local command = add(group, "create", "Create a schedule, or change it.", create)
    command:argument("fn", "The function's name."):argname "<function>":convert(units.parse_text)
    command:argument("cron", "minute hour day month weekday, perhaps with seconds first; or @daily, @hourly ...")
    command:option("--zone", "Time zone, for example Europe/Berlin (default UTC)."):target "timezone"
    command:option("--data", "The input of each call, as JSON."):target "input":argname "<json>"
    command:option("--missed", "Ticks missed while the host was down."):choices { "skip", "once", "all" }
    command:option("--overlap", "A tick while an earlier call has not ended."):choices { "allow", "skip", "queue" }
    command:option("--description", "One line about it.")
    command:flag("--paused", "It waits for 'schedule resume'.")
    command:flag("--create", "Fail when the name is taken, instead of changing that schedule.")

    command = group:command("list", "List the schedules, newest first.")
    command:option("--function", "Only those of this function."):target "fn"
    command:action(function(options) options.run = list end)

    add(group, "show", "Show a schedule with its latest ticks.", show)
    command = add(group, "next", "When it is due next.", next_times)
    command:option("-n", "How many times (default 10)."):convert(parse_count):argname "<n>"
    add(group, "pause", "Pause it.", change "pause")
    add(group, "resume", "Let it go on, from now.", change "resume")
    add(group, "delete", "Delete it; calls that were made go on.", delete)
end

return schedules
