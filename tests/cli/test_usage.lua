-- SPDX-License-Identifier: MIT
-- What the command says without a host.
local cjson = require "cjson"
local fixture = require "fixture"
local lu = require "luaunit"
local process = require "process"

local suite = {}
_G.TestUsage = suite

local folder

function suite.setUp()
    folder = process.temporary_folder()
end

function suite.tearDown()
    process.remove_folder(folder)
end

local function run(...)
    local options = { fixture.command, env = { HOME = folder } }
    for _, argument in ipairs { ... } do
        options[#options + 1] = argument
    end
    return process.run(options)
end

local function fails(code, pattern, ...)
    local result = run(...)
    fixture.assert_failure(result, code)
    lu.assertStrContains(result.err, pattern)
end

function suite.test_version()
    local result = run("version")
    lu.assertEquals(result.code, 0)
    lu.assertStrMatches(result.out, "perilune %d+%.%d+%.%d+ %(Lua 5%.4%)\n")
    local facts = cjson.decode(run("version", "--json").out)
    lu.assertStrMatches(facts.version, "%d+%.%d+%.%d+")
end

function suite.test_every_command_has_help_with_examples()
    local help = run("--help")
    lu.assertEquals(help.code, 0)
    lu.assertStrContains(help.out, "Exit codes: 0 done; 1 the operation failed; 2 wrong usage; 3 the handler failed")
    for _, command in ipairs { "deploy", "list", "show", "call", "logs", "delete", "version" } do
        lu.assertStrContains(help.out, "\n   " .. command)
        local result = run(command, "--help")
        lu.assertEquals(result.code, 0)
        lu.assertStrContains(result.out, "Usage: perilune " .. command)
        lu.assertStrContains(result.out, "Examples:\n  perilune " .. command)
    end
    local host = run("host", "--help")
    lu.assertEquals(host.code, 0)
    for _, option in ipairs { "--port", "--data", "--sandboxes", "--token", "--timeout", "--memory" } do
        lu.assertStrContains(host.out, option)
    end
end

function suite.test_wrong_usage_is_told_in_one_sentence()
    fails(2, "a command is required")
    fails(2, "unknown command 'lsit' (did you mean 'list'?)", "lsit")
    fails(2, "unknown option '--frob'; see 'perilune list --help'", "list", "--frob")
    fails(2, "unknown option '--jsn' (did you mean '--json'?)", "list", "--jsn")
    fails(2, "missing argument 'folder'", "deploy")
    fails(2, "missing argument 'name'", "show")
    fails(2, "missing argument 'names'", "delete")
    fails(2, "too many arguments", "list", "more")
    fails(2, "'abc' is not the id of a call", "logs", "abc")
    fails(2, "'0' is not the id of a call", "logs", "0")
    fails(2, "'many' is not a number from 1 on", "list", "--limit", "many")
    fails(2, "'3x' is not a duration; write for example 500ms, 30s", "call", "f", "--timeout", "3x")
    fails(2, "'0s' is not a duration", "deploy", ".", "--timeout", "0s")
    fails(2, "'12Q' is not a size; write for example 64K, 256M or 1G", "deploy", ".", "--memory", "12Q")
    fails(2, "'9999999T' is not a size", "deploy", ".", "--memory", "9999999T")
    fails(2, "'REGION' is not of the form NAME=VALUE", "deploy", ".", "--env", "REGION")
    fails(2, "an argument is empty", "call", "")
    fails(2, "an argument is empty", "deploy", ".", "--name", "")
    fails(2, "gives the function no name", "deploy", "..")
    fails(2, "--data and --body exclude each other", "call", "f", "--data", "1", "--body", "-")
    fails(2, "--url is for the other commands", "--url", "http://127.0.0.1:1", "host")
end

function suite.test_bad_json_is_told_with_line_and_column_before_anything_is_sent()
    -- Nobody listens there: only what is checked before can be told.
    local result = run("--url", "http://127.0.0.1:1", "--token", "t", "call", "f", "--data", '{"a": 1,\n "b": }')
    fixture.assert_failure(result, 2)
    lu.assertStrContains(result.err, "--data is not JSON")
    lu.assertStrContains(result.err, "line 2")
    lu.assertStrContains(result.err, "column 7")
    process.write_file(folder .. "/bad.json", '{"a": 1}\n\n]')
    result = run("--url", "http://127.0.0.1:1", "--token", "t", "call", "f", "--data", "@" .. folder .. "/bad.json")
    fixture.assert_failure(result, 2)
    lu.assertStrContains(result.err, "/bad.json is not JSON")
    lu.assertStrContains(result.err, "line 3")
end

function suite.test_files_that_are_not_there()
    fails(1, "can't read /nowhere/x.json", "call", "f", "--data", "@/nowhere/x.json")
    fails(1, "can't read /nowhere/x.bin", "call", "f", "--body", "/nowhere/x.bin")
    fails(1, "can't read /", "call", "f", "--data", "@/")
end

function suite.test_no_host()
    fails(5, "127.0.0.1:1", "--url", "http://127.0.0.1:1", "--token", "t", "list")
    fails(5, "credentials", "list")
    fails(5, "credentials", "--data", "/nowhere", "list")
    fails(5, "token", "--url", "http://127.0.0.1:1", "list")
end

function suite.test_output_that_cannot_be_written()
    local result = process.run { "/bin/sh", "-c", '"$0" version >/dev/full', fixture.command }
    lu.assertEquals(result.code, 1)
    lu.assertStrMatches(result.err, "perilune: can't write the output: [^\n]*\n")
    result = process.run { "/bin/sh", "-c", '"$0" version >&-', fixture.command }
    lu.assertEquals(result.err, "")
    lu.assertEquals(result.code, 0)
end
