-- SPDX-License-Identifier: MIT
-- What is installed on a Debian machine? Input: the text of its /var/lib/dpkg/status, as the call's raw body.
local array = require("perilune").array
local report = require "lib.report"
local status = require "lib.status"

local function handle(ctx)
    local text = ctx.request.body
    if ctx.data ~= nil or not text or text == "" then
        return nil, "no input; send the text of /var/lib/dpkg/status as the call's raw body"
    end
    ctx.log.info(("%d bytes to read"):format(#text))

    local sums = report.new()
    local lines, malformed = status.each(text, function(package)
        sums:add(package)
        if sums.packages % 200 == 0 then
            ctx.log.info(("%d packages so far"):format(sums.packages))
        end
    end)
    for i = 1, math.min(#malformed, 5) do
        ctx.log.warn(("line %d is no field: %s"):format(malformed[i].line, malformed[i].text))
    end
    if sums.packages == 0 then
        return nil, ("no package found in %d lines; is this /var/lib/dpkg/status?"):format(lines)
    end

    local result = sums:result(20)
    for _, list in ipairs { "sections", "largest", "broken" } do
        result[list] = array(result[list])
    end
    result.lines, result.malformed_lines = lines, #malformed
    for _, package in ipairs(result.broken) do
        ctx.log.warn(("%s %s"):format(package.package, package.reason))
    end
    ctx.log.info(("%d packages in %d sections, %d broken"):format(result.packages, #result.sections, #result.broken))
    return result
end

return { handle = handle }
