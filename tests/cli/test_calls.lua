-- SPDX-License-Identifier: MIT
-- call, logs, show CALL, against a real host.
local cjson = require "cjson"
local fixture = require "fixture"
local lu = require "luaunit"
local process = require "process"

local suite = {}
_G.TestCalls = suite

local host

function suite.setUp()
    host = fixture.new()
    host:deploy "f"
end

function suite.tearDown()
    process.stop_all()
    host:close()
end

local function call(mode, ...)
    return host:run("call", "f", "--data", ('{"mode":"%s"}'):format(mode), ...)
end

function suite.test_input_as_json()
    lu.assertEquals(host:ok("call", "f", "--data", '{"id":9007199254740993}'), '{"data":{"id":9007199254740993}}\n')
    lu.assertEquals(host:ok("call", "f", "--data", "-", { stdin = " [1] " }), '{"data":[1]}\n')
    process.write_file(host.folder .. "/in.json", '{"a":"ü"}')
    lu.assertEquals(host:ok("call", "f", "--data", "@" .. host.folder .. "/in.json"), '{"data":{"a":"ü"}}\n')
    host:fails(2, "call", "f", "--data", "")
    host:fails(2, "call", "f", "--data", "-", { stdin = "{" })
end

function suite.test_input_as_bytes()
    local answer = cjson.decode(host:ok("call", "f", "--body", "-", { stdin = "some text" }))
    lu.assertEquals(answer, { body = "some text", content_type = "application/octet-stream" })
    process.write_file(host.folder .. "/in.CSV", "a;b\n")
    answer = cjson.decode(host:ok("call", "f", "--body", host.folder .. "/in.CSV"))
    lu.assertEquals(answer, { body = "a;b\n", content_type = "text/csv; charset=utf-8" })
    answer = cjson.decode(host:ok("call", "f", "--body", host.folder .. "/in.CSV", "--content-type", "text/x-odd"))
    lu.assertEquals(answer.content_type, "text/x-odd")
    local large = ("0123456789"):rep(200000)
    answer = cjson.decode(host:ok("call", "f", "--body", "-", { stdin = large }))
    lu.assertEquals(#answer.body, #large)
    lu.assertEquals(cjson.decode(host:ok("call", "f", "--body", "-", { stdin = "" })).body, "")
    process.write_file(host.folder .. "/large.txt", large)
    answer = cjson.decode(host:ok("call", "f", "--body", host.folder .. "/large.txt"))
    lu.assertEquals(#answer.body, #large)
end

function suite.test_answers_that_are_not_json_come_as_they_are()
    lu.assertEquals(call("raw").out, "plain words\n")
    lu.assertEquals(call("bytes").out, "\0\1\255")
    local envelope = cjson.decode(call("raw", "--json").out)
    lu.assertEquals(envelope.text, "plain words\n")
    lu.assertEquals(envelope.status, 200)
    lu.assertEquals(cjson.decode(call("bytes", "--json").out).base64, "AAH/")
end

function suite.test_json_tells_what_the_call_took()
    local answer = cjson.decode(call("echo", "--json").out)
    lu.assertEquals(answer.result.data.mode, "echo")
    lu.assertEquals(answer.content_type, "application/json")
    for _, field in ipairs { "call_id", "duration_us", "cpu_us", "memory_peak" } do
        lu.assertIsNumber(answer[field], field)
    end
end

function suite.test_a_reader_that_leaves_is_no_error()
    local line = [["$0" call f --data '{"mode":"long"}' | head -c 16; exit ${PIPESTATUS[0]}]]
    local result = process.run { "/bin/bash", "-c", line, fixture.command, env = host.env }
    lu.assertEquals({ result.out, result.err }, { "0123456789abcde\n", "" })
    lu.assertEquals(result.code, 141)
end

function suite.test_failures_of_the_handler()
    local result = call "fail"
    fixture.assert_failure(result, 3)
    lu.assertStrContains(result.err, "boom on purpose")
    lu.assertStrContains(result.err, "handler.lua:")
    local id = result.err:match "; see 'perilune show (%d+)'\n$"
    lu.assertStrMatches(host:ok("show", id), ".*trace +stack traceback:\n.*handler.lua:%d+: in .*")
    result = call "refuse"
    fixture.assert_failure(result, 3)
    lu.assertStrContains(result.err, "not today")
    result = call("spin", "--timeout", "300ms")
    fixture.assert_failure(result, 3)
    host:ok("deploy", host.folder .. "/f", "--memory", "8M")
    result = call "hoard"
    fixture.assert_failure(result, 3)
    lu.assertStrContains(result.err, "memory")
    lu.assertEquals(call("echo").code, 0)
end

function suite.test_without_waiting()
    local id = host:ok("call", "f", "--data", '{"mode":"log"}', "--no-wait")
    lu.assertStrMatches(id, "%d+\n")
    id = id:gsub("\n", "")
    lu.assertStrContains(host:ok("logs", id, "--follow"), "printed 1")
    local shown = host:json("show", id)
    lu.assertEquals(shown.status, "Completed")
    lu.assertEquals(("%d"):format(shown.id), id)
    lu.assertEquals(shown["function"], "f")
    lu.assertTrue(shown.async)
    lu.assertStrMatches(host:ok("show", id), "call +" .. id .. "\nfunction +f\n.*")
    local pending = host:json("call", "f", "--no-wait", "--data", "{}")
    lu.assertIsNumber(pending.id)
    lu.assertEquals(pending["function"], "f")
end

function suite.test_logs_as_text_and_as_json()
    local id = ("%d"):format(cjson.decode(call("log", "--json").out).call_id)
    local text = host:ok("logs", id)
    local stamp = "%d+%-%d+%-%d+T%d+:%d+:%d+%.%d%d%dZ "
    lu.assertStrMatches(text,
        stamp .. "info printed 1\n" .. stamp .. "warn careful\n" .. stamp .. "error red \27%[31malert\n")
    local lines = host:json("logs", id)
    lu.assertEquals(#lines, 3)
    lu.assertEquals(lines[1].message, "printed 1")
    lu.assertEquals(lines[1].level, "info")
    lu.assertIsNumber(lines[1].timestamp)
    local followed = host:ok("logs", id, "--follow", "--json")
    local count = 0
    for line in followed:gmatch "[^\n]+" do
        count = count + 1
        lu.assertEquals(cjson.decode(line).message, lines[count].message)
    end
    lu.assertEquals(count, 3)
end

function suite.test_following_shows_lines_while_the_call_runs()
    local id = host:ok("call", "f", "--data", '{"mode":"slow","seconds":2}', "--no-wait"):gsub("\n", "")
    local follower = process.start(host:line("logs", id, "-f"))
    lu.assertNotNil(follower:wait_line "begun", follower.err)
    lu.assertEquals(host:json("show", id).status, "Running")
    follower:wait()
    lu.assertEquals({ follower.code, follower.err }, { 0, "" })
    lu.assertStrContains(follower.out, "done")
    lu.assertEquals(host:json("show", id).status, "Completed")
end

function suite.test_show_a_failed_call_with_its_trace()
    local id = host:ok("call", "f", "--data", '{"mode":"fail"}', "--no-wait"):gsub("\n", "")
    host:ok("logs", id, "--follow")
    local text = host:ok("show", id)
    lu.assertStrMatches(text, ".*status +Failed\n.*")
    lu.assertStrMatches(text, ".*error +[^\n]*boom on purpose\n.*")
    lu.assertStrMatches(text, ".*handler.lua:%d+: in .*")
end

function suite.test_an_interrupt_ends_quietly_with_130()
    local waiting = process.start(host:line("call", "f", "--data", '{"mode":"slow","seconds":60}'))
    repeat
        local running = host:ok("show", "f"):find "\n%d+ +Running"
    until running or waiting.code
    waiting:kill "sigint"
    waiting:wait()
    lu.assertEquals(waiting.err, "perilune: interrupted\n")
    lu.assertEquals(waiting.out, "")
    lu.assertEquals(waiting.signal, 2) -- a shell says 130
end

function suite.test_durable_calls_with_terms()
    local id = host:ok("call", "f", "--no-wait", "--delay", "1h", "--queue", "2", "--idempotency-key", "k")
    lu.assertEquals(host:ok("call", "f", "--no-wait", "--delay", "1h", "--queue", "2", "--idempotency-key", "k"), id)
    lu.assertStrContains(host:fails(1, "call", "f", "--no-wait", "--data", "1", "--idempotency-key", "k"),
        "which has another input")
    local record = host:json("show", (id:gsub("\n", "")))
    lu.assertEquals({ record.status, record.queue, record.idempotency_key }, { "Queued", 2, "k" })
    lu.assertAlmostEquals(record.start_at - record.created_at, 3600000, 60000)
    record = host:json("call", "f", "--no-wait", "--at", "2100-01-02T03:04")
    lu.assertEquals(os.date("%Y-%m-%d %H:%M:%S", record.start_at // 1000), "2100-01-02 03:04:00")
    lu.assertStrContains(host:fails(2, "call", "f", "--at", "2100-02-30T03:04", "--no-wait"), "is not a time")
    lu.assertStrContains(host:fails(2, "call", "f", "--queue", "10"), "is not a queue from 1 to 9")
    lu.assertStrContains(host:fails(2, "call", "f", "--retry"), "--retry is for durable calls; add --no-wait")
    lu.assertStrContains(host:ok("call", "f", "--expires", "1m", "--queue", "1"), "data")
end

local function fail_for_good()
    local id = host:json("call", "f", "--no-wait", "--retry", "--attempts", "1", "--data", '{"mode":"fail"}').id
    host:run("logs", ("%d"):format(id), "--follow") -- until it has ended
    return ("%d"):format(id)
end

function suite.test_dead_calls()
    lu.assertEquals(host:ok("--json", "dead", "list"), "[]\n")
    local first, second = fail_for_good(), fail_for_good()
    local list = host:json("dead", "list")
    lu.assertEquals({ list[1].id, list[2].id }, { tonumber(second), tonumber(first) })
    lu.assertStrContains(host:ok("dead", "list", "--limit", "1"), "boom on purpose")
    lu.assertStrContains(host:ok("dead", "show", first), "given up")
    lu.assertEquals(host:ok("dead", "requeue", first), "requeued " .. first .. "\n")
    host:run("logs", first, "--follow")
    lu.assertEquals(host:json("dead", "delete", "--all").deleted, { tonumber(second), tonumber(first) })
    lu.assertEquals(host:ok("--json", "dead", "list"), "[]\n")
    lu.assertStrContains(host:fails(1, "dead", "requeue", first), "not among the dead ones")
    host:fails(4, "dead", "show", first)
    host:fails(4, "dead", "delete", "77")
    lu.assertStrContains(host:fails(2, "dead", "requeue"), "name the calls, or give --all")
end

function suite.test_limits_of_a_function()
    local fn = host:deploy("limited", "--concurrency", "3", "--attempts", "5")
    lu.assertEquals({ fn.concurrency, fn.attempts }, { 3, 5 })
    lu.assertStrMatches(host:ok("show", "limited"), ".*at a time +3\n.*")
    host:fails(2, "deploy", host.folder .. "/limited", "--concurrency", "0")
end
