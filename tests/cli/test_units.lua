-- SPDX-License-Identifier: MIT
-- Sizes, durations and times as the command reads and writes them.
local lu = require "luaunit"
local units = require "perilune.cli.units"

local suite = {}
_G.TestUnits = suite

function suite.test_sizes_that_are_read()
    for text, bytes in pairs { ["1"] = 1, ["65536"] = 65536, ["64K"] = 65536, ["64k"] = 65536, ["256M"] = 256 << 20,
        ["1.5G"] = 3 << 29, ["256MiB"] = 256 << 20, ["256MB"] = 256 << 20, ["2 M"] = 2 << 20, ["10B"] = 10,
        ["1T"] = 1 << 40 } do
        lu.assertIs(units.parse_size(text), bytes, text)
    end
end

function suite.test_sizes_that_are_refused()
    for _, text in ipairs { "", "M", "-1", "1X", "1e9", "0x10", "1 2", "0", "0.1", "99999999T", "1..5", ".5", "1M2",
        "NaN" } do
        local bytes, message = units.parse_size(text)
        lu.assertNil(bytes, text)
        lu.assertStrContains(message, "'" .. text .. "' is not a size")
    end
end

function suite.test_durations_that_are_read()
    for text, ms in pairs { ["30"] = 30000, ["30s"] = 30000, ["500ms"] = 500, ["10m"] = 600000, ["1.5h"] = 5400000,
        ["2d"] = 172800000, ["0.25s"] = 250, ["1 h"] = 3600000 } do
        lu.assertIs(units.parse_duration(text), ms, text)
    end
end

function suite.test_durations_that_are_refused()
    for _, text in ipairs { "", "s", "3x", "-1s", "0", "0s", "0.1ms", "1m30s", "1e3s", "999999999999d", "M" } do
        local ms, message = units.parse_duration(text)
        lu.assertNil(ms, text)
        lu.assertStrContains(message, "'" .. text .. "' is not a duration")
    end
end

function suite.test_what_is_written()
    for bytes, text in pairs { [0] = "0 B", [1023] = "1023 B", [1024] = "1 KiB", [1536] = "1.5 KiB",
        [10 << 10] = "10 KiB",
        [(1 << 20) - 1] = "1 MiB", [64 << 20] = "64 MiB", [5 << 40] = "5 TiB", [5000 << 40] = "5000 TiB" } do
        lu.assertEquals(units.size(bytes), text)
    end
    for us, text in pairs { [0] = "0.00 ms", [850] = "0.85 ms", [12345] = "12.3 ms", [999499] = "999 ms",
        [1500000] = "1.50 s", [59990000] = "59.99 s", [90000000] = "1 m 30 s", [600000000] = "10 m",
        [90061000000] = "1 d 1 h" } do
        lu.assertEquals(units.duration_us(us), text)
    end
    lu.assertEquals(units.iso(1700000000007), "2023-11-14T22:13:20.007Z")
    lu.assertStrMatches(units.clock(1700000000007), "%d%d:%d%d:%d%d%.007")
end
