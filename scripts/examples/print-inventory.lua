-- SPDX-License-Identifier: MIT
-- Prints what `perilune call inventory --json` answered, for people.
-- usage: lua5.4 print-inventory.lua ANSWER.json [LATER_ANSWER.json]     a second answer adds its timing
local cjson = require "cjson"

local function read(path)
    local file <close> = assert(io.open(path))
    return cjson.decode(file:read("a"))
end

local function mib(kib)
    return ("%.1f MiB"):format(kib / 1024)
end

local function timing(title, answer)
    print(("%-12s %8.1f ms, of which %.1f ms on the processor; at most %.1f MiB of Lua memory"):format(title,
        answer.duration_us / 1e3, answer.cpu_us / 1e3, answer.memory_peak / 1048576))
end

local first, later = read(arg[1]), arg[2] and read(arg[2])
local report = first.result

print(("%d packages known, %d installed with %s, %d removed but not purged"):format(report.packages,
    report.installed, mib(report.installed_kib), report.removed))

print(("\n%-24s %8s %12s"):format("section", "packages", "installed"))
for i, section in ipairs(report.sections) do
    if i > 15 then
        print(("... and %d more sections"):format(#report.sections - 15))
        break
    end
    print(("%-24s %8d %12s"):format(section.section, section.packages, mib(section.installed_kib)))
end

print(("\n%-40s %-24s %12s"):format("the largest packages", "section", "installed"))
for _, package in ipairs(report.largest) do
    print(("%-40s %-24s %12s"):format(package.package, package.section, mib(package.installed_kib)))
end

if #report.broken == 0 then
    print("\nno package is in a broken state")
else
    print("\npackages in a broken state")
    for _, package in ipairs(report.broken) do
        print(("%-40s %s (%s)"):format(package.package, package.reason, package.status or "no status"))
    end
end

print()
timing("first call", first)
if later then
    timing("second call", later)
end
