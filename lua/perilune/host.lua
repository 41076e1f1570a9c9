-- SPDX-License-Identifier: MIT
-- A perilune host, through its own door.

local Client = require "perilune.client"
local Log = require "perilune.log"
local access = require "perilune.host.access"
local credentials = require "perilune.credentials"
local errors = require "perilune.error"
local events = require "perilune.events"
local iterate = require "perilune.iterate"
local json = require "perilune.json"
local schedules = require "perilune.host.schedules"
local tasks = require "perilune.task"

local PAGE = 100
local client_of = setmetatable({}, { __mode = "k" }) -- what a result was got with

---@class perilune.host.function
---@field id integer
---@field name string
---@field status "Queued"|"Deploying"|"Ready"|"Failed"
---@field version integer
---@field entry string
---@field code_hash string
---@field code_size integer
---@field timeout_ms integer
---@field memory_limit integer
---@field concurrency? integer how many calls of it run at a time
---@field attempts integer of a durable call that crashes interrupt
---@field created_at integer milliseconds since 1970
---@field updated_at integer
---@field last_called_at? integer
---@field description? string
---@field error? {message: string, trace: string?}
local Function = {}
Function.__index = Function
Function.__name = "perilune.host.function"

---@class perilune.host.call
---@field id integer
---@field function_id integer
---@field function string the function's name
---@field version integer
---@field status "Queued"|"Running"|"Completed"|"Failed"|"Timeout"|"Cancelled"
---@field async boolean
---@field attempt integer
---@field created_at integer milliseconds since 1970
---@field started_at? integer
---@field ended_at? integer
---@field duration_ms? integer
---@field cpu_us? integer
---@field memory_peak? integer
---@field error? {code: string, message: string, trace: string?}
---@field start_at? integer no attempt starts before: milliseconds since 1970
---@field expires_at? integer it starts before that or never; gone once it has started
---@field queue? integer 1 to 9
---@field attempts? integer in all
---@field retry? {base_ms: integer, cap_ms: integer}
---@field idempotency_key? string
---@field dead? true given up after its attempts
local Call = {}
Call.__index = Call
Call.__name = "perilune.host.call"

local function adopt(client, class, object)
    if object then
        client_of[object] = client
        setmetatable(object, class)
    end
    return object
end

local function adopt_all(client, class, list)
    for _, object in ipairs(list) do
        adopt(client, class, object)
    end
    return list
end

local function copy(options)
    local to = {}
    for name, value in pairs(options or {}) do
        to[name] = value
    end
    return to
end

--- What is the same object, read again.
local function replace(self, fresh)
    for name in pairs(self) do
        self[name] = fresh[name]
    end
    for name, value in pairs(fresh) do
        self[name] = value
    end
    return self
end

--- `timeout` in seconds as the `timeout_ms` that the door takes; the request itself may take a little longer.
local function with_deadline(args)
    if args.timeout then
        args.timeout_ms, args.timeout = math.max(1, math.floor(args.timeout * 1000)), nil
    end
    return args
end

---@class perilune.host.functions
local Functions = {}
Functions.__index = Functions

---@class perilune.host.deploy_options
---@field name string
---@field folder? string packaged and sent; or package
---@field package? string path of a zip
---@field exclude? string[] patterns of what stays out of the package
---@field entry? string default handler.lua
---@field timeout? number seconds that a call may take
---@field timeout_ms? integer the same in milliseconds
---@field memory? integer|string bytes that a call may hold, or "64M"
---@field concurrency? integer how many calls of it run at a time; default any number
---@field attempts? integer of a durable call that crashes interrupt; default the host's (3)
---@field env? table<string, string> for the handler's os.getenv
---@field description? string
---@field create? boolean fail when the name is taken, instead of making a new version

--- Deploys a folder or a zip; returns when the function is ready.
---@param options perilune.host.deploy_options
---@return perilune.host.function? fn
---@return perilune.error? err
function Functions:deploy(options)
    local fn, err = self.client:invoke("functions.deploy", with_deadline(copy(options)))
    return adopt(self.client, Function, fn), err
end

---@param options? {limit: integer?, prefix: string?, before_id: integer?}
---@return perilune.host.function[]? functions newest first
---@return perilune.error? err
function Functions:list(options)
    local list, err = self.client:invoke("functions.list", options)
    return list and adopt_all(self.client, Function, list), err
end

--- Pages below an id, newest first.
local function pages(options, fetch)
    return iterate(function(before_id)
        local args = copy(options)
        args.limit, args.before_id = PAGE, before_id or args.before_id
        local list, err = fetch(args)
        if not list then
            return nil, err
        end
        return list, #list == PAGE and list[#list].id or nil
    end, options and options.limit)
end

--- Iterates over functions, newest first; raises the error when a page fails.
---@param options? {limit: integer?, prefix: string?}
---@return fun(): perilune.host.function?
function Functions:each(options)
    return pages(options, function(args)
        return self:list(args)
    end)
end

---@param name string or the id in decimal
---@return perilune.host.function? fn
---@return perilune.error? err
function Functions:get(name)
    local fn, err = self.client:invoke("functions.get", { name = name })
    return adopt(self.client, Function, fn), err
end

---@param name string
---@return true? ok
---@return perilune.error? err
function Functions:delete(name)
    return self.client:invoke("functions.delete", { name = name })
end

---@class perilune.host.input
---@field data? any JSON: ctx.data
---@field body? string|fun(): string? bytes: ctx.request.body
---@field file? string|file* a path or an open file, sent as the bytes
---@field content_type? string of body or file; default application/octet-stream
---@field timeout? number seconds that the call may take
---@field timeout_ms? integer the same in milliseconds
---@field expires? number beside data, body or file: seconds within which it starts, or it ends as expired
---@field queue? integer beside data, body or file: 1 to 9, lower ones start first; default 5

---@class perilune.host.async_input : perilune.host.input
---@field delay? number seconds before it may start; these fields too stand beside data, body or file
---@field at? integer when it may start, in milliseconds since 1970
---@field attempts? integer in all; default the function's, for crashes
---@field retry? boolean|{attempts: integer?, base: number?, cap: number?} again also when the handler fails;
--- waits of base (1) seconds, doubled each time up to cap (300), half of it random
---@field idempotency_key? string one call for each function and key: asked again, it is the first one

local INPUT = { data = true, body = true, file = true, content_type = true, timeout = true, timeout_ms = true }

local WITH_INPUT = { expires = true, queue = true }
local ASYNC = { delay = true, at = true, attempts = true, retry = true, idempotency_key = true }

local function check_option(name, async)
    if ASYNC[name] and not async then
        error(("call: '%s' is an option of call_async"):format(name), 4)
    elseif not ASYNC[name] and not WITH_INPUT[name] then
        error(("call: unknown option '%s'; data with a key data, body or file goes into {data = ...}")
            :format(tostring(name)), 4)
    end
end

--- A table that names data, body or file, or has only option names, is options; everything else is the data itself.
local function read_input(given, async)
    if type(given) ~= "table" or getmetatable(given) ~= nil then
        return { data = given }
    end
    local named = given.data ~= nil or given.body ~= nil or given.file ~= nil
    for name in pairs(given) do
        if not INPUT[name] then
            if not named then
                return { data = given }
            end
            check_option(name, async)
        end
    end
    return given
end

local function milliseconds(name, seconds)
    if seconds ~= nil and math.type(seconds) == nil then
        error(("call: '%s' must be a number of seconds"):format(name), 4)
    end
    return seconds and math.floor(seconds * 1000 + 0.5)
end

local RETRY = { attempts = true, base = true, cap = true }

--- Seconds become the milliseconds that the door takes.
local function terms_of(input)
    input.delay_ms, input.delay = milliseconds("delay", input.delay), nil
    input.expires_ms, input.expires = milliseconds("expires", input.expires), nil
    input.start_at, input.at = input.at, nil
    if type(input.retry) ~= "table" then
        return
    end
    for name in pairs(input.retry) do
        if not RETRY[name] then
            error(("call: unknown field '%s' of retry; there are attempts, base and cap"):format(tostring(name)), 3)
        end
    end
    input.attempts = input.retry.attempts or input.attempts
    input.retry_base_ms = milliseconds("retry.base", input.retry.base)
    input.retry_cap_ms = milliseconds("retry.cap", input.retry.cap)
    input.retry = true
end

--- The options for the wire, and the content: JSON text is made here, straight from the Lua value.
local function input_of(self, given, async)
    local input = copy(read_input(given, async))
    terms_of(input)
    local content
    if (input.data ~= nil and 1 or 0) + (input.body ~= nil and 1 or 0) + (input.file ~= nil and 1 or 0) > 1 then
        error("call: only one of data, body and file", 3)
    elseif input.file ~= nil then
        content = type(input.file) == "string" and { path = input.file } or input.file
    elseif input.body ~= nil then
        content = input.body
    else
        local text, err = json.encode(input.data == nil and {} or input.data)
        if not text then
            error("call: " .. err.message, 3)
        end
        content, input.content_type = text, "application/json"
    end
    input.data, input.body, input.file = nil, nil, nil
    input.name = self.name
    input.content_type = input.content_type or "application/octet-stream"
    return with_deadline(input), content
end

---@class perilune.host.reply : perilune.reply
---@field call_id? integer
---@field content_type? string
---@field duration_us? integer
---@field cpu_us? integer
---@field memory_peak? integer bytes

local function reply_of(reply)
    local headers = reply.headers
    reply.content_type = headers["content-type"]
    reply.call_id = math.tointeger(tonumber(headers["perilune-call-id"]))
    for name, value in (headers["perilune-usage"] or ""):gmatch "([%w-]+)=(%d+)" do
        reply[name:gsub("-", "_")] = math.tointeger(tonumber(value))
    end
    return reply
end

--- Calls the function and returns what its handler answered, decoded when it is JSON.
---@param input? perilune.host.input|any
---@return any value
---@return perilune.host.reply|perilune.error reply_or_err
function Function:call(input)
    local args, content = input_of(self, input)
    local value, reply = client_of[self]:invoke("functions.call", args, content, nil, true)
    if value == nil then
        return nil, reply
    end
    return value, reply_of(reply)
end

--- Starts a call that survives a crash of the host, and does not wait for it.
---@param input? perilune.host.async_input|any
---@return perilune.host.call? call
---@return perilune.error? err
function Function:call_async(input)
    local args, content = input_of(self, input, true)
    local call, err = client_of[self]:invoke("functions.call_async", args, content)
    return adopt(client_of[self], Call, call), err
end

---@param options? {limit: integer?, state: string?, before_id: integer?}
---@return perilune.host.call[]? calls newest first
---@return perilune.error? err
function Function:list_calls(options)
    local args = copy(options)
    args.name = self.name
    local list, err = client_of[self]:invoke("calls.list", args)
    return list and adopt_all(client_of[self], Call, list), err
end

--- Reads the function again.
---@return perilune.host.function? self
---@return perilune.error? err
function Function:update()
    local fresh, err = client_of[self]:invoke("functions.get", { name = self.name })
    return fresh and replace(self, fresh), err
end

---@return true? ok
---@return perilune.error? err
function Function:delete()
    return client_of[self]:invoke("functions.delete", { name = self.name })
end

function Function:__tostring()
    return ("function %s, version %s (%s)"):format(self.name, self.version, self.status)
end

---@class perilune.host.calls
local Calls = {}
Calls.__index = Calls

---@class perilune.host.call_filter
---@field function? string of this function; default: of all
---@field state? string
---@field limit? integer default 100
---@field before_id? integer

--- A call's record.
---@param id integer
---@return perilune.host.call? call
---@return perilune.error? err
function Calls:get(id)
    local call, err = self.client:invoke("calls.get", { id = id })
    return adopt(self.client, Call, call), err
end

---@param options? perilune.host.call_filter
---@return perilune.host.call[]? calls newest first
---@return perilune.error? err
function Calls:list(options)
    local args = copy(options)
    args.name, args["function"] = args.name or args["function"], nil
    local list, err = self.client:invoke("calls.list", args)
    return list and adopt_all(self.client, Call, list), err
end

--- Iterates over calls, newest first; raises the error when a page fails.
---@param options? perilune.host.call_filter
---@return fun(): perilune.host.call?
function Calls:each(options)
    return pages(options, function(args)
        return self:list(args)
    end)
end

local function refresh(self, operation, options)
    local args = copy(options)
    args.id = self.id
    local fresh, err = client_of[self]:invoke(operation, args)
    return fresh and replace(self, fresh), err
end

--- Waits until the call has ended; how is in its status.
---@param options? {timeout: number?} seconds
---@return perilune.host.call? self
---@return perilune.error? err
function Call:wait(options)
    return refresh(self, "calls.wait", options)
end

---@return perilune.host.call? self
---@return perilune.error? err
function Call:update()
    return refresh(self, "calls.get")
end

--- Asks the host to end the call.
---@return perilune.host.call? self
---@return perilune.error? err
function Call:cancel()
    return refresh(self, "calls.cancel")
end

--- Puts a dead call back into the queue, with all its attempts.
---@return perilune.host.call? self
---@return perilune.error? err
function Call:requeue()
    return refresh(self, "calls.requeue")
end

--- What the handler answered; the handler's error when the call failed.
---@return any value
---@return perilune.error? err
function Call:get_response()
    return client_of[self]:invoke("calls.result", { id = self.id })
end

---@param options? {first: integer?} lines to leave out
---@return perilune.log? log
---@return perilune.error? err
function Call:get_logs(options)
    local args = copy(options)
    args.id = self.id
    local lines, err = client_of[self]:invoke("calls.log", args)
    return lines and Log.new(lines), err
end

local BROKEN = { truncated = true, connect = true, io = true, timeout = true, protocol = true }
local ATTEMPTS = 5

--- Gives every log line to fn, those written so far and those to come, until the call has ended or fn returns false.
--- A connection that breaks is taken up again where it was.
---@param fn fun(line: perilune.log_line): boolean?
---@return perilune.host.call? self as it ended, or as it was when fn stopped it
---@return perilune.error? err
function Call:follow(fn)
    local stopped, ended, last_id = {}, false, nil
    local failures = 0
    local function on_event(event)
        if event.name == "line" then
            last_id, failures = event.id, 0
            if fn(assert(json.decode(event.data))) == false then
                error(stopped, 0)
            end
        elseif event.name == "end" then
            ended = true
            replace(self, assert(json.decode(event.data)))
        end
    end
    while true do
        local ok, done, err = pcall(client_of[self].invoke, client_of[self], "calls.follow",
            { id = self.id, last_event_id = last_id }, nil, events.parser(on_event))
        if not ok and done ~= stopped then
            error(done, 0)
        elseif not ok or ended then
            return self
        elseif err and not BROKEN[err.code] then
            return nil, err
        end
        failures = failures + 1
        if failures >= ATTEMPTS then
            return nil, err or errors.new { code = "truncated", message = "the log ended too early" }
        end
        tasks.sleep(0.1 * failures)
    end
end

function Call:__tostring()
    return ("call %s of %s (%s)"):format(self.id, self["function"], self.status)
end

---@class perilune.host.dead
local Dead = {}
Dead.__index = Dead

--- Calls that were given up after their attempts.
---@param options? {limit: integer?, before_id: integer?}
---@return perilune.host.call[]? calls newest first
---@return perilune.error? err
function Dead:list(options)
    local list, err = self.client:invoke("dead.list", options)
    return list and adopt_all(self.client, Call, list), err
end

--- Iterates over them, newest first; raises the error when a page fails.
---@param options? {limit: integer?}
---@return fun(): perilune.host.call?
function Dead:each(options)
    return pages(options, function(args)
        return self:list(args)
    end)
end

--- Puts a call back into the queue, with all its attempts.
---@param id integer
---@return perilune.host.call? call
---@return perilune.error? err
function Dead:requeue(id)
    local call, err = self.client:invoke("calls.requeue", { id = id })
    return adopt(self.client, Call, call), err
end

--- Takes a call off the list; its record stays.
---@param id integer
---@return perilune.host.call? call
---@return perilune.error? err
function Dead:delete(id)
    local call, err = self.client:invoke("dead.delete", { id = id })
    return adopt(self.client, Call, call), err
end

---@class perilune.host.client : perilune.client
---@field functions perilune.host.functions
---@field calls perilune.host.calls
---@field dead perilune.host.dead
---@field generators perilune.host.generators
---@field parents perilune.host.parents
---@field files perilune.host.files
local Host = setmetatable({}, { __index = Client })
Host.__index = Host
Host.__name = Client.__name
Host.__close = Client.close
Host.__tostring = Client.__tostring

local START = "; is the host running? start one with `perilune host`"

--- As of any client; a host that can't be connected to is mostly one that isn't running.
---@param operation string
---@param args table?
---@param content? string|{path: string}|file*|fun(): string? what is sent as it is
---@param sink? {path: string}|file*|fun(chunk: string) where a body goes
---@param with_reply? boolean also return the answer's status, headers and bytes
---@return any result
---@return perilune.error|perilune.reply|nil
function Host:invoke(operation, args, content, sink, with_reply)
    local result, extra = Client.invoke(self, operation, args, content, sink, with_reply)
    if result == nil and errors.is(extra) and extra.code == "connect" then
        extra.message = extra.message .. START
    end
    return result, extra
end

--- The host itself: version, doors, limits, sandboxes, calls running and waiting.
---@return table? info
---@return perilune.error? err
function Host:info()
    return self:invoke "info"
end

---@class perilune.host.options : perilune.client_options
---@field url? string where it listens; with token, unless it is the host whose credentials are found
---@field data? string its data folder, where its credentials are

--- A client of a host: of the given url and token; or of the one whose data folder is given; or of this user's own.
--- A url alone is enough for the host whose credentials are found: its token is sent nowhere else.
---@param options? perilune.host.options
---@return perilune.host.client? host nil when there are no credentials for it
---@return perilune.error? err
return function(options)
    local given = copy(options)
    local url, token = credentials(given)
    if not url then
        return nil, token
    end
    given.url, given.data = nil, nil
    given.base_url, given.token = url, token
    local self = setmetatable(Client.new("host", given), Host)
    self.functions = setmetatable({ client = self }, Functions)
    self.calls = setmetatable({ client = self }, Calls)
    self.dead = setmetatable({ client = self }, Dead)
    self.generators = access.generators(self)
    self.parents = access.parents(self)
    self.files = access.files(self)
    self.schedules = schedules(self)
    return self
end
