-- SPDX-License-Identifier: MIT
-- ctx.service: a client of the access service for one call. An event that brings an address and a token means the
-- platform's own service, every other call that of this host. Who writes files is the event's user, else the function.

--- Returns the service and what is to be closed with the call.
---@param ctx perilune.handler.context
---@param access fun(): string, string this host's address and the call's token
return function(ctx, access)
    local cim = require "perilune.cim"
    local metadata = rawget(ctx, "metadata")
    local url, token
    if metadata and metadata.service_url and metadata.service_token then
        url, token = metadata.service_url, metadata.service_token
    else
        url, token = access()
    end
    local service = cim { url = url, token = token,
        persno = metadata and metadata.app_user or ctx.call.function_name }
    service.service_url, service.service_token = url, token
    return service, service.client.handle
end
