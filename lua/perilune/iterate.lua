-- SPDX-License-Identifier: MIT
-- Iterators over pages, for `for ... in x:each{} do`. A failure in the middle of a loop raises the error table.

--- fetch(cursor) returns a list and the cursor of the page after it (nil: the last), or nil and an error. Ends after
--- `limit` items. The fourth value ends the iteration when the loop is left early.
---@param fetch fun(cursor: any): any[]?, any
---@param limit? integer
return function(fetch, limit)
    local page, cursor, position, left = nil, nil, 0, limit or math.huge
    local closed, started = false, false
    local function next_item()
        while not closed and left > 0 do
            if page and position < #page then
                position, left = position + 1, left - 1
                return page[position]
            end
            if started and cursor == nil then
                break
            end
            page, started = nil, true -- one page at a time is held
            local list, after = fetch(cursor)
            if not list then
                error(after, 0)
            end
            page, cursor, position = list, after, 0
        end
        page, closed = nil, true
        return nil
    end
    local guard = setmetatable({}, {
        __close = function()
            page, closed = nil, true
        end,
    })
    return next_item, nil, nil, guard
end
