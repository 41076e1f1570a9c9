-- SPDX-License-Identifier: MIT
---@meta perilune.core
-- luacheck: ignore 212 241 631

-- What the C module perilune.core offers. Scripts use perilune; this is for those who work on it.
-- Failures are nil and a perilune.error; misuse raises.

---@class perilune.core
---@field version string
---@field null lightuserdata JSON's null, the same as cjson.null
---@field array_metatable table marks a table as an array
---@field codes table<string, string> every error code and its text
local core = {}

--- A pending result. Freed when it is closed or collected; pending, it is cancelled by that.
---@class perilune.core.op
local Op = {}

--- Operations that are waited for together.
---@class perilune.core.queue
local Queue = {}

--- A configured connection to one platform. Closing it ends its operations.
---@class perilune.core.client
local Client = {}

--- JSON text of a value, lossless; the error has the path.
---@param value any
---@return string? text
---@return perilune.error? err
function core.json_encode(value) end

--- Value of a JSON text; the error has line and column.
---@param text string
---@return any value
---@return perilune.error? err
function core.json_decode(text) end

--- Gives a table the metatable of errors.
---@param fields table
---@return perilune.error
function core.error(fields) end

---@param options perilune.client_options token: a string, "" when it comes later by set_token
---@param service? string whose rate limit holds unless the options say one
---@return perilune.core.client
function core.client(options, service) end

--- Starts a service's operation. A wrong option raises before anything is sent.
---@param client perilune.core.client
---@param service string "cdf", "cim", "dataflux", "host"
---@param operation string "functions.list"
---@param args? table
---@param streams? {content: any, sink: any, files: table[]?, progress: boolean?, timeout: number?} progress: an upload's is told
---@return perilune.core.op? op
---@return perilune.error? err
function core.call(client, service, operation, args, streams) end

--- Starts any HTTP request. shape: "none" (the result is true), "json", "bytes", "page", "answer" (by content type).
---@param client perilune.core.client
---@param options {url: string, method: string?, headers: table?, body: any, json: any, sink: any, idempotent: boolean?, no_auth: boolean?, timeout: number?, shape: string?, operation: string?}
---@param shape? string goes before the one in options
---@return perilune.core.op? op
---@return perilune.error|function|nil err_or_source the body, when it is a function: op:feed what it makes
---@return function? sink likewise: give it what op:take gives
function core.request(client, options, shape) end

--- Fields of an answer, of the header_text of a reply: names in lower case, repeated ones joined by ", ".
---@param text string
---@return table<string, string>
function core.headers(text) end

--- An operation that is done after so many seconds.
---@param seconds number
---@return perilune.core.op
function core.sleep(seconds) end

---@return perilune.core.queue
function core.queue() end

--- Milliseconds since 1970-01-01 UTC.
---@return integer
function core.now() end

--- Seconds of a clock that only goes forward.
---@return number
function core.monotonic() end

---@param fd integer
---@return boolean
function core.isatty(fd) end

--- Columns of the terminal; nil when it is none.
---@param fd? integer default 1
---@return integer?
function core.terminal_width(fd) end

--- The folder of the running program.
---@return string? path
---@return perilune.error? err
function core.self_dir() end

--- Becomes the program; returns only when it can't.
---@param path string
---@param arguments string[] without the program's name
---@return nil
---@return perilune.error err
function core.exec(path, arguments) end

--- C objects alive in this process, for tests.
---@return integer
function core.live() end

--- What a host wrote into its data folder, or into the default one.
---@param data_dir? string
---@return string? url
---@return string|perilune.error token_or_err
function core.host_credentials(data_dir) end

---@return string
function core.host_data_dir() end

--- Who runs this program, whatever the environment says; nil when the system has no name for them.
---@return string?
function core.user_name() end

--- Whether two URLs have the same scheme, host and port.
---@param a string
---@param b string
---@return boolean? same
---@return perilune.error? err
function core.same_origin(a, b) end

--- Waits until the operation needs attention, at most so long; yields in a sandbox.
---@param seconds? number
---@return "done"|"more"|"data"|"progress"|nil what nil: the time is over
function Op:wait(seconds) end

--- What wait would return now; nil while it is pending.
---@return "done"|"more"|"data"|"progress"|nil
function Op:attention() end

---@return boolean
function Op:done() end

--- Ends it with the code "cancelled".
function Op:cancel() end

--- How it ended; raises while it is pending.
---@return any value nil alone: no result
---@return perilune.error? err
function Op:result() end

--- Its result, and, when that is no failure and a metatable is given, its reply with that metatable. Closes it; its client
--- uses its place for the next operation, so it must not be looked at any more.
---@param metatable? table
---@return any value
---@return perilune.error|table|nil err_or_reply
function Op:conclude(metatable) end

--- HTTP status of the last answer; 0: none.
---@return integer
function Op:status() end

---@return integer
function Op:attempts() end

--- Of the last answer, names in lower case.
---@return table<string, string>
function Op:headers() end

--- The last answer.
---@return {status: integer, header_text: string, body: string, attempts: integer}
function Op:reply() end

--- Bytes of the last answer.
---@return string
function Op:body() end

---@return integer sent
---@return integer received of an upload: its size
function Op:progress() end

--- The next piece of a body that a function makes; nil ends it; nil and a message fails it.
---@param chunk? string
---@param message? string
---@return boolean wanted whether more is
function Op:feed(chunk, message) end

--- What has arrived for a sink that is a function; nil: nothing.
---@return string?
function Op:take() end

--- Frees it; a pending one is cancelled.
function Op:close() end

--- The value comes out of wait once, when the operation needs attention; it must keep the operation alive,
--- but for an integer: then the caller does.
---@param op perilune.core.op
---@param value? any default: the operation
function Queue:add(op, value) end

---@param op perilune.core.op
function Queue:remove(op) end

--- What stands for the next operation that needs attention; nil when the time is over, or would
--- never be since none is in the queue.
---@param seconds? number
---@return any
function Queue:wait(seconds) end

function Queue:close() end

--- For the next request and the next attempt of those under way.
---@param token string
function Client:set_token(token) end

--- The rate limit of its token; nil alone: none.
---@return integer? limit
---@return number|perilune.error window_or_err seconds
---@return integer remaining
---@return number reset_at seconds since 1970
function Client:limiter() end

function Client:close() end

return core
