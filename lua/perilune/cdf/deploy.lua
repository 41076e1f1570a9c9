-- SPDX-License-Identifier: MIT
-- Deploying: creating a function, or replacing it when it has changed. The platform can only delete and create, and the
-- schedules go with the function: they are read before and created again after.

local source = require "perilune.cdf.source"
local record = require "perilune.record"

local HASH = "perilune_hash" -- in the function's metadata

local function packaging_options(options)
    local left = record.with(options, {})
    left.force, left.client_credentials = nil, nil
    left.external_id = options.external_id or options.name
    return left
end

--- The schedules of a function, as they would be created again, and their ids.
local function schedules_of(functions, fn)
    local list, err = functions.schedules:list { function_id = fn.id, limit = -1 }
    if not list then
        return nil, err
    end
    local kept = {}
    for i, schedule in ipairs(list) do
        local write
        write, err = schedule:as_write()
        if not write then
            return nil, err
        end
        kept[i] = { id = schedule.id, write = write }
    end
    return kept
end

--- Creates the schedules for the new function. What fails is returned.
local function restore(functions, fn, kept, credentials)
    local lost = {}
    for _, old in ipairs(kept) do
        local write = record.with(old.write, { function_id = fn.id, client_credentials = credentials })
        write.function_external_id = nil
        local ok, err = functions.schedules:create(write)
        if ok then
            -- It went with the function, or the platform let it stay: one of the two is enough.
            functions.schedules:delete { id = old.id }
        else
            lost[#lost + 1] = { schedule = old.write, error = err }
        end
    end
    return #lost > 0 and lost or nil
end

local function hash_in(fn)
    return type(fn.metadata) == "table" and fn.metadata[HASH] or nil
end

--- Somebody else deployed at the same time: theirs is as good, if it is the same.
local function theirs(functions, options, hash, err)
    local fn = functions:retrieve { external_id = options.external_id }
    if fn and hash_in(fn) == hash then
        return fn
    end
    return nil, err
end

local function is_duplicate(err)
    return err.duplicated ~= nil or err.code == "conflict"
end

local function create(functions, options, hash)
    local fn, err = functions:create(options)
    if not fn and is_duplicate(err) then
        fn, err = theirs(functions, options, hash, err)
        return fn, err, fn ~= nil
    end
    return fn, err, false
end

local function all_lost(kept)
    local list = {}
    for i, old in ipairs(kept) do
        list[i] = old.write
    end
    return list
end

--- The old function is gone and the new one could not be created: says so, and what became of the schedules. When
--- somebody else has created another in the meantime, that one gets them.
local function not_replaced(functions, options, kept, given, err)
    local other = is_duplicate(err) and functions:retrieve { external_id = options.external_id }
    if not other then
        err.message = ("the function was deleted, and could not be created again: %s"):format(err.message)
        err.schedules = all_lost(kept)
        return err
    end
    err.message = ("somebody else deployed another at the same time: %s"):format(err.message)
    local lost = restore(functions, other, kept, given.client_credentials)
    err.schedules = {}
    for i, one in ipairs(lost or {}) do
        err.schedules[i] = one.schedule
    end
    return err
end

--- Deletes the old function; true when it was there and is gone by this.
local function delete(functions, old)
    local ok, err = functions:delete { id = old.id }
    if ok then
        return true
    elseif err.code == "not_found" then
        return false
    end
    return nil, err
end

local function replace(functions, old, options, given, hash)
    local kept, err = schedules_of(functions, old)
    if not kept then
        return nil, err
    end
    local deleted
    deleted, err = delete(functions, old)
    if deleted == nil then
        return nil, err
    elseif not deleted then
        kept = {} -- whoever deleted it has them, and creates them again
    end
    local fn
    fn, err = create(functions, options, hash)
    if not fn then
        return nil, not_replaced(functions, options, kept, given, err)
    end
    return fn, "replaced", restore(functions, fn, kept, given.client_credentials)
end

--- What was uploaded, in place of where it came from.
local function uploaded(options, upload)
    local left = record.with(options, { file_id = upload.file_id, function_path = upload.function_path })
    left.folder, left.source, left.exclude, left.data_set_id, left.skip_folder_validation = nil, nil, nil, nil, nil
    left.metadata = record.with(options.metadata, { [HASH] = upload.hash })
    return left
end

---@param functions perilune.cdf.functions
---@param options perilune.cdf.deploy_options
---@return perilune.cdf.function? fn
---@return string|perilune.error what_or_err
---@return table[]? lost
return function(functions, options)
    local client = functions.client
    local prepared, err = source.prepare(packaging_options(options))
    if not prepared then
        return nil, err
    end
    local package
    package, err = client:invoke("functions.package", prepared)
    if not package then
        return nil, source.explain(options, err)
    end
    local old
    old, err = functions:retrieve { external_id = prepared.external_id }
    if err then
        return nil, err
    end
    local force = options.force
    if force == nil then
        force = package.hidden
    end
    if old and not force and hash_in(old) == package.hash and old.status ~= "Failed" then
        return old, "unchanged"
    end
    local upload
    upload, err = client:invoke("functions.upload", prepared)
    if not upload then
        return nil, err
    end
    local ready = uploaded(prepared, upload)
    if old then
        return replace(functions, old, ready, options, upload.hash)
    end
    local fn, others
    fn, err, others = create(functions, ready, upload.hash)
    if not fn then
        return nil, err
    end
    return fn, others and "unchanged" or "created"
end
