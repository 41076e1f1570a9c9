-- SPDX-License-Identifier: MIT
-- Concluded operations, whose places are used again: nothing of one may show in the next.
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestConclude = suite

suite.tearDown = support.assert_clean

function suite.test_a_concluded_operation_makes_room_for_the_next()
    local server <close> = support.server { { path = "/a", reply = "one", headers = "X-A: 1\r\n" },
        { path = "/b", status = 404, reply = "none" }, { path = "/c", reply = "three" } }
    local client <close> = core.client { base_url = server.url, retry = false }
    local metatable = {}
    local first = assert(core.request(client, { url = "/a", headers = { ["X-Mine"] = "1" } }, "none"))
    lu.assertErrorMsgContains("pending", first.conclude, first)
    first:wait()
    local ok, reply = first:conclude(metatable)
    lu.assertTrue(ok)
    lu.assertEquals({ reply.status, reply.body, reply.attempts, getmetatable(reply) }, { 200, "one", 1, metatable })
    lu.assertEquals(core.headers(reply.header_text)["x-a"], "1")

    local second = assert(core.request(client, { url = "/b" }, "none"))
    lu.assertTrue(second == first)
    second:wait()
    local none, err = second:conclude(metatable)
    lu.assertNil(none)
    lu.assertEquals({ err.code, err.body }, { "not_found", "none" })

    local third <close> = assert(core.request(client, { url = "/c" }, "bytes"))
    lu.assertTrue(third == first)
    third:wait()
    lu.assertEquals({ third:conclude() }, { "three" })
    lu.assertNil(server:stop()[3].headers["x-mine"])
end

function suite.test_what_is_still_in_a_queue_is_not_used_again()
    local server <close> = support.server { { path = "/", times = 2 } }
    local client <close> = core.client { base_url = server.url }
    local queue <close> = core.queue()
    local first = assert(core.request(client, { url = "/" }, "none"))
    queue:add(first)
    first:wait()
    lu.assertTrue(first:conclude())
    local second <close> = assert(core.request(client, { url = "/" }, "none"))
    lu.assertFalse(second == first)
    lu.assertTrue(queue:wait() == first)
end

function suite.test_a_number_in_a_queue_holds_the_place_until_it_is_taken_or_the_queue_closes()
    local server <close> = support.server { { path = "/", times = 5 } }
    local client <close> = core.client { base_url = server.url }
    local function concluded_in(queue)
        local op = assert(core.request(client, { url = "/" }, "none"))
        queue:add(op, 7)
        op:wait()
        lu.assertTrue(op:conclude())
        return op
    end
    local queue <close> = core.queue()
    local first = concluded_in(queue)
    local second <close> = assert(core.request(client, { url = "/" }, "none"))
    lu.assertFalse(second == first)
    lu.assertEquals(queue:wait(), 7)
    lu.assertNil(queue:wait())

    local other = core.queue()
    local third = concluded_in(other)
    other:close()
    local fourth <close> = assert(core.request(client, { url = "/" }, "none"))
    lu.assertFalse(fourth == third or fourth == first)
    queue:add(fourth, 8)
    lu.assertEquals(queue:wait(), 8)
end

function suite.test_a_client_keeps_only_so_many_places()
    local server <close> = support.server { { path = "/", times = 400 } }
    local client <close> = core.client { base_url = server.url }
    local function start(count)
        local ops = {}
        for i = 1, count do
            ops[i] = assert(core.request(client, { url = "/" }, "none"))
        end
        return ops
    end
    local earlier = {}
    for _, op in ipairs(start(140)) do
        op:wait()
        lu.assertTrue(op:conclude())
        earlier[op] = true
    end
    local again = 0
    local ops = start(140)
    for _, op in ipairs(ops) do
        again = again + (earlier[op] and 1 or 0)
        op:wait()
        lu.assertTrue(op:conclude())
    end
    lu.assertEquals(again, 128)
end

function suite.test_conclude_of_a_closed_operation_fails_and_gives_nothing_back()
    local server <close> = support.server { { path = "/", times = 2 } }
    local client <close> = core.client { base_url = server.url }
    local op = assert(core.request(client, { url = "/" }, "none"))
    op:close()
    for _ = 1, 2 do
        local none, err = op:conclude {}
        lu.assertNil(none)
        lu.assertEquals(err.code, "closed")
    end
    local a <close> = assert(core.request(client, { url = "/" }, "none"))
    local b <close> = assert(core.request(client, { url = "/" }, "none"))
    lu.assertFalse(a == op or b == op or a == b)
end

function suite.test_an_operation_outlives_its_client_concluded()
    local server <close> = support.server { { path = "/" } }
    local client = core.client { base_url = server.url }
    local op = assert(core.request(client, { url = "/" }, "none"))
    op:wait()
    client:close()
    local none, err = op:conclude {}
    lu.assertNil(none)
    lu.assertEquals(err.code, "closed")
    lu.assertErrorMsgContains("the client is closed", core.request, client, { url = "/" })
end

function suite.test_many_tasks_share_the_places_and_get_their_own_answers()
    local steps = {}
    for i = 1, 40 do
        steps[i] = { path = "/" .. i, reply = ("%d"):format(i), times = 3 }
    end
    local server <close> = support.server(steps)
    local client <close> = perilune.client { base_url = server.url }
    local wrong = 0
    local functions = {}
    for i = 1, 40 do
        functions[i] = function()
            for round = 1, 3 do
                local reply = assert(client:request("/" .. i))
                if reply.body ~= tostring(i) or (round == 2 and reply:json() ~= i) then
                    wrong = wrong + 1
                end
                if i % 8 == 0 then
                    collectgarbage()
                end
            end
            return true
        end
    end
    assert(perilune.gather(functions))
    lu.assertEquals(wrong, 0)
end

function suite.test_a_cancelled_request_is_freed_at_once_and_its_place_is_not_mixed_up()
    local server <close> = support.server { { path = "/slow", delay_ms = 60000, times = 5 },
        { path = "/quick", reply = "quick", times = 20 } }
    local client <close> = perilune.client { base_url = server.url }
    perilune.run(function()
        assert(client:request "/quick")
        for _ = 1, 5 do
            local before = core.live()
            local task = perilune.spawn(function() return client:request "/slow" end)
            lu.assertEquals(assert(client:request "/quick").body, "quick")
            lu.assertEquals(core.live(), before + 1)
            task:cancel()
            lu.assertEquals(core.live(), before)
            lu.assertEquals(assert(client:request "/quick").body, "quick")
        end
    end)
end

function suite.test_closing_the_client_ends_the_requests_of_tasks()
    local server <close> = support.server { { path = "/slow", delay_ms = 60000, times = 3 }, { path = "/quick" } }
    local client = perilune.client { base_url = server.url }
    local codes = {}
    perilune.run(function()
        for i = 1, 3 do
            perilune.spawn(function()
                local _, err = client:request "/slow"
                codes[i] = err.code
            end)
        end
        assert(client:request "/quick")
        client:close()
    end)
    lu.assertEquals(codes, { "closed", "closed", "closed" })
end

function suite.test_a_coroutine_in_a_task_waits_by_itself()
    local server <close> = support.server { { path = "/", reply = "x", times = 2 } }
    local client <close> = perilune.client { base_url = server.url }
    perilune.run(function()
        local inner = coroutine.wrap(function() return assert(client:request "/").body end)
        lu.assertEquals(inner(), "x")
        lu.assertEquals(assert(client:request "/").body, "x")
    end)
end

---- what stands for an operation in a queue ----

function suite.test_a_number_stands_for_an_operation()
    local queue <close> = core.queue()
    local slow <close> = core.sleep(3600)
    local fast <close> = core.sleep(0)
    queue:add(slow, 7)
    queue:add(fast, 9)
    lu.assertEquals(queue:wait(), 9)
    queue:add(slow, "seven") -- again, by another value
    slow:cancel()
    lu.assertEquals(queue:wait(), "seven")
    queue:add(fast, 2 ^ 53 | 0)
    lu.assertEquals(queue:wait(), 2 ^ 53 | 0)
    lu.assertNil(queue:wait()) -- nothing is in it
end
