-- SPDX-License-Identifier: MIT
-- What the clients of all platforms share: a connection with its credentials, and how an operation is run on it.

local core = require "perilune.core"
local errors = require "perilune.error"
local tasks = require "perilune.task"

local decode, start, await = core.json_decode, core.request, tasks.await

---@class perilune.client_options
---@field base_url string the platform's origin, maybe with a path
---@field token? string|fun(): string?, any bearer token; a function is asked before each operation, never during one
---@field credentials? perilune.credentials instead of token: OAuth client credentials
---@field project? string cdf
---@field headers? table<string, string> added to every request
---@field user_agent? string
---@field retry? perilune.retry_options|false default: the platform's own policy
---@field rate_limit? perilune.rate_limit|false default: the platform's own, or none
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

--- At most so many requests with one token in any window of so long, by the server's clock. All clients of the process
--- with the same origin and token share the limit.
---@class perilune.rate_limit
---@field requests? integer default: the platform's
---@field seconds? number default: the platform's
---@field fail? boolean fail at once with rate_limited and retry_after instead of waiting in line
---@field shared? string a file through which processes share the limit; up to 10000 requests

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
    local self = setmetatable({ service = service, renew = false }, Client)
    local given = {}
    for name, value in pairs(options) do
        given[name] = value
    end
    if type(given.token) == "function" then
        self.renew, given.token = given.token, ""
    end
    self.handle = core.client(given, service)
    return self
end

--- Replaces the token: for the next request, and the next attempt of those under way. A 401 is not retried, since the
--- same token would fail again: set a new one, then repeat the call.
---@param token string
function Client:set_token(token)
    self.renew = false
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
    return decode(self.body)
end

function Reply:__index(key)
    if key ~= "headers" then
        return Reply[key]
    end
    local headers = core.headers(self.header_text)
    self.headers = headers
    return headers
end

--- Runs one of the platform's operations and returns its result.
---@param operation string
---@param args table?
---@param content? string|{path: string}|file*|fun(): string? what is sent as it is
---@param sink? {path: string}|file*|fun(chunk: string) where a body goes
---@param with_reply? boolean also return the answer's status, headers and bytes
---@param on_progress? fun(sent: integer, total: integer) of an upload in chunks
---@param files? table[] uploaded as multipart/form-data
---@return any result
---@return perilune.error|perilune.reply|nil
function Client:invoke(operation, args, content, sink, with_reply, on_progress, files)
    if self.renew then
        local ok, err = renewed(self)
        if not ok then
            return nil, err
        end
    end
    local streams
    if content ~= nil or sink ~= nil or files ~= nil then
        streams = { content = content, sink = sink, files = files, progress = on_progress ~= nil }
    end
    local op, err = core.call(self.handle, self.service, operation, args, streams)
    if not op then
        return nil, err
    end
    return await(op, needs_pump(content), needs_pump(sink), with_reply and Reply or nil, on_progress)
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
    local op, source, sink = start(self.handle, options, "none")
    if not op then
        return nil, source -- the error
    end
    local ok, reply = await(op, source, sink, Reply)
    if ok then
        return reply
    end
    return nil, reply
end

---@class perilune.limiter
---@field limit integer
---@field window number seconds
---@field package client perilune.client
local Limiter = {}
Limiter.__index = Limiter
Limiter.__name = "perilune.limiter"

--- How many requests may start at once.
---@return integer? remaining
---@return perilune.error? err
function Limiter:remaining()
    local limit, window, remaining = self.client.handle:limiter()
    return limit and remaining, not limit and window or nil
end

--- When the next request may start, after all that wait now: seconds since 1970.
---@return number? time
---@return perilune.error? err
function Limiter:reset_at()
    local limit, window, _, reset_at = self.client.handle:limiter()
    return limit and reset_at, not limit and window or nil
end

--- The rate limit of the client's token.
---@return perilune.limiter? limiter nil alone: there is none
---@return perilune.error? err
function Client:limiter()
    if self.renew then
        local ok, err = renewed(self)
        if not ok then
            return nil, err
        end
    end
    local limit, window = self.handle:limiter()
    if not limit then
        return nil, window
    end
    return setmetatable({ client = self, limit = limit, window = window }, Limiter)
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
