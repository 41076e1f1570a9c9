-- SPDX-License-Identifier: MIT
-- A host of its own for a suite of tests, and the command aimed at it.
local cjson = require "cjson"
local lu = require "luaunit"
local process = require "process"

local fixture = {}
fixture.__index = fixture

local build = _G.PERILUNE_BUILD
fixture.command = build .. "/bin/perilune"

-- One handler for all tests: what it does is in the input.
local handler = [[
local modes = {}
function modes.echo(ctx)
    local request = ctx.request
    return { data = ctx.data, body = not ctx.data and request.body or nil,
        content_type = not ctx.data and request.content_type or nil }
end
function modes.fail() error("boom on purpose") end
function modes.refuse() return nil, "not today" end
function modes.spin() while true do end end
function modes.hoard() local t = {} for i = 1, math.huge do t[i] = ("x"):rep(1000) .. i end end
function modes.raw(ctx)
    return ctx.response { content_type = "text/plain; charset=utf-8", body = "plain words\n" }
end
function modes.bytes(ctx)
    return ctx.response { content_type = "application/octet-stream", body = "\0\1\255" }
end
function modes.long(ctx)
    return ctx.response { content_type = "text/plain", body = ("0123456789abcde\n"):rep(65536) }
end
function modes.log(ctx)
    print("printed", 1)
    ctx.log.warn("careful")
    ctx.log.error("red \27[31malert")
    return { ok = true }
end
function modes.slow(ctx)
    ctx.log.info("begun")
    require("perilune").sleep(ctx.data.seconds)
    ctx.log.info("done")
    return { ok = true }
end
function modes.env(ctx) return { region = os.getenv("REGION") } end
return {
    handle = function(ctx)
        return modes[ctx.data and ctx.data.mode or "echo"](ctx)
    end,
}
]]

-- Starts a host in a new folder; home is empty, so that nothing of the user's is found.
function fixture.new()
    local self = setmetatable({ folder = process.temporary_folder() }, fixture)
    self.data = self.folder .. "/data"
    self.env = { HOME = self.folder }
    self.host = process.start { fixture.command, "host", "--port", "0", "--data", self.data, "--sandboxes", "1",
        "--json", env = self.env }
    local line = self.host:wait_line "^{"
    if not line then
        error("the host did not start: " .. self.host.err)
    end
    self.ready = cjson.decode(line)
    self.env.PERILUNE_DATA = self.data
    return self
end

function fixture:close()
    self.host:kill()
    self.host:wait()
    process.remove_folder(self.folder)
    return self.host
end

-- perilune ARGUMENT...; a table among them gives options (stdin, env).
function fixture:run(...)
    return process.run(self:line(...))
end

function fixture:line(...)
    local options = { fixture.command, env = self.env }
    for _, argument in ipairs { ... } do
        if type(argument) == "table" then
            for key, value in pairs(argument) do
                options[key] = value
            end
        else
            options[#options + 1] = argument
        end
    end
    return options
end

-- The command's standard output; anything but success is the test's failure.
function fixture:ok(...)
    local result = self:run(...)
    lu.assertEquals(result.err, "")
    lu.assertEquals(result.code, 0)
    return result.out
end

function fixture:json(...)
    return cjson.decode(self:ok("--json", ...))
end

-- Fails with this exit code and one sentence on standard error, nothing on standard output. Returns the sentence.
function fixture:fails(code, ...)
    local result = self:run(...)
    fixture.assert_failure(result, code)
    return result.err
end

function fixture.assert_failure(result, code)
    lu.assertStrMatches(result.err, "perilune: [^\n]+\n")
    lu.assertEquals(result.out, "")
    lu.assertEquals(result.code, code, result.err)
end

-- Deploys the handler of all modes.
function fixture:deploy(name, ...)
    local folder = self.folder .. "/" .. name
    if not os.rename(folder, folder) then
        process.run { "/bin/mkdir", "-p", folder }
        process.write_file(folder .. "/handler.lua", handler)
    end
    return self:json("deploy", folder, ...)
end

return fixture
