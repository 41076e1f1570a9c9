-- SPDX-License-Identifier: MIT
-- Reads the #includes below core/ and bindings/ and fails on an arrow that points up.
-- usage: lua5.4 tests/style/includes.lua ROOT
local root = assert(arg[1], "usage: includes.lua ROOT")

-- What each part may include, besides itself.
local below = {
    base = {},
    net = { "base" },
    auth = { "net", "base" },
    policy = { "base" },
    client = { "auth", "policy", "net", "base" },
    services = { "client", "auth", "policy", "net", "base" },
    host = { "auth", "policy", "net", "base" },
    bindings = { "public" },
}
-- Which part implements a public header; a header that is missing here is an error, so that the list stays true.
local part_of = {
    buf = "base", clock = "base", error = "base", export = "base", frame = "base", hash = "base", json = "base",
    log = "base", random = "base", seal = "base", headers = "net", loop = "net", stream = "net", transport = "net",
    uri = "net",
    work = "net", token = "base", bearer = "auth", oauth = "auth", webhook = "auth", ratelimit = "policy",
    access_key = "auth", password = "auth", multipart = "net", dataflux = "services",
    retry = "policy", limiter = "client", client = "client", op = "client", service = "services", cdf = "services",
    cim = "services", host = "services", runtime = "host",
}
-- client/flow.h describes flows of services: the one pair of folders that know each other.
local same_part = { client = "services", services = "client" }

local allowed = {}
for part, parts in pairs(below) do
    allowed[part] = { [part] = true }
    for _, name in ipairs(parts) do
        allowed[part][name] = true
    end
end

local faults, files = 0, 0
local function fault(path, number, format, ...)
    faults = faults + 1
    print(("%s:%d: %s"):format(path, number, format:format(...)))
end

local function check_line(path, number, part, name, system)
    if system then
        if part ~= "bindings" and (name:find("^lua") or name == "lauxlib.h") then
            fault(path, number, "core never knows Lua, and this includes <%s>", name)
        end
        return
    end
    local public = name:match("^perilune/(.*)%.h$")
    local folder = name:match("^(%l+)/")
    local target
    if public then
        target = part_of[public]
        if not target then
            return fault(path, number, 'no part is known for "%s"; name it in tests/style/includes.lua', name)
        end
        if part == "bindings" then
            return
        end
    elseif part == "bindings" then
        target = (not folder or not below[folder]) and "bindings" or folder
    else
        target = folder or part
        if not below[target] and not name:find("^api/") then
            return fault(path, number, 'no part is known for "%s"', name)
        end
    end
    if not allowed[part][target] and same_part[part] ~= target then
        fault(path, number, '%s must not include "%s", which is of %s', part, name, target)
    end
end

local find = assert(io.popen(("cd '%s' && find core bindings -name '*.[ch]' | sort"):format(root)))
for path in find:lines() do
    local public = path:match("^core/include/perilune/(.*)%.h$")
    local part = public and part_of[public] or path:match("^core/(%l+)/") or "bindings"
    files = files + 1
    if public and not part_of[public] then
        fault(path, 1, "no part is known for this header; name it in tests/style/includes.lua")
    else
        local number = 0
        for line in io.lines(root .. "/" .. path) do
            number = number + 1
            local open, name = line:match('^%s*#%s*include%s*([<"])([^>"]+)')
            if name then
                check_line(path, number, part, name, open == "<")
            end
        end
    end
end
find:close()
print(("%d files read, %d includes point the wrong way"):format(files, faults))
os.exit(faults == 0 and files > 0)
