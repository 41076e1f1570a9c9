-- SPDX-License-Identifier: MIT
-- Where a function's package comes from: what is known to be wrong with it is said before anything is sent. A function
-- of Lua is sent as its source text, since hosts take no byte code.

local errors = require "perilune.error"

local source = {}

local function misuse(text, ...)
    error("cdf.functions.create: " .. text:format(...), 0)
end

local function broken(message)
    return nil, errors.new { code = "package", message = message }
end

local function read(path)
    local file <close>, why = io.open(path, "rb")
    if not file then
        return broken(("can't read %s"):format(why))
    end
    local text, reason = file:read "a"
    if not text then -- a folder opens, but can't be read
        return broken(("can't read %s: %s"):format(path, reason))
    end
    return text
end

--- Whether Lua compiles the text; the error names path and line.
local function compiles(text, path)
    local chunk, why = load(text, "@" .. path, "t", {})
    if not chunk then
        return broken(why)
    end
    return true
end

---- a function's own text ----

local function lines_of(text, first, last)
    local lines, number = {}, 0
    for line in (text .. "\n"):gmatch "(.-)\r?\n" do
        number = number + 1
        if number >= first and number <= last then
            lines[#lines + 1] = line
        end
    end
    return lines
end

local function refuse(info, why, ...)
    misuse("the handler (%s:%d) %s", info.short_src, info.linedefined, why:format(...))
end

--- Names of the local variables around the function that it uses. A function is sent alone: they would be missing.
local function check_upvalues(f, info)
    local names = {}
    for i = 1, info.nups do
        local name = debug.getupvalue(f, i)
        if name ~= "_ENV" then
            names[#names + 1] = ("'%s'"):format(name)
        end
    end
    if #names > 0 then
        table.sort(names)
        refuse(info, "uses %s of the file around it, but is sent alone: define and require what it needs within it",
            table.concat(names, ", "))
    end
end

--- The text of "function ... end" from a position in the first line to one in the last; nil if that does not compile.
local function cut(lines, from, to, info)
    local parts = table.move(lines, 1, #lines, 1, {})
    parts[#parts] = parts[#parts]:sub(1, to)
    parts[1] = parts[1]:sub(from)
    local body = table.concat(parts, "\n"):match "^function%s*[%w_.]*%s*(%(.*)$"
    local text = body and "function" .. body
    -- In the same lines as there: line numbers are a part of what is compared.
    local made = text and load(("\n"):rep(info.linedefined - 1) .. "return " .. text, "=handler", "t", {})
    return made and text, made and made()
end

--- Whether the text's function is the one that was given, as far as can be seen.
local function is_same(made, f, info)
    local other = debug.getinfo(made, "Su")
    return other.nparams == info.nparams and other.isvararg == info.isvararg and other.nups == info.nups
        and other.linedefined == info.linedefined and other.lastlinedefined == info.lastlinedefined
        and #string.dump(made, true) == #string.dump(f, true)
end

--- Each text that may be the function's: from a word "function" of its first line to an "end" of its last.
local function candidates(lines, f, info)
    local found, seen = {}, {}
    for from in lines[1]:gmatch "%f[%w_]()function%f[^%w_]" do
        local first = #lines == 1 and from or 1
        for to in lines[#lines]:gmatch "%f[%w_]end()%f[^%w_]" do
            if to > first then
                local text, made = cut(lines, from, to - 1, info)
                if text then
                    if is_same(made, f, info) and not seen[text] then
                        seen[text] = true
                        found[#found + 1] = text
                    end
                    break
                end
            end
        end
    end
    return found
end

--- The text of a package's entry file that has f as its handler. Raises when f can't be sent alone.
local function text_of(f)
    if not (debug and debug.getinfo and io and io.open) then
        misuse "a handler's source can't be read here: give handler = \"path.lua\", or a folder"
    end
    local info = debug.getinfo(f, "Su")
    if info.what ~= "Lua" then
        misuse("the handler is %s: give a function that is written in Lua",
            info.what == "C" and "a C function" or "a whole file")
    end
    check_upvalues(f, info)
    local text = info.source
    if text:sub(1, 1) == "@" then
        local file_text, err = read(text:sub(2))
        if not file_text then
            refuse(info, "was loaded from a file that is gone: %s", err.message)
        end
        text = file_text
    elseif text:sub(1, 1) == "=" then
        refuse(info, "has no source text: it was loaded under the name %s", text)
    end
    local lines = lines_of(text, info.linedefined, info.lastlinedefined)
    local found = #lines == info.lastlinedefined - info.linedefined + 1 and candidates(lines, f, info) or {}
    if #found == 0 then
        refuse(info, "does not have the text that stands there (a changed file, or a method with ':')")
    elseif #found > 1 then
        refuse(info, "can't be told from another function in the same lines: give each a line of its own")
    end
    return ("return {\n    handle = %s,\n}\n"):format(found[1])
end

---- options of create ----

local function without(options, name)
    local left = {}
    for key, value in pairs(options) do
        left[key] = value
    end
    left[name] = nil
    return left
end

--- options.handler, a function or the path of a file, becomes the text of the package's only file.
local function from_handler(options)
    local handler = options.handler
    local prepared = without(options, "handler")
    if options.function_path then
        misuse "option 'function_path' goes with a folder or a file_id, not with 'handler'"
    elseif type(handler) == "function" then
        prepared.source, prepared.function_path = text_of(handler), "handler.lua"
        return prepared
    elseif type(handler) ~= "string" then
        misuse("option 'handler' must be a function or the path of a file, not a %s", type(handler))
    end
    local extension = handler:match "%.(%w+)$"
    if extension ~= "lua" and extension ~= "py" then
        misuse("option 'handler': the file must end in .lua or .py: %s", handler)
    end
    local text, err = read(handler)
    if text and extension == "lua" then
        local ok
        ok, err = compiles(text, handler)
        text = ok and text
    end
    if not text then
        return nil, err
    end
    prepared.source, prepared.function_path = text, "handler." .. extension
    return prepared
end

local function check_folder(options)
    local entry = options.function_path or "handler.lua"
    if type(options.folder) ~= "string" or type(entry) ~= "string" or not entry:find "%.lua$" then
        return true -- the rules for other files are the library's
    end
    local path = options.folder .. "/" .. entry
    local file <close> = io.open(path, "rb")
    if not file then
        return true -- the library says so, unless there is a handler.py
    end
    local text, err = read(path)
    if not text then
        return nil, err
    end
    return compiles(text, path)
end

--- The options that the library takes, from those of functions:create. Raises on misuse.
---@param options perilune.cdf.create_options
---@return table? prepared
---@return perilune.error? err
function source.prepare(options)
    if options.handler ~= nil then
        if options.folder or options.file_id or options.source then
            misuse "exactly one of the options 'folder', 'file_id' and 'handler' is required, not several"
        end
        return from_handler(options)
    elseif options.folder and not options.skip_folder_validation then
        local ok, err = check_folder(options)
        if not ok then
            return nil, err
        end
    elseif type(options.source) == "string" and not (options.function_path or ""):find "%.py$" then
        local ok, err = compiles(options.source, options.function_path or "handler.lua")
        if not ok then
            return nil, err
        end
    end
    return options
end

--- A failure of the package, with the name of the file that was given in place of the one that it has in the package.
---@param options perilune.cdf.create_options
---@param err perilune.error?
---@return perilune.error? err
function source.explain(options, err)
    if err and err.code == "package" and type(options.handler) == "string" then
        err.message = err.message:gsub("^handler%.py", function() return options.handler end)
    end
    return err
end

return source
