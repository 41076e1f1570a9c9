-- SPDX-License-Identifier: MIT
-- JSON laid out for people, as text: nothing but white space may change.
local lu = require "luaunit"
local output = require "perilune.cli.output"

local suite = {}
_G.TestOutput = suite

function suite.test_layout()
    lu.assertEquals(output.indent '{"a":[1,{"b":[]}],"c":{},"d":"x"}', [[
{
  "a": [
    1,
    {
      "b": []
    }
  ],
  "c": {},
  "d": "x"
}]])
    for _, text in ipairs { "1", "null", '""', '"a,b:{[\\""', "[]", "{}", "-1.5e300", "9007199254740993", '"\\\\"' } do
        lu.assertEquals(output.indent(text), text)
    end
    lu.assertEquals(output.indent " [ ]\n", "[]")
end

local function random_json(random, depth)
    local kind = random(depth > 4 and 4 or 6)
    if kind == 1 then
        return tostring(random(0))
    elseif kind == 2 then
        return ({ "true", "false", "null", "0.5", "1e-7" })[random(5)]
    elseif kind <= 4 then
        local out = {}
        for i = 1, random(6) do
            out[i] = ({ "a", "\\\"", "\\\\", ",", ":", "{", "]", "ü", " " })[random(9)]
        end
        return '"' .. table.concat(out) .. '"'
    end
    local out = {}
    for i = 1, random(4) - 1 do
        out[i] = (kind == 6 and ('"k%d":'):format(i) or "") .. random_json(random, depth + 1)
    end
    return kind == 5 and "[" .. table.concat(out, ",") .. "]" or "{" .. table.concat(out, ",") .. "}"
end

local function without_white_space(text)
    local out, in_string, position = {}, false, 1
    while position <= #text do
        local c = text:sub(position, position)
        if in_string and c == "\\" then
            out[#out + 1] = text:sub(position, position + 1)
            position = position + 1
        else
            if c == '"' then
                in_string = not in_string
            end
            out[#out + 1] = (in_string or not c:find "%s") and c or ""
        end
        position = position + 1
    end
    return table.concat(out)
end

function suite.test_only_white_space_changes()
    math.randomseed(7)
    for _ = 1, 2000 do
        local text = random_json(math.random, 1)
        lu.assertEquals(without_white_space(output.indent(text)), without_white_space(text))
        lu.assertEquals(output.indent(output.indent(text)), output.indent(text))
    end
end
