-- SPDX-License-Identifier: MIT
-- CONTACT CIM Database Cloud, Functions Access Service. Methods and options carry the names of its Python SDK.

local Client = require "perilune.client"
local media = require "perilune.media"
local record = require "perilune.record"

---@class perilune.cim.options : perilune.client_options
---@field url string the service_url that a function is given; of a perilune host its base and /cim
---@field token string|fun(): string?, any the service_token
---@field persno? string the user's id, for uploads that name none

---@alias perilune.cim.stream string|{path: string}|file*|fun(): string? content: bytes; a path; from an open file's
--- position on; or pieces until nil

---@class perilune.cim.generator
---@field package client perilune.client
local Generator = {}
Generator.__index = Generator

--- The next number of a generator.
---@param name string
---@return integer? number
---@return perilune.error? err
function Generator:get_number(name)
    return self.client:invoke("generator.get_number", { name = name })
end

--- The next numbers of a generator.
---@param name string
---@param count integer 1 to 100
---@return integer[]? numbers
---@return perilune.error? err
function Generator:get_numbers(name, count)
    return self.client:invoke("generator.get_numbers", { name = name, count = count })
end

--- Runs a function of the caller in such a way that a raise first ends the upload in order (which gives up the lock),
--- then goes on.
local function guard(raised, f)
    return function(...)
        if raised.yes then
            return nil, "it raised an error"
        end
        local ok, value, err = pcall(f, ...)
        if ok then
            return value, err
        end
        raised.yes, raised.value = true, value
        return nil, "it raised an error"
    end
end

local function upload(self, operation, options)
    local args = record.with(options, {})
    local content, on_progress, raised = args.stream, args.on_progress, {}
    args.stream, args.on_progress = nil, nil
    if content == nil then
        error(("cim.%s: option 'stream' is required"):format(operation), 3)
    elseif on_progress ~= nil and type(on_progress) ~= "function" then
        error(("cim.%s: option 'on_progress' must be a function"):format(operation), 3)
    end
    if args.persno == nil or args.persno == "" then
        args.persno = self.persno
    end
    if args.persno == nil then
        error(("cim.%s: no persno: give it here or to perilune.cim"):format(operation), 3)
    end
    if type(content) == "function" then
        content = guard(raised, content)
    end
    local result, err = self.client:invoke(operation, args, content, nil, false, on_progress)
    if raised.yes then
        error(raised.value, 0)
    end
    return result, err
end

---@class perilune.cim.file_upload
---@field package client perilune.client
---@field package persno string?
local FileUpload = {}
FileUpload.__index = FileUpload

---@class perilune.cim.upload_options
---@field stream perilune.cim.stream
---@field persno? string the user's id; default: the client's
---@field check_access? boolean whether the user must have the right; default true
---@field filesize? integer bytes; needed when the stream can't seek
---@field concurrency? integer chunks under way at once, 1 to 16, of a stream that can seek; default 1
---@field on_progress? fun(sent: integer, total: integer) bytes; called in the coroutine that uploads
---@field timeout? number seconds

---@class perilune.cim.new_file : perilune.cim.upload_options
---@field parent_object_id string cdb_object_id of what the file belongs to
---@field filename string

--- Makes a file object with this content.
---@param options perilune.cim.new_file
---@return string? file_object_id
---@return perilune.error? err
function FileUpload:upload_new_file(options)
    return upload(self, "file_upload.upload_new_file", options)
end

---@class perilune.cim.file_content : perilune.cim.upload_options
---@field file_object_id string
---@field delete_derived_files? boolean converted files are removed and made anew; default true

--- Gives a file object new content.
---@param options perilune.cim.file_content
---@return true? ok
---@return perilune.error? err
function FileUpload:upload_file_content(options)
    return upload(self, "file_upload.upload_file_content", options)
end

---@class perilune.cim.temp_file
---@field package client perilune.client
---@field package persno string?
local TempFile = {}
TempFile.__index = TempFile

---@class perilune.cim.temp_options
---@field stream perilune.cim.stream
---@field filename string
---@field mimetype? string default: by the name
---@field persno? string who may fetch it; default: the client's
---@field filesize? integer bytes; needed when the stream can't seek
---@field concurrency? integer
---@field on_progress? fun(sent: integer, total: integer)
---@field timeout? number seconds

--- Makes a file that its user can fetch once. (Not released upstream yet.)
---@param options perilune.cim.temp_options
---@return string? temp_file_id
---@return perilune.error? err
function TempFile:upload(options)
    if options.mimetype == nil and type(options.filename) == "string" then
        options = record.with(options, { mimetype = media.of_name(options.filename) })
    end
    return upload(self, "temp_file.upload", options)
end

---@class perilune.cim.files only a perilune host has these
---@field package client perilune.client
local Files = {}
Files.__index = Files

---@class perilune.cim.file
---@field file_object_id string
---@field parent_object_id string
---@field filename string
---@field filesize integer
---@field sha256 string
---@field persno string who wrote it
---@field created_time integer milliseconds since 1970
---@field modified_time integer
---@field locked boolean

---@param file_object_id string
---@return perilune.cim.file? file
---@return perilune.error? err
function Files:retrieve(file_object_id)
    return self.client:invoke("files.retrieve", { file_object_id = file_object_id })
end

--- A file's content: the bytes, or true when a sink took them.
---@param file_object_id string
---@param sink? {path: string}|file*|fun(chunk: string)
---@return string|true|nil content
---@return perilune.error? err
function Files:download(file_object_id, sink)
    return self.client:invoke("files.download", { file_object_id = file_object_id }, nil, sink)
end

---@class perilune.cim
---@field generator perilune.cim.generator
---@field file_upload perilune.cim.file_upload
---@field temp_file perilune.cim.temp_file
---@field files perilune.cim.files
---@field client perilune.client for other requests to the service
local Cim = {}
Cim.__index = Cim
Cim.__name = "perilune.cim"

--- Replaces the token, for the next request.
---@param token string
function Cim:set_token(token)
    self.client:set_token(token)
end

--- The rate limit of the token; nil: none.
---@return perilune.limiter? limiter
---@return perilune.error? err
function Cim:limiter()
    return self.client:limiter()
end

--- Ends what is under way and closes the connections.
function Cim:close()
    self.client:close()
end

Cim.__close = Cim.close

function Cim:__tostring()
    return tostring(self.client)
end

---@param options perilune.cim.options
---@return perilune.cim
return function(options)
    if type(options) ~= "table" or options.url == nil or options.url == "" then
        error("cim: no service url was given: perilune.cim { url = ..., token = ... }", 3)
    elseif options.token == nil or options.token == "" then
        error("cim: no service token was given: perilune.cim { url = ..., token = ... }", 3)
    end
    local given = record.with(options, { base_url = tostring(options.url):match "^%s*(.-)%s*$" })
    given.url, given.persno = nil, nil
    local client = Client.new("cim", given)
    local persno = options.persno ~= "" and options.persno or nil
    local function part(class)
        return setmetatable({ client = client, persno = persno }, class)
    end
    return setmetatable({
        client = client, generator = part(Generator), file_upload = part(FileUpload), temp_file = part(TempFile),
        files = part(Files),
    }, Cim)
end
