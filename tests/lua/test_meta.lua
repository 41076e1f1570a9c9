-- SPDX-License-Identifier: MIT
-- The annotations are complete: the meta file has exactly what perilune.core has, and everything public in
-- lua/perilune is described with all its parameters.
local core = require "perilune.core"
local lu = require "luaunit"
local support = require "support"
local uv = require "luv"

local suite = {}
_G.TestMeta = suite

local function documented()
    local names = {}
    local text = support.read(support.source .. "/lua/meta/core.lua")
    for name in text:gmatch "\nfunction ([%w_.:]+)%(" do
        lu.assertNil(names[name], name .. " is there twice")
        names[name] = "function"
    end
    local class = text:match "%-%-%-@class perilune%.core\n(.-)local core"
    for name in class:gmatch "%-%-%-@field ([%w_]+)" do
        names["core." .. name] = "value"
    end
    return names
end

local function add_methods(names, prefix, object)
    for name, value in pairs(debug.getmetatable(object).__index) do
        lu.assertEquals(type(value), "function")
        names[prefix .. name] = "function"
    end
    object:close()
end

local function existing()
    local names = {}
    for name, value in pairs(core) do
        names["core." .. name] = type(value) == "function" and "function" or "value"
    end
    add_methods(names, "Op:", core.sleep(0))
    add_methods(names, "Queue:", core.queue())
    add_methods(names, "Client:", core.client { base_url = "http://127.0.0.1" })
    return names
end

function suite.test_the_meta_file_has_what_the_module_has()
    local there, said = existing(), documented()
    for name, kind in pairs(there) do
        lu.assertEquals(said[name], kind, name .. " is not in lua/meta/core.lua")
    end
    for name, kind in pairs(said) do
        lu.assertEquals(there[name], kind, name .. " is only in lua/meta/core.lua")
    end
end

--- The comment lines right above a line.
local function comment_above(lines, i)
    local comment = {}
    for k = i - 1, 1, -1 do
        if not lines[k]:find "^%-%-%-" then
            break
        end
        comment[#comment + 1] = lines[k]
    end
    return table.concat(comment, "\n")
end

local function check_file(path)
    local lines, count = {}, 0
    for line in support.read(path):gmatch "([^\n]*)\n" do
        lines[#lines + 1] = line
    end
    for i, line in ipairs(lines) do
        local name, parameters = line:match "^function ([%w_.:]+)%((.-)%)"
        if not name then
            parameters = line:match "^return function%((.-)%)"
            name = parameters and "(the module)"
        end
        if name and not name:find "[.:]__" and (name:find "[.:]" or name == "(the module)") then -- others are local
            local comment = comment_above(lines, i)
            count = count + 1
            lu.assertNotEquals(comment, "", ("%s:%d: %s has no description"):format(path, i, name))
            for parameter in parameters:gmatch "[%w_.]+" do
                lu.assertStrContains(comment, "---@param " .. parameter, false, false,
                    ("%s:%d: %s: parameter %s"):format(path, i, name, parameter))
            end
        end
    end
    return count
end

--- The Lua files of a folder and, but for the command's, of the folders in it.
local function lua_files(folder, list)
    local dir = assert(uv.fs_scandir(folder))
    for name, kind in function() return uv.fs_scandir_next(dir) end do
        if kind == "file" then
            list[#list + 1] = folder .. "/" .. name
        elseif name ~= "cli" then
            lua_files(folder .. "/" .. name, list)
        end
    end
    return list
end

function suite.test_everything_public_is_described()
    local folder = support.source .. "/lua"
    local count = check_file(folder .. "/perilune.lua")
    for _, path in ipairs(lua_files(folder .. "/perilune", {})) do
        count = count + check_file(path)
    end
    lu.assertTrue(count > 100, "only " .. count .. " functions were found")
end

--- Every operation that the library's tables name can be called: the façades forgot none.
function suite.test_the_facades_have_every_operation()
    for _, service in ipairs { "cdf", "cim", "dataflux", "host" } do
        local source = support.read(("%s/core/services/%s.c"):format(support.source, service))
        local table_text = source:match "static const struct peri_operation operations%[%] = (%b{})"
        local folder = support.source .. "/lua/perilune/" .. service
        local facade = support.read(folder .. ".lua")
        for _, path in ipairs(uv.fs_stat(folder) and lua_files(folder, {}) or {}) do
            facade = facade .. support.read(path)
        end
        local count = 0
        for name in table_text:gsub('%u%(', ".name = "):gmatch '%.name = "([%w_.]+)"' do
            count = count + 1
            lu.assertStrContains(facade, ('"%s"'):format(name))
        end
        lu.assertTrue(count > 5)
    end
end

function suite.tearDown()
    support.assert_clean()
end
