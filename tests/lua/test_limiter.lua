-- SPDX-License-Identifier: MIT
-- The rate limit of a client, as scripts see it.
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestLimiter = suite

local function connect(rate_limit, token, steps)
    local server = support.server(steps or { { method = "GET", path = "/a", times = 100, reply = "1" } })
    return perilune.client { base_url = server.url, token = token, rate_limit = rate_limit, retry = false }, server
end

function suite.test_what_it_says()
    local client <close>, server = connect({ requests = 2, seconds = 60, fail = true }, "lua-1")
    local limiter = assert(client:limiter())
    lu.assertEquals({ limiter.limit, limiter.window, limiter:remaining() }, { 2, 60.0, 2 })
    lu.assertTrue(math.abs(limiter:reset_at() - os.time()) < 5)
    assert(client:request "/a")
    lu.assertEquals(limiter:remaining(), 1)
    local same <close> = perilune.client { base_url = server.url, token = function() return "lua-1" end,
        rate_limit = { requests = 2, seconds = 60, fail = true } }
    assert(same:request "/a")
    lu.assertEquals({ limiter:remaining(), assert(same:limiter()):remaining() }, { 0, 0 })
    local none, err = client:request "/a"
    lu.assertNil(none)
    lu.assertEquals(err.code, "rate_limited")
    lu.assertTrue(err.retry_after > 50 and err.retry_after <= 60.1)
    local ahead = limiter:reset_at() - os.time()
    lu.assertTrue(ahead > 50 and ahead < 65, ahead)
    lu.assertErrorMsgContains("another client of this token has a limit of 2 requests in 60 s", perilune.client,
        { base_url = server.url, token = "lua-1", rate_limit = { requests = 3, seconds = 60 } })
end

function suite.test_waiting_tasks_are_served()
    local client <close> = connect({ requests = 3, seconds = 0.03 }, "lua-2")
    local order = {}
    local tasks = {}
    for i = 1, 9 do
        tasks[i] = function()
            assert(client:request "/a")
            order[#order + 1] = i
            return true
        end
    end
    assert(perilune.gather(tasks))
    lu.assertEquals(#order, 9)
    for i = 1, 9 do -- three at a time, and these in any order
        lu.assertEquals((order[i] - 1) // 3, (i - 1) // 3)
    end
end

function suite.test_without_a_limit()
    local client <close> = connect(false, "lua-3")
    for _ = 1, 5 do
        assert(client:request "/a")
    end
    local limiter, err = client:limiter()
    lu.assertNil(limiter)
    lu.assertNil(err)
end

function suite.test_a_shared_file()
    local folder = support.folder()
    local path = folder .. "/rate"
    local client <close>, server = connect({ requests = 2, seconds = 60, fail = true, shared = path }, "lua-4")
    assert(client:request "/a")
    lu.assertEquals(assert(client:limiter()):remaining(), 1)
    local other <close> = perilune.client { base_url = server.url, token = "lua-5",
        rate_limit = { requests = 2, seconds = 60, fail = true, shared = path } } -- stands for another process
    assert(other:request "/a")
    lu.assertEquals(select(2, client:request "/a").code, "rate_limited")
    lu.assertErrorMsgContains("is of 2 requests in 60 s, not of 3 in 60 s", perilune.client,
        { base_url = server.url, token = "lua-6", rate_limit = { requests = 3, seconds = 60, shared = path } })
    support.remove(folder)
end

function suite.test_misuse()
    local function make(rate_limit)
        return function() perilune.client { base_url = "http://127.0.0.1:9", rate_limit = rate_limit } end
    end
    lu.assertErrorMsgContains("unknown option 'request'; did you mean 'requests'?", make { request = 1, seconds = 1 })
    lu.assertErrorMsgContains("requests must be 1 to 1000000", make { seconds = 1 })
    lu.assertErrorMsgContains("option 'seconds' is required", make { requests = 5 })
    lu.assertErrorMsgContains("1 to 10000", make { requests = 10001, seconds = 1, shared = "/nonexistent/rate" })
    lu.assertErrorMsgContains("can't open /nonexistent/rate", make { requests = 1, seconds = 1,
        shared = "/nonexistent/rate" })
end
