-- SPDX-License-Identifier: MIT
-- perilune.map: one function for every item, so many at once, failures one by one.
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestMap = suite

function suite.test_results_and_errors_by_index()
    local running, most = 0, 0
    local list = {}
    for i = 1, 500 do
        list[i] = i
    end
    local results, errors = perilune.map(list, function(item, index)
        lu.assertEquals(item, index)
        running = running + 1
        most = math.max(most, running)
        perilune.sleep(0.0001)
        running = running - 1
        if item % 100 == 0 then
            return nil, perilune.error.new { code = "timeout", message = "item " .. item }
        end
        return item * 2
    end, { concurrency = 7 })
    lu.assertEquals(most, 7)
    local failed = 0
    for i = 1, 500 do
        if i % 100 == 0 then
            lu.assertNil(results[i])
            lu.assertEquals(errors[i].message, "item " .. i)
            failed = failed + 1
        else
            lu.assertEquals(results[i], i * 2)
            lu.assertNil(errors[i])
        end
    end
    lu.assertEquals(failed, 5)
end

function suite.test_nothing_fails()
    local results, errors = perilune.map({ "a", "b" }, string.upper)
    lu.assertEquals(results, { "A", "B" })
    lu.assertNil(errors)
    results, errors = perilune.map({}, error)
    lu.assertEquals({ results, errors }, { {}, nil })
end

function suite.test_a_bug_ends_all()
    lu.assertErrorMsgContains("attempt to", perilune.map, { 1, 2 }, function(item) return item.x.y end)
    lu.assertErrorMsgContains("map: unknown option 'concurency'", perilune.map, {}, print, { concurency = 1 })
end

function suite.tearDown()
    support.assert_clean()
end
