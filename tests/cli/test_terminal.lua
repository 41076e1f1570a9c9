-- SPDX-License-Identifier: MIT
-- What differs on a terminal: script(1) gives the command one.
local fixture = require "fixture"
local lu = require "luaunit"
local process = require "process"

local suite = {}
_G.TestTerminal = suite

local host

function suite.setUp()
    host = fixture.new()
    host:deploy("f", "--description", ("a long description "):rep(10))
end

function suite.tearDown()
    process.stop_all()
    host:close()
end

-- A shell line on a terminal of so many columns, with its line ends made plain.
local function on_terminal(columns, line)
    local result = process.run { "/usr/bin/script", "-qec", ("stty cols %d; %s"):format(columns, line), "/dev/null",
        env = { PERILUNE_DATA = host.data, HOME = host.folder, perilune = fixture.command } }
    return (result.out:gsub("\r\n", "\n")), result
end

function suite.test_tables_fit_the_terminal()
    local text = on_terminal(100, '"$perilune" list')
    local lines = 0
    for line in text:gmatch "([^\n]*)\n" do
        lines = lines + 1
        lu.assertTrue(utf8.len(line) <= 100, line)
    end
    lu.assertEquals(lines, 2)
    lu.assertStrContains(text, "…")
    lu.assertStrContains(host:ok "list", ("a long description "):rep(9))
end

function suite.test_json_is_laid_out_on_a_terminal_only()
    local text = on_terminal(80, [["$perilune" call f --data '[{"n":[1,{}]},"a,{b"]']])
    lu.assertStrContains(text, [[
{
  "data": [
    {
      "n": [
        1,
        {}
      ]
    },
    "a,{b"
  ]
}
]])
    lu.assertStrMatches(text, ".*\ncall %d+ took [%d.]+ ms\n")
end

function suite.test_control_characters_of_others_do_not_reach_the_terminal()
    local text = on_terminal(80, [[id=$("$perilune" call f --data '{"mode":"log"}' --no-wait); ]]
        .. [["$perilune" logs $id --follow]])
    lu.assertStrContains(text, "error red \\x1b[31malert")
    lu.assertNotStrContains(text, "\27")
end
