-- SPDX-License-Identifier: MIT
-- The objects of an event know each other: document.part, part.documents, engineering_change.parts, ... They are found
-- when they are asked for, and are never part of the object: pairs and JSON see what came.

local json = require "perilune.json"

-- What identifies an object of a kind: the values of these fields with @ between them.
local ID = {
    document = { "z_nummer", "z_index" }, part = { "teilenummer", "t_index" }, engineering_change = { "cdb_ec_id" },
    change_order = { "cs_change_id" }, change_request = { "cs_change_id" }, briefcase = { "cdb_object_id" },
}

-- Name of a link: the kind that it leads to, and the field with the ids, or the fields that are the id of one object.
local function many(kind, ids)
    return { kind = kind, ids = ids }
end

local OF_PART = { kind = "part", id = { "teilenummer", "t_index" } }
local function of_change(prefix)
    return {
        parts = many("part", "part_ids"), documents = many("document", "document_ids"),
        [prefix .. "_parts"] = many("part", prefix .. "_part_ids"),
        [prefix .. "_documents"] = many("document", prefix .. "_document_ids"),
        accompanying_documents = many("document", "accompanying_document_ids"),
    }
end

local LINKS = {
    document = { part = OF_PART },
    part = { documents = many("document", "document_ids") },
    bom_item = { part = OF_PART },
    engineering_change = of_change "planned_changes",
    change_order = of_change "affected",
    change_request = of_change "affected",
    briefcase = {
        parts = many("part", "part_ids"), documents = many("document", "document_ids"),
        engineering_changes = many("engineering_change", "engineering_change_ids"),
        change_orders = many("change_order", "change_order_ids"),
        change_requests = many("change_request", "change_request_ids"),
    },
    workflow = {
        local_briefcases = many("briefcase", "local_briefcase_ids"),
        global_briefcases = many("briefcase", "global_briefcase_ids"),
    },
}

local function id_of(object, fields)
    local parts = {}
    for i, field in ipairs(fields) do
        local value = rawget(object, field)
        if type(value) ~= "string" then
            return nil
        end
        parts[i] = value
    end
    return parts[1] ~= "" and table.concat(parts, "@") or nil
end

--- All objects of a kind in the order in which they came.
local function collect(data)
    local all = {}
    for kind in pairs(LINKS) do
        local found = {}
        local one, list = data[kind], data[kind .. "s"]
        if type(one) == "table" and not json.is_array(one) then
            found[1] = one
        end
        for _, object in ipairs(json.is_array(list) and list or {}) do
            if type(object) == "table" and not json.is_array(object) then
                found[#found + 1] = object
            end
        end
        all[kind] = found
    end
    return all
end

local function follow(all, object, link)
    if link.id then
        local wanted = id_of(object, link.id)
        for _, candidate in ipairs(wanted and all[link.kind] or {}) do
            if id_of(candidate, ID[link.kind]) == wanted then
                return candidate
            end
        end
        return nil
    end
    local wanted, found = {}, json.array {}
    local ids = rawget(object, link.ids)
    for _, id in ipairs(type(ids) == "table" and ids or {}) do
        wanted[id] = true
    end
    for _, candidate in ipairs(all[link.kind]) do
        local id = id_of(candidate, ID[link.kind])
        if id and wanted[id] then
            found[#found + 1] = candidate
        end
    end
    return found
end

--- Lets the objects of an event's data know each other.
---@param data table
return function(data)
    local all = collect(data)
    for kind, links in pairs(LINKS) do
        local known = setmetatable({}, { __mode = "k" }) -- object to what its links led to
        local class = {
            __name = "perilune.cim." .. kind,
            __index = function(object, name)
                local link = links[name]
                if not link then
                    return nil
                end
                known[object] = known[object] or {}
                if known[object][name] == nil then
                    known[object][name] = follow(all, object, link)
                end
                return known[object][name]
            end,
        }
        for _, object in ipairs(all[kind]) do
            setmetatable(object, class)
        end
    end
end
