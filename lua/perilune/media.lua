-- SPDX-License-Identifier: MIT
-- What a file is, told from its name.

local media = {}

local types = {
    json = "application/json", txt = "text/plain", md = "text/markdown", csv = "text/csv", html = "text/html",
    xml = "application/xml", lua = "text/x-lua", gz = "application/gzip", zip = "application/zip",
    pdf = "application/pdf", png = "image/png", jpg = "image/jpeg", jpeg = "image/jpeg", gif = "image/gif",
    svg = "image/svg+xml",
}

--- Its media type; nil: not known.
---@param name string
---@return string?
function media.of_name(name)
    local extension = name:match "%.(%w+)$"
    return extension and types[extension:lower()]
end

return media
