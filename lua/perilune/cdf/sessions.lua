-- SPDX-License-Identifier: MIT
-- Sessions: what cdf.iam.sessions offers. A session's nonce lets a function act for whoever created it.

local iterate = require "perilune.iterate"
local object = require "perilune.cdf.object"
local record = require "perilune.record"

local PAGE = 100

---@class perilune.cdf.session
---@field id integer
---@field status "READY"|"ACTIVE"|"CANCELLED"|"EXPIRED"|"REVOKED"|"ACCESS_LOST"
---@field type? string
---@field nonce? string of one that was just created
---@field client_id? string
---@field creation_time? integer milliseconds since 1970
---@field expiration_time? integer
local Session = { __name = "perilune.cdf.session" }

---@class perilune.cdf.sessions
local Sessions = {}
Sessions.__index = Sessions

---@class perilune.cdf.session_options
---@field client_credentials? {client_id: string, client_secret: string} default: the client's own, if it has them
---@field session_type? string DEFAULT, CLIENT_CREDENTIALS, TOKEN_EXCHANGE or ONESHOT_TOKEN_EXCHANGE
---@field timeout? number seconds

---@param options? perilune.cdf.session_options
---@return perilune.cdf.session? session with its nonce
---@return perilune.error? err
function Sessions:create(options)
    local session, err = self.client:invoke("iam.sessions.create", options)
    return object.adopt(self.client, Session, session, err)
end

--- One page of sessions, and the cursor of the next.
---@param options? {status: string?, limit: integer?, cursor: string?}
---@return perilune.cdf.session[]? sessions
---@return perilune.error|string|nil err_or_cursor
function Sessions:list(options)
    local page, err = self.client:invoke("iam.sessions.list", options)
    if not page then
        return nil, err
    end
    local list, odd = object.adopt_all(self.client, Session, page.items)
    return list, odd or page.next_cursor
end

--- Iterates over sessions, page by page; raises the error when a page fails. limit: in all; default: every session.
---@param options? {status: string?, limit: integer?}
---@return fun(): perilune.cdf.session?
function Sessions:each(options)
    local limit = options and options.limit
    if limit == -1 then
        limit = nil
    end
    return iterate(function(cursor)
        return self:list(record.with(options, { limit = math.min(limit or PAGE, PAGE), cursor = cursor }))
    end, limit)
end

local function adopt(self, options, found, err)
    if type(options.id) == "table" then
        return object.adopt_all(self.client, Session, found, err)
    end
    return object.adopt(self.client, Session, found, err)
end

--- One session by its id, or a list by a list of ids.
---@param options {id: integer|integer[]}
---@return perilune.cdf.session|perilune.cdf.session[]|nil found nil without an error: there is none
---@return perilune.error? err
function Sessions:retrieve(options)
    options = object.plain(options)
    local found, err = self.client:invoke("iam.sessions.retrieve", options)
    return adopt(self, options, found, err)
end

--- Ends sessions: what was given their nonce can't act for them any more.
---@param options {id: integer|integer[]}
---@return perilune.cdf.session|perilune.cdf.session[]|nil revoked
---@return perilune.error? err
function Sessions:revoke(options)
    options = object.plain(options)
    local revoked, err = self.client:invoke("iam.sessions.revoke", options)
    return adopt(self, options, revoked, err)
end

function Session:__tostring()
    return ("session %s (%s)"):format(self.id, self.status)
end

return { Sessions = Sessions, Session = Session }
