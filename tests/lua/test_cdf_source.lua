-- SPDX-License-Identifier: MIT
-- Functions of Lua, handler files and folders as packages: what is sent, and what is refused before.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local source = require "perilune.cdf.source"
local support = require "support"

local suite = {}
_G.TestCdfSource = suite

local outside = 5
local folder

function suite.setUp()
    folder = support.folder()
end

--- The handler in the text that stands for f.
local function sent(f)
    local prepared = assert(source.prepare { name = "f", handler = f })
    lu.assertEquals(prepared.function_path, "handler.lua")
    lu.assertNil(prepared.handler)
    return assert(load(prepared.source, "=handler.lua", "t"))().handle, prepared.source
end

local function plain(ctx)
    -- an end of a comment: end, "function", function
    if ctx then
        local text = [[
            end function]]
        return text:match "end", function() return ctx.data end
    end
end

local object = {}
function object.handle(ctx) return ctx.data + 1 end
function object:method() return self end
object.a, object.b = function() return 1 end, function(ctx) return 2 + ctx end
object.same_a, object.same_b = function() return 1 end, function() return 2 end

function suite.test_functions_as_text()
    local first, second = sent(plain) { data = 7 }
    lu.assertEquals({ first, second() }, { "end", 7 })
    lu.assertEquals(sent(object.handle) { data = 7 }, 8)
    lu.assertEquals(sent(object.a)(), 1)
    lu.assertEquals(sent(object.b)(7), 9)
    lu.assertEquals(sent(function(ctx, ...) return select("#", ...) + ctx end)(1, 2, 3), 3)
    local _, text = sent(function() return math.pi end)
    lu.assertEquals(text, "return {\n    handle = function() return math.pi end,\n}\n")
    local from_string = assert(load "local x = function(n)\n  return n\nend return x")()
    lu.assertEquals(sent(from_string)(3), 3)
end

function suite.test_functions_that_can_not_be_sent()
    local inner = 1
    for _, bad in ipairs {
        { function() return outside + inner end, "uses 'inner', 'outside' of the file around it, but is sent alone" },
        { print, "the handler is a C function" },
        { assert(load "return 1"), "the handler is a whole file" },
        { assert(load("return function() end", "=(made)"))(), "has no source text" },
        { assert(load("return function() end", "@/nowhere/x.lua"))(), "was loaded from a file that is gone" },
        { object.method, "does not have the text that stands there" },
        { object.same_a, "can't be told from another function in the same lines" },
        { 5, "must be a function or the path of a file, not a number" },
        { "handler.rb", "must end in .lua or .py: handler.rb" },
    } do
        lu.assertErrorMsgContains(bad[2], source.prepare, { name = "f", handler = bad[1] })
    end
    lu.assertErrorMsgContains(("test_cdf_source.lua:%d"):format(debug.getinfo(object.method, "S").linedefined),
        source.prepare, { handler = object.method })
    lu.assertErrorMsgContains("not several", source.prepare, { handler = plain, folder = "x" })
    lu.assertErrorMsgContains("'function_path' goes with", source.prepare, { handler = plain, function_path = "x.lua" })
end

local function assert_refused(cdf, options, part)
    options.name = "f"
    local fn, err = cdf.functions:create(options)
    lu.assertNil(fn)
    lu.assertEquals(err.code, "package")
    lu.assertStrContains(err.message, part)
end

--- File, line and reason, and nothing was sent.
function suite.test_files_are_checked_first()
    local server = support.server {}
    local cdf <close> = perilune.cdf { base_url = server.url, project = "demo", token = "t" }
    local lua, py = folder .. "/mine.lua", folder .. "/mine.py"
    support.write(lua, "local x = 1\nreturn { handle = }\n")
    support.write(py, "x = 1\n\ndef handle(date):\n    pass\n")
    assert_refused(cdf, { handler = lua }, lua:match "[^/]+/mine%.lua$" .. ":2: unexpected symbol near '}'")
    assert_refused(cdf, { handler = py }, py .. ":3: handle has an argument 'date'")
    assert_refused(cdf, { handler = folder .. "/none.lua" }, "none.lua: No such file")
    assert_refused(cdf, { handler = folder .. "/none.py" }, "none.py: No such file")
    assert_refused(cdf, { folder = folder, function_path = "mine.lua" }, "mine.lua:2: unexpected symbol")
    assert_refused(cdf, { folder = folder, function_path = "mine.py" }, "mine.py:3: handle has an argument 'date'")
    assert_refused(cdf, { folder = folder }, "the entry file handler.py does not exist")
    assert_refused(cdf, { folder = folder .. "/none" }, "can't read the folder")
    assert_refused(cdf, { source = "x = = 1" }, "handler.lua:1: unexpected symbol near '='")
    assert_refused(cdf, { source = "x = 1", function_path = "a.py" }, "a.py: no function 'handle'")
    support.write(folder .. "/handler.lua", "\27Lua")
    assert_refused(cdf, { folder = folder }, "attempt to load a binary chunk")
    lu.assertErrorMsgContains("exactly one of the options 'folder', 'file_id' and 'source'", cdf.functions.create,
        cdf.functions, { name = "f" })
    server:stop()
end

--- What is not to be checked is sent as it is.
function suite.test_skip_folder_validation()
    local P = "/api/v1/projects/demo"
    local server = support.server {
        { path = P .. "/files?overwrite=false", status = 201, reply = '{"id":77,"uploadUrl":"/up"}', times = 3 },
        { path = "/up", times = 3 },
        { path = P .. "/files/byids", reply = '{"items":[{"id":77,"uploaded":true}]}', times = 3 },
        { path = P .. "/functions", status = 201, reply = '{"items":[{"id":1}]}', times = 3 },
    }
    local cdf <close> = perilune.cdf { base_url = server.url, project = "demo", token = "t", gzip = false }
    support.write(folder .. "/mine.py", "def main(): pass\n")
    for i = 1, 2 do -- the same bytes again, whatever their date
        assert(cdf.functions:create { name = "f", folder = folder, function_path = "mine.py",
            skip_folder_validation = true, external_id = perilune.null })
        require "luv".fs_utime(folder .. "/mine.py", i, i)
    end
    assert(cdf.functions:create { name = "f", handler = function(ctx) return ctx.data end })
    local requests = server:stop()
    lu.assertEquals(requests[2].body, requests[6].body)
    lu.assertStrContains(requests[10].body, "handler.lua")
    lu.assertEquals(assert(core.json_decode(requests[12].body)).items[1].functionPath, "handler.lua")
end

--- Through the real host: what arrives there is what was written here.
function suite.test_a_function_runs_on_a_host()
    local facts, gateway = support.gateway(folder, "--sandboxes", "1")
    local token = assert(core.json_decode(support.read(facts.credentials))).token
    local cdf <close> = perilune.cdf { base_url = facts.url, project = "demo", token = token }
    local fn = assert(cdf.functions:create { name = "double", external_id = "double", handler = function(ctx)
        print "doubling"
        return { twice = 2 * ctx.data.n }
    end })
    assert(fn:wait { timeout = 60 })
    local call = assert(fn:call { data = { n = 21 } })
    lu.assertEquals(call.status, "Completed", tostring(call.error and call.error.message))
    lu.assertEquals(call:get_response(), { twice = 42 })
    local results, errors = perilune.map({ 1, 2, 3, 4, 5 }, function(n)
        local one, err = fn:call { data = { n = n } }
        if not one then
            return nil, err
        end
        return one:get_response()
    end, { concurrency = 3 })
    lu.assertNil(errors)
    lu.assertEquals(results[5], { twice = 10 })
    local lines = {}
    call = assert(fn:call { data = { n = 1 }, wait = false })
    lu.assertTrue(assert(call:follow(function(line) lines[#lines + 1] = line.message end)) == call)
    lu.assertEquals(call.status, "Completed")
    lu.assertEquals(lines, { "doubling" })
    cdf:close()
    gateway:kill()
    gateway:wait()
end

function suite.tearDown()
    support.remove(folder)
    support.assert_clean()
end
