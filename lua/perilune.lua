-- SPDX-License-Identifier: MIT
-- perilune: functions written in Lua; deployed, called and scheduled anywhere.
--
-- Failures are returned as nil and an error with a readable tostring; misuse raises. The same functions block in a
-- plain script and yield in a task (run, spawn, gather) or a handler.

local core = require "perilune.core"
local errors = require "perilune.error"
local json = require "perilune.json"
local map = require "perilune.map"
local tasks = require "perilune.task"

---@class perilune
local perilune = {}

---@type string
perilune.version = core.version
--- JSON's null, the same as cjson.null.
perilune.null = json.null
perilune.array = json.array
perilune.json = json
perilune.error = errors

perilune.run = tasks.run
perilune.spawn = tasks.spawn
perilune.gather = tasks.gather
perilune.map = map
perilune.sleep = tasks.sleep

--- Cognite Data Fusion, Functions.
---@param options perilune.client_options base_url, project, and token or credentials at least
---@return perilune.cdf
function perilune.cdf(options)
    return require "perilune.cdf"(options)
end

---@class perilune.cim_module: perilune.cim.responses
---@overload fun(options: perilune.cim.options): perilune.cim

--- CONTACT CIM Database Cloud. Called: a client of its access service. Its fields make what handlers answer to events.
---@type perilune.cim_module
perilune.cim = setmetatable({}, {
    __call = function(_, options) return require "perilune.cim"(options) end,
    __index = function(_, name) return require "perilune.cim.response"[name] end,
})

--- DataFlux Func, and a perilune host that answers like it.
---@param options perilune.dataflux.options url at least
---@return perilune.dataflux
function perilune.dataflux(options)
    return require "perilune.dataflux"(options)
end

--- A perilune host: {url, token}, or {data = DIR}, or this user's own.
---@param options? perilune.host.options
---@return perilune.host.client? host
---@return perilune.error? err
function perilune.host(options)
    return require "perilune.host"(options)
end

--- A client of any HTTP service, with the manners of the others: client:request{url = "/path"}.
---@param options perilune.client_options
---@return perilune.client
function perilune.client(options)
    return require "perilune.client".new(nil, options)
end

local shared

--- One HTTP request to anywhere, without credentials. A status other than 2xx is a failure.
---@param options perilune.request_options|string
---@return perilune.reply? reply
---@return perilune.error? err
function perilune.request(options)
    shared = shared or perilune.client { base_url = "http://127.0.0.1" }
    return shared:request(options)
end

--- Closes the connections that perilune.request keeps; the next one opens new ones.
function perilune.close()
    if shared then
        shared:close()
        shared = nil
    end
end

return perilune
