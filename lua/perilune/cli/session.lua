-- SPDX-License-Identifier: MIT
-- The connection of one command to one host, and what its errors mean for the exit code.
local output = require "perilune.cli.output"

local session = {}

-- Documented in --help and in README.md.
session.exit = { ok = 0, failed = 1, usage = 2, handler = 3, not_found = 4, unreachable = 5, interrupted = 130 }

local exit_of = {
    invalid = session.exit.usage,
    not_found = session.exit.not_found,
    handler_failed = session.exit.handler,
    handler_timeout = session.exit.handler,
    handler_memory = session.exit.handler,
    sandbox_lost = session.exit.handler,
    resolve = session.exit.unreachable,
    connect = session.exit.unreachable,
    tls = session.exit.unreachable,
    unauthorized = session.exit.unreachable,
    cancelled = session.exit.failed,
}

local advice = {
    connect = "; start a host with 'perilune host'",
    unauthorized = "; give its token with --token or PERILUNE_TOKEN, or its data folder with --data",
}

-- err: the second result of an API function. Doesn't return.
function session.fail(err)
    local message = tostring(err.message or err):gsub("%s*[\r\n]+%s*", " ")
    output.fail(exit_of[err.code] or session.exit.failed, "%s", message .. (advice[err.code] or ""))
end

-- The results of an API call, or the end of the command.
function session.check(value, err, ...)
    if value == nil then
        session.fail(err)
    end
    return value, err, ...
end

-- options: the command's global ones. A host that can't be found out about is "unreachable".
function session.open(options)
    local perilune = require "perilune"
    local settings = {
        url = options.url or os.getenv "PERILUNE_URL",
        token = options.token or os.getenv "PERILUNE_TOKEN",
        data = options.data_dir,
    }
    local host, err = perilune.host(settings)
    if not host then
        output.fail(session.exit.unreachable, "%s", (tostring(err.message or err):gsub("%s*[\r\n]+%s*", " ")))
    end
    return host
end

return session
