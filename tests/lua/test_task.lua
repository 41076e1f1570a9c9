-- SPDX-License-Identifier: MIT
-- Tasks: concurrency, order, cancellation, errors. No test measures time to pass.
local core = require "perilune.core"
local errors = require "perilune.error"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestTask = suite

function suite.test_sleep_blocks_outside_a_task()
    local before = core.monotonic()
    lu.assertTrue(perilune.sleep(0.02))
    lu.assertTrue(core.monotonic() - before >= 0.015)
end

function suite.test_run_returns_what_the_function_returned()
    lu.assertEquals({ perilune.run(function(a, b)
        perilune.sleep(0)
        return a + b, nil, "third"
    end, 1, 2) }, { 3, nil, "third" })
    lu.assertEquals(select("#", perilune.run(function() return nil, nil end)), 2)
end

function suite.test_run_in_a_task_just_calls()
    lu.assertEquals(perilune.run(function()
        return perilune.run(function(x) return x end, 5)
    end), 5)
end

function suite.test_run_waits_for_what_was_spawned()
    local done = {}
    perilune.run(function()
        for i = 1, 3 do
            perilune.spawn(function()
                perilune.sleep(0.001 * i)
                done[#done + 1] = i
            end)
        end
    end)
    lu.assertEquals(#done, 3)
end

function suite.test_tasks_interleave_where_they_wait()
    local trace = {}
    perilune.gather(function()
        trace[#trace + 1] = "a1"
        perilune.sleep(0.02)
        trace[#trace + 1] = "a2"
    end, function()
        trace[#trace + 1] = "b1"
        perilune.sleep(0)
        trace[#trace + 1] = "b2"
    end)
    lu.assertEquals(trace, { "a1", "b1", "b2", "a2" })
end

function suite.test_spawn_and_await_outside_a_task()
    local task = perilune.spawn(function(x)
        perilune.sleep(0.001)
        return x * 2, "more"
    end, 21)
    lu.assertEquals(task:status(), "ready")
    lu.assertEquals({ task:await() }, { 42, "more" })
    lu.assertEquals({ task:await() }, { 42, "more" })
    lu.assertEquals(tostring(task), "perilune.task (done)")
end

function suite.test_several_tasks_await_one()
    local results = perilune.run(function()
        local one = perilune.spawn(function()
            perilune.sleep(0.005)
            return "one"
        end)
        local function wait() return one:await() end
        return perilune.gather(wait, wait, wait)
    end)
    lu.assertEquals(results, { "one", "one", "one" })
end

function suite.test_cancel_closes_what_is_to_be_closed_and_runs_no_more()
    local closed, after = false, false
    perilune.run(function()
        local task = perilune.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() closed = true end })
            perilune.sleep(3600)
            after = true
        end)
        perilune.sleep(0.001)
        lu.assertEquals(task:status(), "waiting")
        task:cancel()
        lu.assertEquals(task:status(), "cancelled")
        local value, err = task:await()
        lu.assertNil(value)
        lu.assertEquals(err.code, "cancelled")
        task:cancel()
    end)
    lu.assertTrue(closed)
    lu.assertFalse(after)
end

function suite.test_cancel_before_the_first_step()
    local ran = false
    local task = perilune.spawn(function() ran = true end)
    task:cancel()
    lu.assertEquals(select(2, task:await()).code, "cancelled")
    perilune.sleep(0)
    lu.assertFalse(ran)
end

function suite.test_a_task_can_not_cancel_itself_or_wait_for_itself()
    perilune.run(function()
        local task
        task = perilune.spawn(function()
            lu.assertErrorMsgContains("can't cancel itself", task.cancel, task)
            lu.assertErrorMsgContains("can't wait for itself", task.await, task)
        end)
        task:await()
    end)
end

function suite.test_waiting_in_a_circle_is_an_error_not_a_hang()
    local a, b
    lu.assertErrorMsgContains("all tasks wait for each other", perilune.run, function()
        a = perilune.spawn(function() b:await() end)
        b = perilune.spawn(function() a:await() end)
        a:await()
    end)
end

function suite.test_what_a_task_raises_is_raised_by_await_and_by_run()
    local failure = { "any value" }
    local ok, raised = pcall(perilune.run, function()
        perilune.sleep(0)
        error(failure)
    end)
    lu.assertFalse(ok)
    lu.assertTrue(raised == failure)
    perilune.run(function()
        local task = perilune.spawn(function() error("boom", 0) end)
        lu.assertEquals({ pcall(task.await, task) }, { false, "boom" })
    end)
end

function suite.test_what_nobody_awaits_is_raised_by_run_at_its_end()
    local finished = false
    lu.assertErrorMsgEquals("lost", perilune.run, function()
        perilune.spawn(function() error("lost", 0) end)
        perilune.sleep(0.001)
        finished = true
    end)
    lu.assertTrue(finished)
end

function suite.test_a_failing_run_cancels_what_it_spawned()
    local closed = false
    lu.assertErrorMsgEquals("main failed", perilune.run, function()
        perilune.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() closed = true end })
            perilune.sleep(3600)
        end)
        perilune.sleep(0.001)
        error("main failed", 0)
    end)
    lu.assertTrue(closed)
end

---- gather ----

function suite.test_gather_keeps_the_order()
    local functions = {}
    for i = 1, 50 do
        functions[i] = function()
            perilune.sleep((50 - i) / 10000)
            return i
        end
    end
    local results = perilune.gather(functions)
    for i = 1, 50 do
        lu.assertEquals(results[i], i)
    end
    lu.assertEquals(perilune.gather {}, {})
    lu.assertEquals(perilune.gather(), {})
end

function suite.test_gather_concurrency()
    local running, most = 0, 0
    local functions = {}
    for i = 1, 20 do
        functions[i] = function()
            running = running + 1
            most = math.max(most, running)
            perilune.sleep(0.001)
            running = running - 1
            return i
        end
    end
    lu.assertEquals(#perilune.gather(functions, { concurrency = 3 }), 20)
    lu.assertEquals(most, 3)
end

function suite.test_gather_stops_at_the_first_failure_and_cancels_the_siblings()
    local closed, started = 0, 0
    local failure = errors.new { code = "conflict", message = "taken" }
    local function slow()
        started = started + 1
        local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
        perilune.sleep(3600)
    end
    local results, err = perilune.gather(slow, function()
        perilune.sleep(0.001)
        return nil, failure
    end, slow, slow)
    lu.assertNil(results)
    lu.assertTrue(err == failure)
    lu.assertEquals({ started, closed }, { 3, 3 })
end

function suite.test_gather_takes_a_raised_error_table_as_failure_and_passes_bugs_on()
    local failure = errors.new { code = "conflict", message = "taken" }
    local results, err = perilune.gather(function() perilune.sleep(3600) end, function() error(failure) end)
    lu.assertNil(results)
    lu.assertTrue(err == failure)
    lu.assertErrorMsgContains("attempt to", perilune.gather, function() return nil .. "x" end,
        function() perilune.sleep(3600) end)
end

function suite.test_gather_settle()
    local failure = errors.new { code = "conflict", message = "taken" }
    local results = perilune.gather(function() return 1 end, function() return nil, failure end,
        function() error(failure) end, function() end, { settle = true })
    lu.assertEquals(results[1], { ok = true, value = 1 })
    lu.assertEquals(results[2].ok, false)
    lu.assertTrue(results[2].error == failure)
    lu.assertTrue(results[3].error == failure)
    lu.assertEquals(results[4], { ok = true })
end

function suite.test_cancelling_a_gathering_task_cancels_its_children()
    local closed = 0
    perilune.run(function()
        local function slow()
            local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
            perilune.sleep(3600)
        end
        local task = perilune.spawn(function() return perilune.gather(slow, slow) end)
        perilune.sleep(0.001)
        task:cancel()
    end)
    lu.assertEquals(closed, 2)
end

function suite.test_gather_nests()
    local function pair(n)
        return function()
            return perilune.gather(function() perilune.sleep(0.001) return n end, function() return -n end)
        end
    end
    lu.assertEquals(perilune.gather(pair(1), pair(2)), { { 1, -1 }, { 2, -2 } })
end

function suite.test_misuse_is_refused()
    lu.assertErrorMsgContains("argument 2 is a number, not a function", perilune.gather, print, 5)
    lu.assertErrorMsgContains("unknown option 'concurency'", perilune.gather, print, { concurency = 1 })
    lu.assertErrorMsgContains("concurrency must be", perilune.gather, { print }, { concurrency = 0 })
    lu.assertErrorMsgContains("number expected", perilune.sleep, "soon")
    lu.assertErrorMsgContains("seconds from 0 on", perilune.sleep, -1)
end

---- the primitives below ----

function suite.test_a_queue_gives_what_is_done_first()
    local queue <close> = core.queue()
    local slow <close> = core.sleep(0.05)
    local fast <close> = core.sleep(0)
    queue:add(slow)
    queue:add(fast)
    lu.assertTrue(queue:wait() == fast)
    lu.assertNil(queue:wait(0))
    lu.assertTrue(queue:wait() == slow)
    queue:add(slow)
    lu.assertTrue(queue:wait() == slow) -- done already
    queue:add(slow)
    queue:remove(slow)
    lu.assertNil(queue:wait(0))
    lu.assertErrorMsgContains("perilune.op expected", queue.add, queue, {})
end

function suite.test_a_queue_wakes_for_an_operation_that_is_closed()
    local queue <close> = core.queue()
    local op = core.sleep(3600)
    queue:add(op)
    op:close()
    lu.assertTrue(queue:wait() == op)
    local result, err = op:result()
    lu.assertNil(result)
    lu.assertEquals(err.code, "closed")
end

function suite.test_an_operation_can_be_waited_for_with_a_limit()
    local op <close> = core.sleep(3600)
    lu.assertNil(op:wait(0.001))
    lu.assertFalse(op:done())
    lu.assertErrorMsgContains("pending", op.result, op)
    op:cancel()
    lu.assertEquals(op:wait(), "done")
    local result, err = op:result()
    lu.assertNil(result)
    lu.assertEquals(err.code, "cancelled")
end

function suite.test_everything_is_freed_without_being_closed()
    for _ = 1, 10 do
        core.sleep(3600)
        local queue = core.queue()
        queue:add(core.sleep(3600))
    end
    lu.assertTrue(core.live() > 0)
end

function suite.test_ctrl_c_interrupts_a_script_that_waits()
    local child = support.start { "/usr/bin/lua5.4", "-e", ([[
        package.path, package.cpath = %q, %q
        local perilune = require "perilune"
        print "waiting"
        io.stdout:flush()
        perilune.sleep(3600)
    ]]):format(package.path, package.cpath) }
    -- A sanitized module needs its runtime first: then the child can't load it, and the signal ends it all the same.
    local ok = pcall(child.line, child)
    child:kill "sigint"
    child:wait()
    if ok then
        lu.assertStrContains(child.err, "interrupted!")
    end
end

function suite.tearDown()
    support.assert_clean()
end
