-- SPDX-License-Identifier: MIT
-- What the platform's objects share: a class, the client they were got with, lists of them, ids in options.

local errors = require "perilune.error"
local record = require "perilune.record"

local object = {}

local List = {}

local function metatable_of(client, class, methods)
    local metatable = { __index = methods, client = client, class = class }
    for name, value in pairs(methods) do
        if name:sub(1, 2) == "__" then
            metatable[name] = value
        end
    end
    return metatable
end

--- The metatables of a class's objects, and of lists of them, that were got with this client: made once, so that an
--- object costs no more than its fields.
local function bound(client, class)
    local pair = client.classes[class]
    if not pair then
        pair = { one = metatable_of(client, class, class), list = metatable_of(client, class, List) }
        client.classes[class] = pair
    end
    return pair
end

--- What a result ends in that is not what the platform says it is.
---@param class table
---@param value any
---@return nil
---@return perilune.error err
function object.odd(class, value)
    return nil, errors.new {
        code = "protocol", operation = "cdf",
        message = ("the answer holds a %s where a %s should be"):format(type(value), class.__name:match "[^.]+$"),
    }
end

--- Makes a table of fields an object; nil and the error stay as they are.
---@param client perilune.cdf
---@param class table
---@param fields any
---@param err perilune.error?
---@return table?
---@return perilune.error? err
function object.adopt(client, class, fields, err)
    if type(fields) == "table" then
        return setmetatable(fields, bound(client, class).one)
    elseif fields == nil then
        return nil, err
    end
    return object.odd(class, fields)
end

--- The same for a list.
---@param client perilune.cdf
---@param class table
---@param list any
---@param err perilune.error?
---@return perilune.cdf.list?
---@return perilune.error? err
function object.adopt_all(client, class, list, err)
    if list == nil then
        return nil, err
    end
    local metatables = bound(client, class)
    local one = metatables.one
    for i = 1, #list do
        local item = list[i]
        if type(item) ~= "table" then
            return object.odd(class, item)
        end
        setmetatable(item, one)
    end
    return setmetatable(list, metatables.list)
end

--- The client that an object was got with.
---@param self table
---@return perilune.cdf
function object.client(self)
    return getmetatable(self).client
end

local function id_of(value)
    if type(value) == "table" and math.type(value.id) == "integer" then
        return value.id
    end
    return value
end

--- The options, with ids where objects were given: {id = fn}, {id = {fn, 7}}, {function_id = fn}.
---@param options table?
---@return table?
function object.plain(options)
    local plain = options
    for _, name in ipairs { "id", "ids", "function_id", "call_id", "schedule_id" } do
        local given = options and options[name]
        local value = id_of(given)
        if type(value) == "table" then
            value = {}
            for i, item in ipairs(given) do
                value[i] = id_of(item)
            end
        end
        if value ~= given then
            plain = plain == options and record.with(options, {}) or plain
            plain[name] = value
        end
    end
    return plain
end

--- Some fields of an object, in a table of their own.
---@param self table
---@param names string[]
---@return table
function object.pick(self, names)
    local picked = {}
    for _, name in ipairs(names) do
        picked[name] = self[name]
    end
    return picked
end

---@class perilune.cdf.list
List.__name = "perilune.cdf.list"
List.__array = true -- an empty one is [] as JSON

--- The first item with this id or this external id.
---@param options {id: integer?, external_id: string?}
---@return table? item
function List:get(options)
    for _, item in ipairs(self) do
        if (options.id and item.id == options.id) or (options.external_id and item.external_id == options.external_id)
        then
            return item
        end
    end
    return nil
end

---@return integer[]
function List:as_ids()
    local ids = {}
    for i, item in ipairs(self) do
        ids[i] = item.id
    end
    return ids
end

--- Raises when an item has none.
---@return string[]
function List:as_external_ids()
    local ids = {}
    for i, item in ipairs(self) do
        ids[i] = item.external_id or error(("%s has no external id"):format(item), 2)
    end
    return ids
end

--- What would create the same again, for each item. Of schedules it asks the platform for their input.
---@return table[]? list
---@return perilune.error? err
function List:as_write()
    local list = {}
    for i, item in ipairs(self) do
        local write, err = item:as_write()
        if not write then
            return nil, err
        end
        list[i] = write
    end
    return list
end

function List:__tostring()
    local lines = { ("%d of %s"):format(#self, getmetatable(self).class.__name) }
    for i, item in ipairs(self) do
        lines[i + 1] = "  " .. tostring(item)
    end
    return table.concat(lines, "\n")
end

return object
