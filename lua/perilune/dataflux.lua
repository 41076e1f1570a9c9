-- SPDX-License-Identifier: MIT
-- DataFlux Func, and a perilune host that answers like it. Names are the platform's own, in snake_case.

local Client = require "perilune.client"
local entities = require "perilune.dataflux.entities"
local media = require "perilune.media"

---@class perilune.dataflux.options : perilune.client_options
---@field url string the platform's address, without /api
---@field auth? perilune.dataflux.auth of all calls that name none
---@field auth_token? string of a sign-in, for management: x-auth-token
---@field ak_id? string instead: an access key
---@field ak_secret? string its secret
---@field local_token? string instead: the content of localhost-auth-token

--- What an API asks its callers for. For `func`, give what its function looks at in `headers`.
---@class perilune.dataflux.auth
---@field type "fixedField"|"httpBasic"|"httpDigest"
---@field location? "header"|"query"|"body" of a fixed field
---@field name? string of a fixed field
---@field value? string of a fixed field
---@field username? string
---@field password? string

--- The platform's own options.
---@class perilune.dataflux.func_options
---@field return_type? "raw"|"jsonDumps" jsonDumps: the JSON value comes back, numbers and booleans too
---@field unbox? boolean false: in the platform's envelope, out of which it is taken; of direct calls the default
---@field timeout? integer seconds that the function may run, 1 to 3600
---@field expires? integer seconds in the queue, 1 to 86400
---@field queue? integer 1 to 9
---@field delay? integer seconds until it starts
---@field eta? string when it starts, ISO 8601

--- Exactly one of path, data and file.
---@class perilune.dataflux.file
---@field path? string
---@field data? string
---@field file? file* from its position on
---@field filename? string default: of the path
---@field content_type? string default: by the file's name
---@field name? string of the form's field; default "files"

---@class perilune.dataflux.call_options
---@field options? perilune.dataflux.func_options
---@field method? "GET"|"POST" default POST
---@field form? "bare"|"normal"|"simplified" of the URL; default: the first that carries what is given
---@field tail? string of the path, which only the function reads
---@field files? (perilune.dataflux.file|file*)[] uploaded, kwargs and options in fields beside
---@field body? string|{path: string}|file*|fun(): string? a raw body, instead of kwargs
---@field content_type? string of body; text/plain gives the function a text, most others base64; default: by its path
---@field sink? {path: string}|file*|fun(chunk: string) where the answer goes
---@field auth? perilune.dataflux.auth default: the client's
---@field headers? table<string, string>
---@field trace_id? string to find the call again
---@field idempotent? boolean the function may run twice for this call; default false: only what was refused is repeated
---@field timeout? number seconds for the whole operation

---@class perilune.dataflux
---@field sync_apis perilune.dataflux.entities
---@field async_apis perilune.dataflux.entities
---@field cron_jobs perilune.dataflux.cron_jobs
---@field api_auth perilune.dataflux.entities
---@field scripts perilune.dataflux.scripts
---@field task_records perilune.dataflux.task_records
---@field client perilune.client for other requests to the platform
---@field package credentials table shared with the parts
---@field package auth perilune.dataflux.auth?
local Dataflux = {}
Dataflux.__index = Dataflux
Dataflux.__name = "perilune.dataflux"

local STREAMS = { files = true, body = true, sink = true }

local function copy(list)
    local made = {}
    for name, value in pairs(list or {}) do
        made[name] = value
    end
    return made
end

--- Files with their media type by their names.
local function typed(files)
    if type(files) ~= "table" then
        return files
    end
    local made = {}
    for i, item in ipairs(files) do
        if type(item) == "table" and item.content_type == nil then
            item = copy(item)
            local name = item.filename or item.path
            item.content_type = type(name) == "string" and media.of_name(name) or nil
        end
        made[i] = item
    end
    return made
end

local function call(self, operation, id, kwargs, options, credentials)
    local args = { id = id, kwargs = kwargs, credentials = credentials }
    for name, value in pairs(options or {}) do
        if not STREAMS[name] then
            args[name] = value
        end
    end
    local given = options or {}
    if operation ~= "func.call" and args.auth == nil then
        args.auth = self.auth
    end
    if given.body ~= nil and args.content_type == nil then
        args.content_type = type(given.body) == "table" and media.of_name(tostring(given.body.path))
            or type(given.body) == "string" and "text/plain; charset=utf-8" or nil
    end
    return self.client:invoke(operation, args, given.body, given.sink, true, nil, typed(given.files))
end

--- Calls a Sync API and waits for the function's answer: JSON as its value, anything else as bytes; perilune.null when
--- it is empty, which is how the platform sends null, false, 0 and "". Numbers come as text unless return_type is
--- "jsonDumps". The reply has status and headers (the content type). A function's failure is handler_failed or
--- handler_timeout, with err.trace and err.detail.
---@param id string
---@param kwargs? table<string, any> the function's arguments
---@param options? perilune.dataflux.call_options
---@return any value
---@return perilune.reply|perilune.error reply_or_err
function Dataflux:call(id, kwargs, options)
    return call(self, "sync.call", id, kwargs, options)
end

--- Calls an Async API: answers with the task's id, at once.
---@param id string
---@param kwargs? table<string, any>
---@param options? perilune.dataflux.call_options
---@return string? task_id
---@return perilune.reply|perilune.error reply_or_err
function Dataflux:call_async(id, kwargs, options)
    return call(self, "async.call", id, kwargs, options)
end

--- Calls a published function directly, signed in; with options = { async = true } the task's id comes back.
---@param func_id string set__script.func
---@param kwargs? table<string, any>
---@param options? perilune.dataflux.call_options
---@return any value
---@return perilune.reply|perilune.error reply_or_err
function Dataflux:call_func(func_id, kwargs, options)
    return call(self, "func.call", func_id, kwargs, options, self.credentials)
end

---@class perilune.dataflux.result_options
---@field wait? number seconds until it must have ended; default 0
---@field timeout? number seconds for the whole operation

--- What an asynchronous call has answered. A perilune host tells everyone; on the platform itself it is read from the
--- task record, which needs a sign-in, appears up to 20 s late, and exists only for APIs with a task_record_limit. A
--- task that has not ended is the failure `timeout`, which is retryable.
---@param task_id string
---@param options? perilune.dataflux.result_options
---@return any value
---@return perilune.reply|perilune.error reply_or_err
function Dataflux:result(task_id, options)
    local args = copy(options)
    args.task_id, args.credentials = task_id, self.credentials
    return self.client:invoke("task.result", args, nil, nil, true)
end

--- Replaces the token of the sign-in, for the next operation.
---@param token string
function Dataflux:set_auth_token(token)
    for name in pairs(self.credentials) do
        self.credentials[name] = nil
    end
    self.credentials.auth_token = token
end

--- Ends what is under way and closes the connections.
function Dataflux:close()
    self.client:close()
end

Dataflux.__close = Dataflux.close

function Dataflux:__tostring()
    return tostring(self.client)
end

local OWN = { "url", "auth", "auth_token", "ak_id", "ak_secret", "local_token" }

---@param options perilune.dataflux.options
---@return perilune.dataflux
return function(options)
    if type(options) ~= "table" or type(options.url) ~= "string" or options.url == "" then
        error("dataflux: no url was given: perilune.dataflux { url = ... }", 3)
    end
    local given, credentials = copy(options), {}
    given.base_url = options.url
    for _, name in ipairs(OWN) do
        given[name] = nil
    end
    for _, name in ipairs { "auth_token", "ak_id", "ak_secret", "local_token" } do
        credentials[name] = options[name]
    end
    local self = setmetatable({ client = Client.new("dataflux", given), auth = options.auth,
        credentials = credentials }, Dataflux)
    for name, class in pairs(entities) do
        self[name] = setmetatable({ client = self.client, credentials = credentials }, class)
    end
    return self
end
