-- SPDX-License-Identifier: MIT
-- Where a host is and its token: as given, or as the host wrote them into its data folder.

local core = require "perilune.core"
local errors = require "perilune.error"

local MEND = "give its token, or its data folder"

--- The token in this user's credentials is for the host that wrote them, and goes to no other.
---@param given {url: string?, token: string?, data: string?}
---@return string? url
---@return string|perilune.error token_or_err
return function(given)
    local url, token = given.url, given.token
    if url and token then
        return url, token
    elseif not core.host_credentials then
        return nil, errors.new { code = "unauthorized",
            message = "a handler has no credentials of its own; give url and token" }
    end
    local found_url, found_token = core.host_credentials(given.data)
    if not url then
        return found_url, found_url and token or found_token
    end
    local same, err = core.same_origin(url, found_url or url)
    if same == nil then
        return nil, err
    elseif not found_url then
        return nil, errors.new { code = "unauthorized",
            message = ("no token for %s (%s); %s"):format(url, found_token.message, MEND) }
    elseif not same then
        return nil, errors.new { code = "unauthorized",
            message = ("no token for %s: the credentials found are those of %s; %s"):format(url, found_url, MEND) }
    end
    return url, found_token
end
