-- SPDX-License-Identifier: MIT
-- upload and number, against the scripted server.
local cjson = require "cjson"
local lu = require "luaunit"
local process = require "process"

local suite = {}
_G.TestCimCommands = suite

local build, source = _G.PERILUNE_BUILD, _G.PERILUNE_SOURCE
local command = build .. "/bin/perilune"

function suite:setUp()
    self.folder = process.temporary_folder()
    self.file = self.folder .. "/report.csv"
    process.write_file(self.file, "a;b\n")
end

function suite:tearDown()
    if self.server then
        self.server:wait()
        lu.assertStrContains(self.server.out, '["unused"]=0')
        self.server, self.logname = nil, nil
    end
    process.remove_folder(self.folder)
end

function suite:serve(steps)
    local script = self.folder .. "/script.lua"
    process.write_file(script, "return " .. steps)
    self.server = process.start { "/usr/bin/lua5.4", source .. "/tests/support/httpd.lua", script, keep_stdin = true }
    self.url = "http://127.0.0.1:" .. self.server:wait_line "^%d+$"
end

function suite:run(...)
    local options = { command, "--url", self.url or "http://127.0.0.1:1", "--token", "t",
        env = { HOME = self.folder, LOGNAME = self.logname or "somebody", USER = "", PERILUNE_PERSNO = "" } }
    for _, argument in ipairs { ... } do
        if type(argument) == "table" then
            options.stdin = argument.stdin
        else
            options[#options + 1] = argument
        end
    end
    return process.run(options)
end

local UPLOAD = [[{
    { path = "/file_upload/create", reply = '{"file_object_id":"f-1"}' },
    { path = "/file_upload/f-1/generate_presigned_url", reply = '{"blob_id":"b","urls":["$B/1"],"chunksize":9}' },
    { path = "/1" },
    { path = "/file_upload/f-1/complete", reply = "null" },
}]]

function suite:test_upload()
    self:serve(UPLOAD)
    local result = self:run("upload", self.file, "--parent", "doc-1")
    lu.assertEquals({ result.out, result.err, result.code }, { "f-1\n", "", 0 })
end

function suite:test_the_user_is_known_without_an_environment()
    self.logname = ""
    self:serve(UPLOAD)
    lu.assertEquals(self:run("upload", self.file, "--parent", "d").code, 0)
    self.server:wait()
    local seen = load(self.server.out:match "return .*")()
    local id <close> = io.popen "id -un"
    lu.assertEquals(cjson.decode(seen.requests[1].body).persno, id:read())
end

function suite:test_upload_of_a_pipe()
    self:serve(UPLOAD)
    local result = self:run("--json", "upload", "-", "--parent", "d", "--name", "n", "--filesize", "4",
        { stdin = "a;b\n" })
    lu.assertEquals({ result.err, result.code }, { "", 0 })
    lu.assertEquals(cjson.decode(result.out), { file_object_id = "f-1" })
end

function suite:test_number()
    self:serve [[{
        { path = "/numgen?name=n&count=1", reply = '{"numbers":[9007199254740993]}' },
        { path = "/numgen?name=n&count=2", reply = '{"numbers":[1,2]}' },
        { path = "/numgen?name=n&count=2", reply = '{"numbers":[1,2]}' },
        { path = "/numgen?name=n&count=1", status = 404, reply = '{"detail":"no generator n"}' },
    }]]
    lu.assertEquals(self:run("number", "n").out, "9007199254740993\n")
    lu.assertEquals(self:run("number", "n", "--count", "2").out, "1\n2\n")
    lu.assertEquals(cjson.decode(self:run("number", "n", "--count", "2", "--json").out), { numbers = { 1, 2 } })
    local result = self:run("number", "n")
    lu.assertEquals({ result.out, result.err, result.code }, { "", "perilune: no generator n\n", 4 })
end

function suite:test_usage()
    local function fails(code, message, ...)
        local result = self:run(...)
        lu.assertEquals(result.out, "")
        lu.assertStrMatches(result.err, "perilune: [^\n]+\n")
        lu.assertStrContains(result.err, message)
        lu.assertEquals(result.code, code)
    end
    fails(2, "'0' is not a count from 1 to 100", "number", "n", "--count", "0")
    fails(2, "--parent", "upload", self.file)
    fails(2, "add --name NAME", "upload", "-", "--parent", "d", { stdin = "x" })
    fails(2, "say it with --filesize", "upload", "-", "--parent", "d", "--name", "n", { stdin = "x" })
    fails(2, "option 'concurrency' must be from 1 to 16, not 99", "upload", self.file, "--parent", "d",
        "--concurrency", "99")
    fails(1, "can't read", "upload", self.file .. "-", "--parent", "d")
    fails(5, "can't connect", "upload", self.file, "--parent", "d")
end
