-- SPDX-License-Identifier: MIT
-- generator, parent, file, against a real host.
local cjson = require "cjson"
local fixture = require "fixture"
local lu = require "luaunit"
local perilune = require "perilune"
local process = require "process"

local suite = {}
_G.TestAccess = suite

local host

function suite.setUp()
    host = fixture.new()
end

function suite.tearDown()
    process.stop_all()
    host:close()
end

local function client()
    return perilune.host { data = host.data }
end

local function post(api, path, body)
    local reply, err = api:request { url = path, method = "POST", json = body }
    lu.assertNil(err)
    return reply:json()
end

-- A file with this content under the parent, by the door that it is meant for; its id.
local function upload(parent, name, content)
    local api <close> = client()
    local file = post(api, "/cim/file_upload/create",
        { parent_object_id = parent, filename = name, persno = "caddok", check_access = true })
    local path = "/cim/file_upload/" .. file.file_object_id
    local urls = post(api, path .. "/generate_presigned_url",
        { filesize = #content, check_access = true, persno = "caddok", lock_id = "AbCdEfGhIjKl" })
    local reply = assert(api:request { url = urls.urls[1], method = "PUT", body = content, no_auth = true })
    urls.etags = { reply.headers.etag }
    post(api, path .. "/complete", { filesize = #content, check_access = true, persno = "caddok",
        presigned_write_urls = urls, lock_id = "AbCdEfGhIjKl", delete_derived_files = false })
    return file.file_object_id
end

function suite.test_generators()
    lu.assertEquals(host:ok("generator", "list"), "")
    local text = host:ok("generator", "create", "part", "--start", "1000", "--step", "10")
    lu.assertStrMatches(text, "generator +part\nstart +1000\nstep +10\nlast +none\ncreated +.*")
    lu.assertEquals(host:ok("generator", "create", "part", "--start", "1000", "--step", "10"), text)
    lu.assertStrContains(host:fails(1, "generator", "create", "part", "--step=-3"), "start 1000 and step 10")
    host:fails(2, "generator", "create", "part", "--step", "0")
    host:fails(2, "generator", "create", "part", "--start", "9223372036854775808")
    local api <close> = client()
    lu.assertEquals(assert(api:request "/cim/numgen?name=part&count=3"):json().numbers, { 1000, 1010, 1020 })
    lu.assertEquals(host:json("generator", "show", "part").last, 1020)
    host:ok("generator", "create", "a/b ä", "--start=-9223372036854775808")
    local list = host:json("generator", "list")
    lu.assertEquals({ list[1].name, list[2].name, #list }, { "a/b ä", "part", 2 })
    lu.assertEquals(list[1].start, math.mininteger)
    lu.assertStrMatches(host:ok("generator", "list"),
        "NAME +START +STEP +LAST +CREATED\na/b ä +%-9223372036854775808 +1 +none .*\npart +1000 +10 +1020 .*\n")
    lu.assertEquals(host:ok("generator", "delete", "a/b ä", "part"), "deleted a/b ä\ndeleted part\n")
    lu.assertStrContains(host:fails(4, "generator", "show", "part"), "part")
    host:fails(4, "generator", "delete", "part")
end

function suite.test_parents()
    local text = host:ok("parent", "create", "doc-1", "--owner", "caddok", "--reader", "alice", "--reader", "bob")
    lu.assertStrMatches(text, "parent +doc%-1\nowner +caddok\nreaders +alice, bob\ncreated .*")
    lu.assertStrContains(host:ok("parent", "create", "open"), "everyone")
    host:ok("parent", "create", "doc-1", "--owner", "caddok", "--writer", "*")
    local parent = host:json("parent", "show", "doc-1")
    lu.assertEquals({ parent.owner, parent.readers, parent.writers }, { "caddok", {}, { "*" } })
    lu.assertEquals(#host:json("parent", "list"), 2)
    lu.assertEquals(#host:json("parent", "list", "--limit", "1"), 1)
    upload("doc-1", "a.txt", "abc")
    lu.assertStrContains(host:fails(1, "parent", "delete", "doc-1"), "has files")
    lu.assertEquals(host:json("parent", "delete", "open"), { deleted = { "open" } })
    host:fails(4, "parent", "show", "open")
end

function suite.test_files()
    host:ok("parent", "create", "doc-1", "--owner", "caddok")
    host:ok("parent", "create", "doc-2")
    local bytes = ("\0\1\255binary\n"):rep(40000)
    local first, second = upload("doc-1", "täst.bin", bytes), upload("doc-2", "empty", "")
    lu.assertEquals(host:ok("file", "get", first), bytes)
    lu.assertEquals(host:ok("file", "get", second), "")
    lu.assertEquals(host:ok("file", "get", first, "-o", host.folder .. "/out.bin"), "")
    local file <close> = assert(io.open(host.folder .. "/out.bin", "rb"))
    lu.assertEquals(file:read "a", bytes)
    local record = host:json("file", "show", first)
    lu.assertEquals({ record.filename, record.parent, record.filesize, record.locked },
        { "täst.bin", "doc-1", #bytes, false })
    lu.assertStrMatches(host:ok("file", "show", first), "file +%d+\nname +täst.bin\nparent +doc%-1\nsize +391 KiB\n.*")
    lu.assertEquals(#host:json("file", "list"), 2)
    local list = host:json("file", "list", "--parent", "doc-1")
    lu.assertEquals({ #list, list[1].id }, { 1, math.tointeger(tonumber(first)) })
    lu.assertStrMatches(host:ok("file", "list"), "ID +NAME +PARENT +SIZE +MODIFIED\n%d+ +empty +doc%-2 +0 B .*\n.*")
    lu.assertEquals(host:ok("file", "delete", first), "deleted " .. first .. "\n")
    host:fails(4, "file", "get", first)
    host:fails(4, "file", "show", "7")
    host:fails(2, "file", "get", "x")
end

function suite.test_lists_go_over_pages()
    local api <close> = client()
    for i = 1, 250 do
        assert(api.parents:create { id = ("p%03d"):format(i) })
        assert(api.generators:create { name = ("g%03d"):format(i) })
    end
    local parents = cjson.decode(host:ok("parent", "list", "--json"))
    lu.assertEquals({ #parents, parents[1].id, parents[250].id }, { 250, "p001", "p250" })
    lu.assertEquals(#host:json("generator", "list", "--limit", "101"), 101)
    local seen = 0
    for generator in api.generators:each() do
        seen = seen + 1
        lu.assertEquals(generator.name, ("g%03d"):format(seen))
    end
    lu.assertEquals(seen, 250)
end
