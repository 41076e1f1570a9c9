-- SPDX-License-Identifier: MIT
-- host.
local core = require "perilune.core"
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local host = {}

local in_seconds = { ["--timeout"] = true, ["--watchdog"] = true, ["--grace"] = true }

-- The gateway counts in seconds; people may write 10m. What isn't a duration is left for the gateway to refuse.
local function seconds(value)
    local ms = units.parse_duration(value)
    if not ms or ms % 1000 ~= 0 then
        return value
    end
    return tostring(ms // 1000)
end

-- The gateway program takes this process over: it owns the signals, the terminal and the exit code.
local function start(options)
    local arguments = {}
    if options.url then
        output.fail(session.exit.usage, "'perilune host' takes --host and --port; --url is for the other commands")
    end
    for _, name in ipairs { "data_dir", "token" } do
        if options[name] then
            arguments[#arguments + 1] = name == "token" and "--token" or "--data"
            arguments[#arguments + 1] = options[name]
        end
    end
    if options.json then
        arguments[#arguments + 1] = "--json"
    end
    local name
    for _, argument in ipairs(options.arguments) do
        local option, value = argument:match("^(%-%-%a+)=(.*)$")
        if in_seconds[option] then
            argument = option .. "=" .. seconds(value)
        elseif in_seconds[name] then
            argument = seconds(argument)
        end
        name = argument
        arguments[#arguments + 1] = argument
    end
    output.flush()
    local gateway = core.self_dir() .. "/../libexec/perilune/perilune-gateway"
    local _, err = core.exec(gateway, arguments)
    session.fail(err)
end

function host.register(parser)
    local command = parser:command("host", "Start a host on this machine (perilune host --help lists its options).")
    command:handle_options(false)
    command:argument("arguments", "Options of the host."):args("*")
    command:action(function(options) options.run = start end)
end

return host
