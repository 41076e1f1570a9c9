-- SPDX-License-Identifier: MIT
-- The command `perilune`: grammar, dispatch, and how it ends.
local argparse = require "argparse"
local errors = require "perilune.error"
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"

local cli = {}

local groups = { "host", "functions", "calls", "dead", "schedules", "access", "cim", "version" }

local epilog = [[
Which host: --url with --token (or PERILUNE_URL, PERILUNE_TOKEN), else the credentials that a host
on this machine left in its data folder (--data, PERILUNE_DATA, or ~/.local/share/perilune).

Exit codes: 0 done; 1 the operation failed; 2 wrong usage; 3 the handler failed, timed out or ran out of
memory; 4 not found; 5 no host reachable, or credentials missing or refused; 130 interrupted.

Examples:
  perilune host
  perilune deploy scripts/examples/inventory
  perilune call inventory --body /var/lib/dpkg/status]]

local function grammar()
    local parser = argparse("perilune", "Functions written in Lua: deploy them, call them, read their logs.", epilog)
    parser:option("--url", "The host's base URL.")
    parser:option("--token", "The host's token; others can see it in the list of processes, PERILUNE_TOKEN not.")
    parser:option("--data", "Data folder of a host on this machine."):target("data_dir"):argname "<dir>"
    parser:flag("--json", "Write JSON for programs.")
    parser:command_target("command")
    parser:require_command(true)
    for _, name in ipairs(groups) do
        require("perilune.cli." .. name).register(parser)
    end
    return parser
end

local commands = { host = true, deploy = true, list = true, show = true, call = true, logs = true, delete = true,
    dead = true, schedule = true, generator = true, parent = true, file = true, upload = true, number = true,
    version = true }

-- Tells an argument list's mistake in one sentence, with the place to look it up.
local function usage_error(arguments, message)
    local where = "perilune"
    for _, argument in ipairs(arguments) do
        if commands[argument] then
            where = where .. " " .. argument
            break
        end
    end
    message = message:gsub("\nDid you mean (.-)%?$", " (did you mean %1?)"):gsub("\n", "; ")
    return ("%s; see '%s --help'"):format(message, where)
end

local function run(arguments)
    local parser = grammar()
    local ok, options = parser:pparse(arguments)
    if not ok then
        output.fail(session.exit.usage, "%s", usage_error(arguments, options))
    end
    options.run(options)
    output.flush()
end

-- arguments: as `arg`. Returns the exit code. What isn't a failure told by output.fail is a defect of this program, and
-- is shown with its traceback.
function cli.main(arguments)
    local ok, failure = xpcall(run, function(value)
        if type(value) == "table" and value.exit then
            return value
        elseif errors.is(value) then -- iterators raise them
            return session.failure(value)
        end
        return debug.traceback(tostring(value), 2)
    end, arguments)
    if ok then
        return session.exit.ok
    end
    if type(failure) ~= "table" then
        failure = { exit = session.exit.failed, message = "internal error: " .. failure }
    end
    if failure.message then
        pcall(output.flush)
        io.stderr:write("perilune: ", failure.message, "\n")
    end
    return failure.exit
end

return cli
