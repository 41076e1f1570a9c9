-- SPDX-License-Identifier: MIT
-- Reads the text of /var/lib/dpkg/status: paragraphs of "Field: value" lines, parted by blank lines. A line that begins
-- with a blank continues the field above it.
local status = {}

local wanted = {
    Package = "package",
    Version = "version",
    Architecture = "architecture",
    Section = "section",
    Status = "status",
    ["Installed-Size"] = "installed_kib",
}

-- Calls fn(package) for each paragraph that names a package. Returns how many lines there were and a list of those that
-- are neither a field, a continuation nor blank, {line = number, text = start of it}.
function status.each(text, fn)
    local current, number, malformed = {}, 0, {}
    local function finish()
        if current.package then
            fn(current)
        end
        current = {}
    end
    for line in text:gmatch("([^\n]*)\n?") do
        number = number + 1
        local name, value = line:match("^([%w-]+):[ \t]*(.-)[ \t\r]*$")
        if name then
            local key = wanted[name]
            if key then
                current[key] = value
            end
        elseif line:find("^[ \t\r]*$") then
            finish()
        elseif not line:find("^[ \t]") then
            malformed[#malformed + 1] = { line = number, text = line:sub(1, 60) }
        end
    end
    finish()
    return number, malformed
end

return status
