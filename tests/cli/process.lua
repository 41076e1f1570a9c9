-- SPDX-License-Identifier: MIT
-- Runs programs for the command-line tests, and knows which it started.
local uv = require "luv"

local process = { running = {} }

local patience_ms = 120000

local function environment(overrides)
    local all = uv.os_environ()
    -- Sanitized programs bring their own runtime; the suite's own Lua needs it preloaded, they don't.
    for _, name in ipairs { "LD_PRELOAD", "PERILUNE_URL", "PERILUNE_TOKEN", "PERILUNE_DATA", "XDG_DATA_HOME" } do
        all[name] = nil
    end
    for name, value in pairs(overrides or {}) do
        all[name] = value
    end
    local list = {}
    for name, value in pairs(all) do
        list[#list + 1] = name .. "=" .. value
    end
    return list
end

local methods = {}
methods.__index = methods

-- options: {program, argument..., stdin = bytes, keep_stdin = leave it open, env = {}, cwd = }. Returns at once.
function process.start(options)
    local self = setmetatable({ out = "", err = "" }, methods)
    local stdin, stdout, stderr = uv.new_pipe(false), uv.new_pipe(false), uv.new_pipe(false)
    local open = 2
    local handle, pid
    local function finish()
        if self.code and open == 0 then
            self.ended = true
        end
    end
    handle, pid = uv.spawn(options[1], {
        args = table.move(options, 2, #options, 1, {}),
        stdio = { stdin, stdout, stderr },
        env = environment(options.env),
        cwd = options.cwd,
    }, function(code, signal)
        self.code, self.signal = code, signal
        process.running[self] = nil
        handle:close()
        finish()
    end)
    assert(handle, pid)
    self.pid = pid
    process.running[self] = true
    for name, pipe in pairs { out = stdout, err = stderr } do
        pipe:read_start(function(_, chunk)
            if chunk then
                self[name] = self[name] .. chunk
            else
                pipe:close()
                open = open - 1
                finish()
            end
        end)
    end
    if options.stdin then
        stdin:write(options.stdin, function() end)
    end
    if options.keep_stdin then
        self.stdin = stdin
    else
        stdin:shutdown(function() stdin:close() end)
    end
    return self
end

-- Runs the loop until ready() is true; fails loudly when that takes unreasonably long.
local function run_until(ready, what)
    local late = false
    local timer = uv.new_timer()
    timer:start(patience_ms, 0, function() late = true end)
    while not ready() and not late do
        uv.run("once")
    end
    timer:close()
    uv.run("nowait")
    if late then
        error("waited in vain for " .. what, 3)
    end
end

function methods:wait()
    if self.stdin then
        self.stdin:close()
        self.stdin = nil
    end
    run_until(function() return self.ended end, "the program's end; it wrote: " .. self.out .. self.err)
    return self
end

-- The first line of standard output that matches, or nil when the program ends without one.
function methods:wait_line(pattern)
    local function find()
        for line in self.out:gmatch("([^\n]*)\n") do
            if line:find(pattern) then
                return line
            end
        end
    end
    run_until(function() return self.ended or find() end, "a line like " .. pattern)
    return find()
end

function methods:kill(signal)
    if not self.code then
        uv.kill(self.pid, signal or "sigterm")
    end
end

function process.run(options)
    return process.start(options):wait()
end

-- Ends what a failed test left.
function process.stop_all()
    for one in pairs(process.running) do
        one:kill "sigkill"
    end
    for one in pairs(process.running) do
        one:wait()
    end
end

function process.temporary_folder()
    return assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/perilune-cli.XXXXXX"))
end

function process.remove_folder(path)
    assert(path:find("/perilune%-cli%.%w+$"))
    process.run { "/bin/rm", "-rf", path }
end

function process.write_file(path, text)
    local file <close> = assert(io.open(path, "wb"))
    assert(file:write(text))
end

return process
