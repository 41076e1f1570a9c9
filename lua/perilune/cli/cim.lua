-- SPDX-License-Identifier: MIT
-- upload, number: the access service.
local core = require "perilune.core"
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local cim = {}

local BAR = 24 -- columns

local function parse_count(text)
    local count = math.tointeger(tonumber(text))
    if not count or count < 1 or count > 100 then
        return nil, ("'%s' is not a count from 1 to 100"):format(text)
    end
    return count
end

local function parse_bytes(text)
    local bytes = text:match "^%d+$" and math.tointeger(tonumber(text))
    if not bytes then
        return nil, ("'%s' is not a number of bytes"):format(text)
    end
    return bytes
end

-- Draws "[=====     ]  42 %  3.1 GiB  512.0 MiB/s" over and over on one line; nil when nobody looks.
local function progress_bar()
    if not output.is_terminal "stderr" then
        return nil
    end
    local began, drawn = core.monotonic(), 0
    return function(sent, total)
        local now = core.monotonic()
        if now - drawn < 0.1 and sent < total then
            return
        end
        drawn = now
        local share = total > 0 and sent / total or 1
        local filled = math.floor(share * BAR)
        local speed = math.floor(sent / math.max(now - began, 0.001))
        io.stderr:write(("\r[%s%s] %3d %%  %s  %s/s\27[K"):format(("="):rep(filled), (" "):rep(BAR - filled),
            math.floor(share * 100), units.size(total), units.size(speed)))
    end
end

-- The user's id: said, or the one of who is logged in here.
local function persno_of(options)
    for _, name in ipairs { options.persno or "", os.getenv "PERILUNE_PERSNO" or "", os.getenv "LOGNAME" or "",
        os.getenv "USER" or "", core.user_name() or "" } do
        if name ~= "" then
            return name
        end
    end
    output.fail(session.exit.usage, "no user: give one with --persno or PERILUNE_PERSNO")
end

local function source_of(options)
    if options.file == "-" then
        return io.stdin
    end
    local file, message = io.open(options.file, "rb")
    if not file then
        output.fail(session.exit.failed, "can't read %s", message)
    end
    file:close()
    return { path = options.file }
end

local function name_of(options)
    local name = options.name or options.file:match "([^/]+)$"
    if not name or name == "-" then
        output.fail(session.exit.usage, "standard input gives the file no name; add --name NAME")
    end
    return name
end

local function upload(options)
    local bar = progress_bar()
    local request = {
        parent_object_id = options.parent,
        filename = name_of(options),
        stream = source_of(options),
        persno = persno_of(options),
        filesize = options.filesize,
        concurrency = options.concurrency,
        on_progress = bar,
    }
    local service <close> = session.open_cim(options)
    local ok, id, err = pcall(service.file_upload.upload_new_file, service.file_upload, request)
    if bar then
        io.stderr:write "\r\27[K"
    end
    if not ok then -- what is wrong with the request itself
        output.fail(session.exit.usage, "%s", (tostring(id):gsub("^.-upload_new_file: ", "")
            :gsub("filesize", "--filesize")))
    end
    session.check(id, err)
    if options.json then
        output.json_text(require("perilune").json.encode { file_object_id = id })
    else
        output.print("%s", output.clean(id))
    end
end

local function number(options)
    local service <close> = session.open_cim(options)
    local numbers = session.check(service.generator:get_numbers(options.generator, options.count or 1))
    if options.json then
        output.json_text(require("perilune").json.encode { numbers = numbers })
        return
    end
    for _, value in ipairs(numbers) do
        output.print("%d", value)
    end
end

local WHERE = "\n\n--url is here the URL of the access service itself (its service_url); without it the host on\n"
    .. "this machine is asked, below its /cim."

function cim.register(parser)
    local command = parser:command("upload", "Upload a file below a parent object; print its id.")
        :epilog("Examples:\n  perilune upload report.pdf --parent doc-1\n"
            .. "  tar c folder | perilune upload - --parent doc-1 --name folder.tar --filesize 1048576" .. WHERE)
    command:argument("file", "The file; - reads standard input."):convert(units.parse_text)
    command:option("--parent", "The object that it is to belong to."):count(1):argname "<id>"
    command:option("--name", "Its name there; default that of the file.")
    command:option("--persno", "The user; default PERILUNE_PERSNO, else who is logged in."):argname "<id>"
    command:option("--filesize", "Bytes; needed for standard input that is a pipe."):convert(parse_bytes)
        :argname "<bytes>"
    command:option("--concurrency", "Chunks under way at once, 1 to 16; default 1."):convert(parse_bytes):argname "<n>"
    command:action(function(options) options.run = upload end)

    command = parser:command("number", "Print the next number of a generator.")
        :epilog("Examples:\n  perilune number external_part_number\n  perilune number report_no --count 5" .. WHERE)
    command:argument("generator", "The generator's name."):convert(units.parse_text)
    command:option("--count", "How many, 1 to 100; one a line."):convert(parse_count):argname "<n>"
    command:action(function(options) options.run = number end)
end

return cim
