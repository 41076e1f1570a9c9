-- SPDX-License-Identifier: MIT
-- Sums packages up: per section, the largest, those in a broken state.
local report = {}
report.__index = report

-- What dpkg's third status word means when it isn't a state of rest.
local unfinished = {
    ["half-installed"] = "its installation was begun and not finished",
    ["unpacked"] = "unpacked but never configured",
    ["half-configured"] = "its configuration failed or was cut short",
    ["triggers-awaited"] = "waits for another package's trigger",
    ["triggers-pending"] = "its trigger has yet to run",
}
local gone = { ["config-files"] = true, ["not-installed"] = true }

-- Why a Status ("install ok installed") is a broken one, or nil; and whether the package's files are on the disk.
function report.judge(status)
    if not status then
        return "has no Status field", true
    end
    local want, flag, state = status:match("^(%S+)%s+(%S+)%s+(%S+)$")
    if not want then
        return "has a Status that is not three words", true
    end
    local present = not gone[state]
    if flag ~= "ok" then
        return ("is marked %s"):format(flag), present
    end
    if unfinished[state] then
        return unfinished[state], present
    end
    if state ~= "installed" and present then
        return ("is in the unknown state %s"):format(state), present
    end
    return nil, present
end

function report.new()
    return setmetatable({ packages = 0, installed = 0, removed = 0, installed_kib = 0, without_size = 0,
        by_section = {}, all = {}, broken = {} }, report)
end

function report:add(package)
    self.packages = self.packages + 1
    local reason, present = self.judge(package.status)
    if reason then
        self.broken[#self.broken + 1] = { package = package.package, status = package.status, reason = reason }
    end
    if not present then
        self.removed = self.removed + 1
        return
    end
    local kib = math.tointeger(tonumber(package.installed_kib))
    if not kib or kib < 0 then
        self.without_size = self.without_size + 1
        kib = 0
    end
    self.installed = self.installed + 1
    self.installed_kib = self.installed_kib + kib

    local name = package.section
    if not name or name == "" then
        name = "(none)"
    end
    local section = self.by_section[name]
    if not section then
        section = { section = name, packages = 0, installed_kib = 0 }
        self.by_section[name] = section
    end
    section.packages = section.packages + 1
    section.installed_kib = section.installed_kib + kib
    self.all[#self.all + 1] = { package = package.package, version = package.version, section = name,
        architecture = package.architecture, installed_kib = kib }
end

local function largest_first(a, b)
    if a.installed_kib ~= b.installed_kib then
        return a.installed_kib > b.installed_kib
    end
    return (a.package or a.section) < (b.package or b.section)
end

-- The report as plain data; top: how many of the largest packages it lists.
function report:result(top)
    local sections = {}
    for _, section in pairs(self.by_section) do
        sections[#sections + 1] = section
    end
    table.sort(sections, largest_first)
    table.sort(self.all, largest_first)
    return {
        packages = self.packages,
        installed = self.installed,
        removed = self.removed,
        installed_kib = self.installed_kib,
        without_size = self.without_size,
        sections = sections,
        largest = table.move(self.all, 1, math.min(top, #self.all), 1, {}),
        broken = self.broken,
    }
end

return report
