-- SPDX-License-Identifier: MIT
-- version.
local output = require "perilune.cli.output"

local version = {}

local function run(options)
    local perilune = require "perilune"
    if options.json then
        output.json_text(perilune.json.encode { version = perilune.version, lua = _VERSION })
    else
        output.print("perilune %s (%s)", perilune.version, _VERSION)
    end
end

function version.register(parser)
    local command = parser:command("version", "Print the version.")
        :epilog("Examples:\n  perilune version\n  perilune version --json")
    command:action(function(options) options.run = run end)
end

return version
