-- SPDX-License-Identifier: MIT
-- schedule ..., against a real host.
local cjson = require "cjson"
local fixture = require "fixture"
local lu = require "luaunit"
local process = require "process"

local suite = {}
_G.TestSchedules = suite

local host

function suite.setUp()
    host = fixture.new()
    host:deploy "f"
end

function suite.tearDown()
    process.stop_all()
    host:close()
end

function suite.test_create_show_change_delete()
    local text = host:ok("schedule", "create", "nightly", "f", "0 3 * * *", "--zone", "Europe/Berlin", "--data",
        '{"k":[1,null]}', "--missed", "once", "--overlap", "queue", "--description", "every night")
    for _, words in ipairs { "nightly", "At 03:00 AM", "Europe/Berlin", '{"k":[1,null]}', "once", "queue", "never" } do
        lu.assertStrContains(text, words)
    end
    host:fails(1, "schedule", "create", "nightly", "f", "@daily", "--create")
    local shown = cjson.decode(host:ok("schedule", "show", "nightly", "--json"))
    lu.assertEquals(shown.cron, "0 3 * * *")
    lu.assertEquals(shown.data.k[1], 1)
    local times = cjson.decode(host:ok("schedule", "next", "nightly", "-n", "3", "--json"))
    lu.assertEquals(#times, 3)
    lu.assertEquals(times[1], shown.next_at)
    lu.assertStrContains(host:ok("schedule", "list"), "Europe/Berlin")
    lu.assertEquals(#cjson.decode(host:ok("schedule", "list", "--function", "f", "--json")), 1)
    lu.assertEquals(host:ok("schedule", "list", "--function", "g", "--json"), "[]\n")

    lu.assertStrContains(host:ok("schedule", "pause", "nightly"), "paused")
    lu.assertNil(cjson.decode(host:ok("schedule", "show", "nightly", "--json")).next_at)
    lu.assertEquals(cjson.decode(host:ok("schedule", "resume", "nightly", "--json")).paused, false)
    local changed = cjson.decode(host:ok("schedule", "create", "nightly", "f", "@hourly", "--json"))
    lu.assertEquals(changed.id, shown.id)
    lu.assertEquals({ changed.when, changed.timezone, changed.data }, { "Every hour", "UTC", nil })
    lu.assertEquals(host:ok("schedule", "delete", "nightly"), "deleted nightly\n")
    host:fails(4, "schedule", "show", "nightly")
    host:fails(4, "schedule", "delete", "nightly")
end

function suite.test_bad_schedules()
    local said = host:fails(1, "schedule", "create", "s", "f", "0 25 * * *")
    lu.assertStrContains(said, "cron expression '0 25 * * *': column 3: an hour is from 0 to 23, not 25")
    lu.assertStrContains(host:fails(1, "schedule", "create", "s", "f", "@daily", "--zone", "Europe/Berln"),
        "there is no time zone 'Europe/Berln'")
    lu.assertStrContains(host:fails(4, "schedule", "create", "s", "nope", "@daily"), "no function 'nope'")
    host:fails(2, "schedule", "create", "s", "f", "@daily", "--missed", "never")
    host:fails(2, "schedule", "create", "s", "f", "@daily", "--data", "{")
    host:fails(2, "schedule", "next", "s", "-n", "0")
    host:fails(2, "schedule")
end

-- Its calls are there, with the input; a function's deletion takes the schedule with it.
function suite.test_ticks()
    host:ok("schedule", "create", "s", "f", "* * * * * *", "--data", '{"mode":"echo","n":7}', "--missed", "all")
    local ticks
    repeat
        ticks = host:ok("schedule", "show", "s")
    until ticks:find("Called", 1, true)
    local call = ticks:match("Called%s+(%d+)")
    repeat
        local status = cjson.decode(host:ok("show", call, "--json")).status
    until status == "Completed"
    host:ok("delete", "f")
    host:fails(4, "schedule", "show", "s")
end
