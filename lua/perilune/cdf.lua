-- SPDX-License-Identifier: MIT
-- Cognite Data Fusion, Functions. Methods, options and fields carry the names of the platform's Python SDK.

local Client = require "perilune.client"
local calls = require "perilune.cdf.calls"
local functions = require "perilune.cdf.functions"
local schedules = require "perilune.cdf.schedules"
local sessions = require "perilune.cdf.sessions"

---@class perilune.cdf : perilune.client
---@field functions perilune.cdf.functions
---@field iam {sessions: perilune.cdf.sessions}
---@field package classes table metatables of the objects that were got with it

--- A client of one project. Close it, or declare it `local cdf <close>`.
---@param options perilune.client_options base_url, project, and token or credentials at least
---@return perilune.cdf
return function(options)
    local self = Client.new("cdf", options)
    local function api(methods)
        return setmetatable({ client = self }, methods)
    end
    self.classes = {}
    self.functions = api(functions.Functions)
    self.functions.calls = api(calls.Calls)
    self.functions.schedules = api(schedules.Schedules)
    self.iam = { sessions = api(sessions.Sessions) }
    return self
end
