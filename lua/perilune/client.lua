-- SPDX-License-Identifier: MIT
-- What the clients of all platforms share: a connection with its credentials, and how an operation is run on it.

local core = require "perilune.core"
local errors = require "perilune.error"
local json = require "perilune.json"
local tasks = require "perilune.task"

---@class perilune.client_options
---@field base_url string the platform's origin, maybe with a path
---@field token? string|fun(): string?, any bearer token; a function is asked before each operation, never during one
---@field credentials? perilune.credentials instead of token: OAuth client credentials
---@field project? string cdf
---@field headers? table<string, string> added to every request
---@field user_agent? string
---@field retry? perilune.retry_options|false default: the platform's own policy
---@field rate_limit? {requests: integer, seconds: number, fail: boolean?} at most so many in any window of so long
---@field timeout? number|false seconds for an operation with its retries; default none
---@field connect_timeout? number seconds; default 10
---@field first_byte_timeout? number|false seconds to the status line; default 60; not for what waits for a handler
---@field gzip? boolean compress JSON bodies where the platform takes it; default true
---@field max_body? integer bytes of an answer held in memory; default 64 MiB
---@field ca_file? string
---@field proxy? string "" for none; default: from the environment
---@field insecure? boolean don't verify TLS peers: for tests
---@field http1_only? boolean

---@class perilune.credentials tokens are asked for when needed, once for all that wait, and renewed before they end
---@field token_url string
---@field client_id string
---@field client_secret string
---@field scopes? string|string[]
---@field [string] string further fields of the token request, for example audience

---@class perilune.retry_options
---@field attempts? integer all together
---@field base? number seconds of the first wait
---@field cap? number seconds of the longest
---@field max_elapsed? number seconds after which no further attempt starts

---@class perilune.client
---@field package handle perilune.core.client
local Client = {}
Client.__index = Client
Client.__name = "perilune.client"

local function needs_pump(value)
    return type(value) == "function" and value or nil
end

---@param service string? name of the platform's table of operations
---@param options perilune.client_options
---@return perilune.client
function Client.new(service, options)
    local self = setmetatable({ service = service }, Client)
    local given = {}
    for name, value in pairs(options) do
        given[name] = value
    end
    if type(given.token) == "function" then
        self.renew, given.token = given.token, ""
    end
    self.handle = core.client(given)
    return self
end

--- Replaces the token: for the next request, and the next attempt of those under way. A 401 is not retried, since the
--- same token would fail again: set a new one, then repeat the call.
---@param token string
function Client:set_token(token)
    self.renew = nil
    self.handle:set_token(token)
end

--- Asks the token function, in the coroutine that is about to send: it may itself make calls.
local function renewed(self)
    local token, err = self.renew()
    if token == nil then
        return nil, err or errors.new { code = "unauthorized", message = "the token function gave none" }
    end
    self.handle:set_token(token)
    return true
end

---@class perilune.reply
---@field status integer
---@field headers table<string, string> names in lower case; made from header_text when first looked at
---@field header_text string the fields as they came, a line each
---@field body string
---@field attempts integer
local Reply = {}

--- The body as JSON.
---@return any value
---@return perilune.error? err
function Reply:json()
    return json.decode(self.body)
end

function Reply:__index(key)
    if key ~= "headers" then
        return Reply[key]
    end
    local headers = core.headers(self.header_text)
    self.headers = headers
    return headers
end

local function reply_of(op)
    return setmetatable(op:reply(), Reply)
end

--- Runs one of the platform's operations and returns its result.
---@param operation string
---@param args table?
---@param content? string|{path: string}|file*|fun(): string? what is sent as it is
---@param sink? {path: string}|file*|fun(chunk: string) where a body goes
---@param with_reply? boolean also return the answer's status, headers and bytes
---@return any result
---@return perilune.error|perilune.reply|nil
function Client:invoke(operation, args, content, sink, with_reply)
    if self.renew then
        local ok, err = renewed(self)
        if not ok then
            return nil, err
        end
    end
    local streams
    if content ~= nil or sink ~= nil then
        streams = { content = content, sink = sink }
    end
    local op <close>, err = core.call(self.handle, self.service, operation, args, streams)
    if not op then
        return nil, err
    end
    local result, failure = tasks.await(op, needs_pump(content), needs_pump(sink))
    if failure == nil and with_reply then
        return result, reply_of(op)
    end
    return result, failure
end

---@class perilune.request_options
---@field url string absolute, or a path below base_url; credentials go only to base_url's origin
---@field method? string default GET, with a body POST
---@field headers? table<string, string>
---@field body? string|{path: string}|file*|fun(): string?
---@field json? any sent as JSON, instead of body
---@field sink? {path: string}|file*|fun(chunk: string) where a 2xx body goes; default: reply.body
---@field timeout? number seconds
---@field idempotent? boolean may be repeated after it may have been received; default by method
---@field no_auth? boolean

--- Any HTTP request with the client's manners. A status other than 2xx is a failure.
---@param options perilune.request_options|string
---@return perilune.reply? reply
---@return perilune.error? err
function Client:request(options)
    if type(options) == "string" then
        options = { url = options }
    end
    if self.renew then
        local ok, err = renewed(self)
        if not ok then
            return nil, err
        end
    end
    local op <close>, err = core.request(self.handle, options, "none")
    if not op then
        return nil, err
    end
    local ok, failure = tasks.await(op, needs_pump(options.body), needs_pump(options.sink))
    if not ok then
        return nil, failure
    end
    return reply_of(op)
end

--- Ends what is under way and closes the connections.
function Client:close()
    self.handle:close()
end

Client.__close = Client.close

function Client:__tostring()
    return (tostring(self.handle):gsub("perilune.client", self.service and "perilune." .. self.service or "%0"))
end

return Client
