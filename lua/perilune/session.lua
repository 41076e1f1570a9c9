-- SPDX-License-Identifier: MIT
-- ctx.client: a client of the host's Functions API for one call. It may do what the session behind the call may, as
-- long as the session lives.

--- Returns the client and what is to be closed with the call.
---@param ctx perilune.handler.context
---@param access fun(): string, string the host's access service and the call's token
return function(ctx, access)
    local cdf = require "perilune.cdf"
    local service, token = access()
    local path = ctx.request.path or ""
    local client = cdf { base_url = (service:gsub("/cim$", "")), token = token,
        project = path:match "^/api/v1/projects/([%w._-]+)/" or "default" }
    return client, client.handle
end
