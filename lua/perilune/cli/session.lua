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
    unauthorized = "; give its token with --token or PERILUNE_TOKEN, or its data folder with --data",
}

local function sentence(err)
    return (tostring(err.message or err):gsub("%s*[\r\n]+%s*", " "))
end

-- An error of the API as one of output.fail. The traceback of a call is in its record.
function session.failure(err)
    local more = err.call_id and ("; see 'perilune show %d'"):format(err.call_id) or advice[err.code] or ""
    return { exit = exit_of[err.code] or session.exit.failed, message = sentence(err) .. more }
end

-- err: the second result of an API function. Doesn't return.
function session.fail(err)
    error(session.failure(err), 0)
end

-- The results of an API call, or the end of the command.
function session.check(value, err, ...)
    if value == nil then
        session.fail(err)
    end
    return value, err, ...
end

local somebody_waits = { attempts = 3, base = 0.1, cap = 0.5 } -- at the keyboard

-- The access service that --url names, or the one of the host whose credentials are found.
function session.open_cim(options)
    local given = options.url or os.getenv "PERILUNE_URL"
    local url, token = require("perilune.credentials") {
        url = given, token = options.token or os.getenv "PERILUNE_TOKEN", data = options.data_dir,
    }
    if not url then
        output.fail(session.exit.unreachable, "%s (--token or PERILUNE_TOKEN, --data)", sentence(token))
    end
    local ok, cim = pcall(require("perilune").cim, {
        url = given or url:gsub("/+$", "") .. "/cim",
        token = token,
        retry = somebody_waits,
    })
    if not ok then
        output.fail(session.exit.usage, "%s", (tostring(cim):gsub("^.-:%d+: ", "")))
    end
    return cim
end

-- options: the command's global ones. A host that can't be found out about is "unreachable".
function session.open(options)
    local settings = {
        url = options.url or os.getenv "PERILUNE_URL",
        token = options.token or os.getenv "PERILUNE_TOKEN",
        data = options.data_dir,
        retry = somebody_waits,
        first_byte_timeout = false, -- a handler may take as long as its function allows
    }
    local host, err = require("perilune").host(settings)
    if not host then
        local where = err.code == "unauthorized" and " (--token or PERILUNE_TOKEN, --data)" or ""
        output.fail(session.exit.unreachable, "%s%s", sentence(err), where)
    end
    return host
end

return session
