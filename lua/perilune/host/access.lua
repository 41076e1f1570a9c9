-- SPDX-License-Identifier: MIT
-- What a host's access service works with: number generators, parents of files, files.

local iterate = require "perilune.iterate"

local PAGE = 100

---@class perilune.host.generator
---@field name string
---@field start integer
---@field step integer
---@field last? integer the number given last
---@field created_at integer milliseconds since 1970
---@field updated_at integer

---@class perilune.host.parent
---@field id string
---@field owner? string who may read and write its files
---@field readers string[] who may read them; "*" is everyone
---@field writers string[] who may read and write them
---@field created_at integer milliseconds since 1970
---@field updated_at integer

---@class perilune.host.file
---@field id integer
---@field parent string
---@field filename string
---@field filesize integer
---@field sha256 string of the content
---@field persno? string who created it
---@field created_at integer milliseconds since 1970
---@field modified_at integer
---@field locked boolean an upload is under way

local function copy(options)
    local to = {}
    for name, value in pairs(options or {}) do
        to[name] = value
    end
    return to
end

-- Pages of `list`, each begun behind the last item of the one before.
local function pages(self, options, cursor, key)
    return iterate(function(position)
        local args = copy(options)
        args.limit, args[cursor] = PAGE, position or args[cursor]
        local items, err = self:list(args)
        if not items then
            return nil, err
        end
        return items, #items == PAGE and items[#items][key] or nil
    end, options and options.limit)
end

---@class perilune.host.generators
local Generators = {}
Generators.__index = Generators

--- Creates a number generator; the same again is no change.
---@param options {name: string, start: integer?, step: integer?} both default to 1
---@return perilune.host.generator? generator
---@return perilune.error? err conflict when there is one with other settings
function Generators:create(options)
    return self.client:invoke("generators.create", options)
end

---@param options? {limit: integer?, after: string?}
---@return perilune.host.generator[]? generators by name
---@return perilune.error? err
function Generators:list(options)
    return self.client:invoke("generators.list", options)
end

--- Iterates over number generators by name; raises the error when a page fails.
---@param options? {limit: integer?, after: string?}
---@return fun(): perilune.host.generator?
function Generators:each(options)
    return pages(self, options, "after", "name")
end

---@param name string
---@return perilune.host.generator? generator
---@return perilune.error? err
function Generators:get(name)
    return self.client:invoke("generators.get", { name = name })
end

--- Deletes a number generator. One of its name begins anew, and gives its numbers again.
---@param name string
---@return true? ok
---@return perilune.error? err
function Generators:delete(name)
    return self.client:invoke("generators.delete", { name = name })
end

---@class perilune.host.parents
local Parents = {}
Parents.__index = Parents

--- Creates a parent of files, or changes who may do what with those of one. Without owner, readers and writers it is
--- open to everyone.
---@param options {id: string, owner: string?, readers: string[]?, writers: string[]?}
---@return perilune.host.parent? parent
---@return perilune.error? err
function Parents:create(options)
    return self.client:invoke("parents.create", options)
end

---@param options? {limit: integer?, after: string?}
---@return perilune.host.parent[]? parents by id
---@return perilune.error? err
function Parents:list(options)
    return self.client:invoke("parents.list", options)
end

--- Iterates over parents by id; raises the error when a page fails.
---@param options? {limit: integer?, after: string?}
---@return fun(): perilune.host.parent?
function Parents:each(options)
    return pages(self, options, "after", "id")
end

---@param id string
---@return perilune.host.parent? parent
---@return perilune.error? err
function Parents:get(id)
    return self.client:invoke("parents.get", { id = id })
end

--- Deletes a parent that has no files.
---@param id string
---@return true? ok
---@return perilune.error? err conflict while it has files
function Parents:delete(id)
    return self.client:invoke("parents.delete", { id = id })
end

---@class perilune.host.files
local Files = {}
Files.__index = Files

---@param options? {limit: integer?, before_id: integer?, parent: string?}
---@return perilune.host.file[]? files newest first
---@return perilune.error? err
function Files:list(options)
    return self.client:invoke("files.list", options)
end

--- Iterates over files, newest first; raises the error when a page fails.
---@param options? {limit: integer?, parent: string?}
---@return fun(): perilune.host.file?
function Files:each(options)
    return pages(self, options, "before_id", "id")
end

---@param id integer
---@return perilune.host.file? file
---@return perilune.error? err
function Files:get(id)
    return self.client:invoke("files.get", { id = id })
end

--- Reads a file's content: into the sink, or as a string without one.
---@param id integer
---@param sink? {path: string}|file*|fun(chunk: string)
---@return string|true|nil content
---@return perilune.error? err
function Files:download(id, sink)
    return self.client:invoke("files.download", { id = id }, nil, sink)
end

---@param id integer
---@return true? ok
---@return perilune.error? err
function Files:delete(id)
    return self.client:invoke("files.delete", { id = id })
end

local function maker(class)
    return function(client)
        return setmetatable({ client = client }, class)
    end
end

return { generators = maker(Generators), parents = maker(Parents), files = maker(Files) }
