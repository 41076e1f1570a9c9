-- SPDX-License-Identifier: MIT
-- What the Lua tests share: child programs, the scripted server, a real host, and the proof that nothing is left.
local core = require "perilune.core"
local lu = require "luaunit"
local uv = require "luv"

local support = {
    build = assert(_G.PERILUNE_BUILD, "run by tests/lua/run.lua"),
    source = assert(_G.PERILUNE_SOURCE),
}

local PATIENCE_MS = 120000
local children = {}

---- programs ----

local Child = {}
Child.__index = Child

local function environment(more)
    local all = uv.os_environ()
    -- Sanitized programs bring their own runtime; this process has it preloaded, they must not.
    for _, name in ipairs { "LD_PRELOAD", "PERILUNE_DATA", "XDG_DATA_HOME" } do
        all[name] = nil
    end
    local list = {}
    for name, value in pairs(more or {}) do
        all[name] = value
    end
    for name, value in pairs(all) do
        list[#list + 1] = name .. "=" .. value
    end
    return list
end

--- options: {program, argument..., env = {}}
function support.start(options)
    local self = setmetatable({ out = "", err = "", open = 2 }, Child)
    local stdin, stdout, stderr = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
    local handle, pid
    handle, pid = uv.spawn(options[1], {
        args = table.move(options, 2, #options, 1, {}),
        stdio = { stdin, stdout, stderr },
        env = environment(options.env),
    }, function(code, signal)
        self.code, self.signal = code, signal
        children[self] = nil
        handle:close()
    end)
    assert(handle, pid)
    self.pid, self.stdin = pid, stdin
    children[self] = true
    for name, pipe in pairs { out = stdout, err = stderr } do
        pipe:read_start(function(_, chunk)
            if chunk then
                self[name] = self[name] .. chunk
            else
                pipe:close()
                self.open = self.open - 1
            end
        end)
    end
    return self
end

local function run_until(ready, what)
    local late = false
    local timer = uv.new_timer()
    timer:start(PATIENCE_MS, 0, function() late = true end)
    while not ready() and not late do
        uv.run "once"
    end
    timer:close()
    uv.run "nowait"
    if late then
        error("waited in vain for " .. what(), 0)
    end
end

--- The first line it writes.
function Child:line()
    run_until(function() return self.out:find("\n", 1, true) or self:ended() end,
        function() return "a line; it wrote: " .. self.out .. self.err end)
    return self.out:match "^([^\n]*)\n" or error("the program ended: " .. self.out .. self.err, 0)
end

function Child:ended()
    return self.code and self.open == 0
end

function Child:close_input()
    if not self.stdin:is_closing() then
        self.stdin:close()
    end
end

function Child:kill(signal)
    if not self.code then
        uv.kill(self.pid, signal or "sigterm")
    end
end

function Child:wait()
    self:close_input()
    run_until(function() return self:ended() end, function() return "the program's end; it wrote: " .. self.err end)
    return self
end

--- Ends what a failed test left.
function support.stop_children()
    for child in pairs(children) do
        child:kill "sigkill"
        child:wait()
    end
end

---- files ----

function support.folder()
    return assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/perilune-lua.XXXXXX"))
end

function support.write(path, text)
    local file <close> = assert(io.open(path, "wb"))
    assert(file:write(text))
    return path
end

function support.read(path)
    local file <close> = assert(io.open(path, "rb"))
    return file:read "a"
end

function support.remove(path)
    assert(path:find "/perilune%-lua%.%w+$")
    support.start { "/bin/rm", "-rf", path }:wait()
end

---- the scripted server ----

local Server = {}
Server.__index = Server

local function quote(value)
    if type(value) ~= "table" then
        return ("%q"):format(value)
    end
    local parts = {}
    for key, item in pairs(value) do
        parts[#parts + 1] = ("[%s]=%s"):format(quote(key), quote(item))
    end
    return "{" .. table.concat(parts, ",") .. "}"
end

--- Starts tests/support/httpd.lua with these steps.
function support.server(steps)
    local script = os.tmpname()
    support.write(script, "return " .. quote(steps))
    local child = support.start { "/usr/bin/lua5.4", support.source .. "/tests/support/httpd.lua", script }
    local port = child:line()
    os.remove(script)
    return setmetatable({ child = child, url = "http://127.0.0.1:" .. port, port = port }, Server)
end

--- Stops it; returns what it was asked.
function Server:stop()
    self.child:wait()
    local report = assert(load(self.child.out:match "^[^\n]*\n(.*)$"))()
    lu.assertEquals(report.unused, 0, "steps of the script that nobody asked for")
    for _, request in ipairs(report.requests) do
        lu.assertTrue(request.matched, "unexpected " .. request.method .. " " .. request.path)
    end
    return report.requests
end

Server.__close = function(self)
    self.child:wait()
end

---- a real host ----

--- Starts the gateway on a free port; returns its facts {url, data, credentials, pid} and the child.
function support.gateway(data, ...)
    local child = support.start { support.build .. "/libexec/perilune/perilune-gateway", "--port", "0", "--data", data,
        "--json", ... }
    local facts = assert(core.json_decode(child:line()))
    return facts, child
end

---- nothing is left ----

--- For a suite's tearDown: no object of the core survives a collection, no program runs.
function support.assert_clean()
    support.stop_children()
    collectgarbage()
    collectgarbage()
    lu.assertEquals(core.live(), 0, "live objects of the core")
end

return support
