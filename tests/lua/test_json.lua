-- SPDX-License-Identifier: MIT
-- The direct codec: lossless both ways, strict, and in agreement with lua-cjson where that is lossless.
local cjson = require "cjson"
local core = require "perilune.core"
local lu = require "luaunit"
local perilune = require "perilune"
local support = require "support"

local suite = {}
_G.TestJson = suite

local encode, decode = perilune.json.encode, perilune.json.decode

local function assert_refused(value, path, what)
    local text, err = encode(value)
    lu.assertNil(text)
    lu.assertEquals(err.code, "invalid")
    lu.assertEquals(err.message, (path ~= "" and path .. ": " or "") .. what)
end

function suite.test_integers_are_exact()
    for _, n in ipairs { 0, 1, -1, 9, 10, 99, 100, 12345, 9007199254740993, math.maxinteger, math.mininteger } do
        local text = assert(encode(n))
        lu.assertEquals(text, ("%d"):format(n))
        local back = decode(text)
        lu.assertEquals(back, n)
        lu.assertEquals(math.type(back), "integer")
    end
end

function suite.test_integers_beyond_64_bits_become_floats_as_in_lua()
    for _, text in ipairs { "9223372036854775808", "-9223372036854775809", "123456789012345678901234567890" } do
        local value = decode(text)
        lu.assertEquals(math.type(value), "float")
        lu.assertEquals(value, tonumber(text))
    end
end

function suite.test_floats_stay_floats()
    lu.assertEquals(encode { 1.0, -0.0, 0.1, 1e15, 1e22, 1e300, 5e-324, 123456.789, 1 / 3 },
        "[1.0,-0.0,0.1,1e+15,1e+22,1e+300,5e-324,123456.789,0.3333333333333333]")
    for _, text in ipairs { "1.0", "1e0", "10E-1", "0.1e1" } do
        local value = decode(text)
        lu.assertEquals(math.type(value), "float")
        lu.assertEquals(value, 1.0)
    end
    lu.assertEquals(1 / decode "-0.0", -math.huge)
end

local function random_float()
    local kind = math.random(4)
    if kind == 1 then
        return math.random()
    elseif kind == 2 then
        return math.random(-1000000, 1000000) / 10 ^ math.random(0, 6)
    elseif kind == 3 then
        return (math.random() - 0.5) * 10.0 ^ math.random(-30, 30)
    end
    local x
    repeat
        x = string.unpack("d", string.pack("j", math.random(0)))
    until x == x and x ~= math.huge and x ~= -math.huge
    return x
end

--- The shortest of 15, 16 and 17 digits that reads back equal, as many digits as it has.
local function shortest_digits(x)
    for precision = 15, 17 do
        local text = ("%." .. precision .. "g"):format(x)
        if tonumber(text) == x then
            return #(text:gsub("[eE].*", ""):gsub("[^%d]", ""):gsub("^0+", ""):gsub("0+$", ""))
        end
    end
end

function suite.test_random_floats_read_back_equal_and_are_shortest()
    math.randomseed(42)
    for _ = 1, 20000 do
        local x = random_float()
        local text = assert(encode(x))
        lu.assertTrue(text:find "[%.e]" ~= nil, text)
        local by_lua, by_us = tonumber(text), decode(text)
        if by_lua ~= x or by_us ~= x then
            lu.fail(("%a is written %s, read %a by Lua and %a by us"):format(x, text, by_lua, by_us))
        end
        local digits = #(text:gsub("e.*", ""):gsub("[^%d]", ""):gsub("^0+", ""):gsub("0+$", ""))
        if math.abs(x) > 1e-300 and digits > shortest_digits(x) then
            lu.fail(("%s has more digits than %.17g needs"):format(text, x))
        end
    end
end

function suite.test_long_decimals_are_rounded_as_lua_does()
    math.randomseed(7)
    for _ = 1, 5000 do
        local digits = {}
        for i = 1, math.random(1, 25) do
            digits[i] = math.random(0, 9)
        end
        local text = ("0.%se%d"):format(table.concat(digits), math.random(-40, 40))
        lu.assertEquals(decode(text), tonumber(text), text)
    end
end

function suite.test_null()
    lu.assertTrue(perilune.null == cjson.null)
    lu.assertEquals(encode { a = perilune.null }, '{"a":null}')
    lu.assertTrue(decode("[null]")[1] == perilune.null)
    lu.assertEquals(encode(nil), "null")
    lu.assertTrue(decode "null" == perilune.null)
end

function suite.test_empty_arrays_stay_arrays()
    lu.assertEquals(encode {}, "{}")
    lu.assertEquals(encode(perilune.array {}), "[]")
    lu.assertEquals(encode(perilune.array()), "[]")
    for _, text in ipairs { "[]", "{}", '{"a":[],"b":{}}', "[[],{},[[]]]" } do
        local again = assert(encode(decode(text)))
        lu.assertEquals(decode(again), decode(text))
        lu.assertEquals(#again, #text)
    end
    lu.assertTrue(perilune.json.is_array(decode "[]"))
    lu.assertFalse(perilune.json.is_array(decode "{}"))
    lu.assertFalse(perilune.json.is_array "x")
    lu.assertEquals(encode(setmetatable({}, { __array = true })), "[]")
end

function suite.test_strings()
    for _, s in ipairs { "", "a", "é€😀", ("x"):rep(1000), "\0\1\31\127", '"\\/\b\f\n\r\t', ("é"):rep(99) .. '"' } do
        local text = assert(encode(s))
        lu.assertEquals(decode(text), s)
        lu.assertEquals(cjson.decode("[" .. text .. "]")[1], s)
    end
    lu.assertEquals(decode [["\u0041\u00e9\ud83d\ude00\/"]], "Aé😀/")
    -- A special byte at every place of a long run: the wide scan and its tail.
    for at = 1, 70 do
        for _, special in ipairs { '"', "\\", "\n", "é", "\0" } do
            local s = ("a"):rep(at - 1) .. special .. ("b"):rep(70 - at)
            lu.assertEquals(decode(encode(s)), s)
        end
    end
end

function suite.test_keys()
    local long = ("k"):rep(100)
    local value = decode(('{"":1,"%s":2,"a\\u0000b":3,"\\u00e9":4,"a":5,"a":6}'):format(long))
    lu.assertEquals(value, { [""] = 1, [long] = 2, ["a\0b"] = 3, ["é"] = 4, a = 6 })
    lu.assertEquals(decode(encode(value)), value)
end

function suite.test_the_key_cache_does_not_mix_keys_up()
    local list, want = {}, {}
    for i = 1, 300 do
        local key = ("k%d%s"):format(i % 40, ("x"):rep(i % 7))
        list[i] = ('{"%s":%d}'):format(key, i)
        want[i] = { [key] = i }
    end
    local got = decode("[" .. table.concat(list, ",") .. "]")
    for i = 1, 300 do
        lu.assertEquals(got[i], want[i])
    end
end

function suite.test_large_arrays_and_deep_ones_share_the_stack()
    local parts = {}
    for i = 1, 40000 do
        parts[i] = tostring(i)
    end
    local text = "[" .. table.concat(parts, ",") .. "]"
    local nested = decode("[" .. ("[1,2,"):rep(100) .. text .. ("]"):rep(100) .. "]")
    for _ = 1, 100 do
        nested = nested[#nested]
    end
    local big = nested[#nested]
    lu.assertEquals(#big, 40000)
    lu.assertEquals(big[40000], 40000)
    lu.assertEquals(big[16385], 16385)
    lu.assertEquals(encode(big), text)
end

function suite.test_depth_limits()
    lu.assertNotNil(decode(("["):rep(512) .. ("]"):rep(512)))
    local value, err = decode(("["):rep(513) .. ("]"):rep(513))
    lu.assertNil(value)
    lu.assertStrContains(err.message, "line 1 column 513: nested too deeply")
    local deep = {}
    for _ = 1, 127 do
        deep = { deep }
    end
    lu.assertNotNil(encode(deep))
    lu.assertNil(encode { deep })
end

function suite.test_what_cannot_be_encoded_is_named_with_its_path()
    assert_refused(print, "", "can't encode a function")
    assert_refused({ rows = { 1, 2, { callback = print } } }, "rows[3].callback", "can't encode a function")
    assert_refused({ ["odd key"] = { coroutine.create(print) } }, '["odd key"][1]', "can't encode a thread")
    assert_refused({ f = io.stdout }, "f", "can't encode a userdata")
    assert_refused({ 0 / 0 }, "[1]", "can't encode NaN")
    assert_refused({ a = { math.huge } }, "a[1]", "can't encode infinity")
    assert_refused({ a = { -math.huge } }, "a[1]", "can't encode minus infinity")
    assert_refused({ a = { 1, nil, 3 } }, "a", "can't encode a sparse array")
    assert_refused({ [1] = 1, a = 2 }, "", "can't encode a table with both string and number keys")
    assert_refused({ "x", a = 2 }, "", "can't encode a table with both string and number keys")
    assert_refused({ a = 2, [1.5] = 1 }, "", "can't encode a key that is a float")
    assert_refused({ [0] = 1 }, "", "can't encode an array with an index below 1")
    assert_refused({ [true] = 1 }, "", "can't encode a key that is a boolean")
    assert_refused({ a = "\xff" }, "a", "the string is not UTF-8")
    assert_refused({ a = { ["\xc3("] = 1 } }, 'a["?("]', "the string is not UTF-8")
    assert_refused(setmetatable({ x = 1 }, core.array_metatable), "", "can't encode an array with string keys")
    local cycle = {}
    cycle.me = cycle
    local text, err = encode(cycle)
    lu.assertNil(text)
    lu.assertStrContains(err.message, "me: can't encode a table that contains itself")
    lu.assertNotStrContains(err.message, "me.me")
    local inner = { list = { 1, {} } }
    inner.list[2].back = inner
    assert_refused({ a = { b = inner, c = 1 } }, "a.b.list[2].back", "can't encode a table that contains itself")
    local twice = { 1 } -- the same table side by side is no cycle
    lu.assertEquals(encode { twice, twice }, "[[1],[1]]")
    local deep = {}
    for _ = 1, 200 do
        deep = { deep }
    end
    text, err = encode(deep)
    lu.assertNil(text)
    lu.assertStrContains(err.message, "nested too deeply")
end

function suite.test_arrays_built_in_any_order()
    local backwards = {}
    for i = 10, 1, -1 do
        backwards[i] = i
    end
    lu.assertEquals(encode(backwards), "[1,2,3,4,5,6,7,8,9,10]")
    local holes = {}
    for i = 1, 20 do
        holes[i * 2] = i
    end
    lu.assertNil(encode(holes))
end

function suite.test_errors_have_line_and_column()
    local value, err = decode '{\n  "a": [1,\n   oops]}'
    lu.assertNil(value)
    lu.assertEquals(err.code, "json")
    lu.assertEquals(err.message, "line 3 column 4: unexpected character")
    lu.assertStrContains(tostring(err), "json: line 3 column 4")
end

local function random_text(depth)
    local kind = math.random(depth > 4 and 5 or 7)
    if kind == 1 then
        return tostring(math.random(-10 ^ 9 | 0, 10 ^ 9 | 0))
    elseif kind == 2 then
        return ("%.6f"):format(math.random() * 1000)
    elseif kind == 3 then
        local words = { '"plain"', '"\\u00e9\\n"', '"é€"', '""', '"a\\"b\\\\"' }
        return words[math.random(#words)]
    elseif kind == 4 then
        return math.random() < 0.5 and "true" or "false"
    elseif kind == 5 then
        return "null"
    end
    local parts = {}
    for i = 1, math.random(0, 6) do
        local value = random_text(depth + 1)
        parts[i] = kind == 6 and value or ('"k%d": %s'):format(i, value)
    end
    local text = table.concat(parts, math.random() < 0.5 and "," or " ,\n")
    return kind == 6 and "[" .. text .. "]" or "{" .. text .. "}"
end

function suite.test_agrees_with_cjson_on_random_documents()
    math.randomseed(1)
    for _ = 1, 3000 do
        local text = "[" .. random_text(1) .. "]"
        local ours, theirs = decode(text), cjson.decode(text)
        lu.assertEquals(ours, theirs, text)
        lu.assertEquals(cjson.decode(assert(encode(ours))), theirs, text)
    end
end

function suite.test_accepts_what_cjson_accepts_of_damaged_documents()
    math.randomseed(2)
    local refused = 0
    for _ = 1, 20000 do
        local text = "[" .. random_text(2) .. "]"
        local at = math.random(#text)
        local byte = ('{}[]",:.e-+0123456789tfn\\u x\n'):sub(math.random(30), -1):sub(1, 1)
        text = text:sub(1, at - 1) .. byte .. text:sub(at + math.random(0, 1))
        local ours, err = decode(text)
        local ok, theirs = pcall(cjson.decode, text)
        if ours == nil then
            refused = refused + 1
            lu.assertStrContains(err.message, "line ")
        elseif ok then
            lu.assertEquals(ours, theirs, text)
        else
            lu.fail("cjson refuses " .. text .. ": " .. theirs)
        end
    end
    lu.assertTrue(refused > 1000)
end

function suite.test_any_bytes_do_no_harm()
    math.randomseed(3)
    for _ = 1, 5000 do
        local bytes = {}
        for i = 1, math.random(0, 40) do
            bytes[i] = math.random() < 0.5 and string.char(math.random(0, 255)) or ('{"[]:,\\u1e-'):sub(math.random(11))
        end
        local text = table.concat(bytes)
        local value = decode(text)
        if value ~= nil then
            lu.assertEquals(decode(assert(encode(value))), value)
        end
    end
end

function suite.tearDown()
    support.assert_clean()
end
