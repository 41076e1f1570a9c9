-- SPDX-License-Identifier: MIT
-- generator, parent, file: what a host's access service works with.
local output = require "perilune.cli.output"
local session = require "perilune.cli.session"
local units = require "perilune.cli.units"

local access = {}

local function json_of(value)
    return require("perilune").json.encode(value)
end

local function parse_integer(text)
    local number = math.tointeger(tonumber(text:match("^[+-]?%d+$")))
    if not number then
        return nil, ("'%s' is not a whole number of 64 bits"):format(text)
    end
    return number
end

local function parse_limit(text)
    local count = parse_integer(text)
    if not count or count < 1 then
        return nil, ("'%s' is not a number from 1 on"):format(text)
    end
    return count
end

local function parse_id(text)
    local id = math.tointeger(tonumber(text:match("^%d+$")))
    if not id or id < 1 then
        return nil, ("'%s' is not the id of a file (a whole number)"):format(text)
    end
    return id
end

-- What is common to all: one object as facts, several as a table, or either as JSON; deletions.

local function show_one(options, object, facts)
    if options.json then
        output.json_text(json_of(object))
    else
        output.facts(facts(object))
    end
end

local function show_all(options, iterator, none, columns, row)
    local items, rows = {}, {}
    for item in iterator do
        items[#items + 1] = item
        rows[#rows + 1] = row(item)
    end
    if options.json then
        output.json_text(json_of(require("perilune").array(items)))
    elseif #items == 0 then
        output.remark("%s", none)
    else
        output.table(columns, rows)
    end
end

local function delete_all(options, names, group)
    local host <close> = session.open(options)
    for _, name in ipairs(names) do
        session.check(host[group]:delete(name))
        if not options.json then
            output.print("deleted %s", name)
        end
    end
    if options.json then
        output.json_text(json_of { deleted = require("perilune").array(names) })
    end
end

-- Generators.

local function generator_facts(generator)
    return {
        { "generator", generator.name },
        { "start", generator.start },
        { "step", generator.step },
        { "last", generator.last or "none" },
        { "created", units.time(generator.created_at) },
        { "used", generator.last and units.time(generator.updated_at) },
    }
end

local function generator_create(options)
    local host <close> = session.open(options)
    show_one(options, session.check(host.generators:create {
        name = options.name, start = options.start, step = options.step }), generator_facts)
end

local function generator_list(options)
    local host <close> = session.open(options)
    show_all(options, host.generators:each { limit = options.limit },
        "there is no number generator; 'perilune generator create NAME' makes one",
        { { "NAME", shrink = true }, { "START", right = true }, { "STEP", right = true }, { "LAST", right = true },
            { "CREATED" } },
        function(generator)
            return { generator.name, generator.start, generator.step, generator.last or "none",
                units.time(generator.created_at) }
        end)
end

local function generator_show(options)
    local host <close> = session.open(options)
    show_one(options, session.check(host.generators:get(options.name)), generator_facts)
end

-- Parents.

local function names(list)
    return #list > 0 and table.concat(list, ", ") or nil
end

local function parent_facts(parent)
    local open = not parent.owner and #parent.readers == 0 and #parent.writers == 0
    return {
        { "parent", parent.id },
        { "owner", parent.owner },
        { "readers", names(parent.readers) },
        { "writers", names(parent.writers) },
        { "access", open and "everyone" or nil },
        { "created", units.time(parent.created_at) },
        { "changed", units.time(parent.updated_at) },
    }
end

local function parent_create(options)
    local host <close> = session.open(options)
    show_one(options, session.check(host.parents:create {
        id = options.id, owner = options.owner, readers = options.readers, writers = options.writers }), parent_facts)
end

local function parent_list(options)
    local host <close> = session.open(options)
    show_all(options, host.parents:each { limit = options.limit },
        "there is no parent; 'perilune parent create ID' makes one",
        { { "ID", shrink = true }, { "OWNER", shrink = true }, { "READERS", shrink = true },
            { "WRITERS", shrink = true }, { "CREATED" } },
        function(parent)
            return { parent.id, parent.owner or "", names(parent.readers) or "", names(parent.writers) or "",
                units.time(parent.created_at) }
        end)
end

local function parent_show(options)
    local host <close> = session.open(options)
    show_one(options, session.check(host.parents:get(options.id)), parent_facts)
end

-- Files.

local function file_list(options)
    local host <close> = session.open(options)
    show_all(options, host.files:each { limit = options.limit, parent = options.parent },
        "there is no file; 'perilune upload FILE --parent ID' sends one",
        { { "ID" }, { "NAME", shrink = true }, { "PARENT", shrink = true }, { "SIZE", right = true }, { "MODIFIED" } },
        function(file)
            return { file.id, file.filename, file.parent, units.size(file.filesize), units.time(file.modified_at) }
        end)
end

local function file_show(options)
    local host <close> = session.open(options)
    show_one(options, session.check(host.files:get(options.id)), function(file)
        return {
            { "file", file.id },
            { "name", file.filename },
            { "parent", file.parent },
            { "size", units.size(file.filesize) },
            { "sha256", file.sha256 },
            { "person", file.persno },
            { "created", units.time(file.created_at) },
            { "modified", units.time(file.modified_at) },
            { "locked", file.locked and "an upload is under way" or nil },
        }
    end)
end

local function file_get(options)
    local host <close> = session.open(options)
    local to_file = options.output and options.output ~= "-"
    session.check(host.files:download(options.id, to_file and { path = options.output } or function(chunk)
        output.write(chunk)
    end))
    output.flush()
end

local function runs(command, run)
    command:action(function(options) options.run = run end)
    return command
end

local function group_of(parser, name, description)
    local group = parser:command(name, description)
    group:require_command(true)
    group:command_target("subcommand")
    return group
end

local function limit_option(command)
    command:option("--limit", "How many at most."):convert(parse_limit)
    return command
end

local function register_generators(parser)
    local group = group_of(parser, "generator", "Number generators of the access service.")
    local command = runs(group:command("create", "Create a number generator."), generator_create)
        :epilog("Example:\n  perilune generator create part --start 1000 --step 10")
    command:argument("name", "Any text."):convert(units.parse_text)
    command:option("--start", "Its first number (default 1)."):convert(parse_integer)
    command:option("--step", "From one number to the next (default 1); below 0 as --step=-1."):convert(parse_integer)
    limit_option(runs(group:command("list", "List number generators by name."), generator_list))
    runs(group:command("show", "Show a number generator."), generator_show)
        :argument("name", "Its name."):convert(units.parse_text)
    runs(group:command("delete", "Delete number generators; one of the same name begins anew."), function(options)
        delete_all(options, options.names, "generators")
    end):argument("names", "Their names."):args("+"):convert(units.parse_text)
end

local function register_parents(parser)
    local group = group_of(parser, "parent", "What files of the access service belong to, and who may do what.")
    local command = runs(group:command("create", "Create a parent, or change who may do what."), parent_create)
        :epilog("Without --owner, --reader and --writer it is open to everyone; '*' as a reader or writer is everyone."
            .. "\n\nExample:\n  perilune parent create doc-1 --owner caddok --reader alice --reader bob")
    command:argument("id", "Any text."):convert(units.parse_text)
    command:option("--owner", "Who may read and write its files."):convert(units.parse_text)
    command:option("--reader", "Who may read them; may be repeated."):count("*"):target("readers")
        :convert(units.parse_text)
    command:option("--writer", "Who may read and write them; may be repeated."):count("*"):target("writers")
        :convert(units.parse_text)
    limit_option(runs(group:command("list", "List parents by id."), parent_list))
    runs(group:command("show", "Show a parent."), parent_show)
        :argument("id", "Its id."):convert(units.parse_text)
    runs(group:command("delete", "Delete parents without files."), function(options)
        delete_all(options, options.ids, "parents")
    end):argument("ids", "Their ids."):args("+"):convert(units.parse_text)
end

local function register_files(parser)
    local group = group_of(parser, "file", "Files of the access service.")
    local command = limit_option(runs(group:command("list", "List files, newest first."), file_list))
    command:option("--parent", "Only those of this parent."):convert(units.parse_text)
    runs(group:command("show", "Show a file's record."), file_show)
        :argument("id", "Its id."):convert(parse_id)
    command = runs(group:command("get", "Write a file's content to standard output, or into a file."), file_get)
        :epilog("Example:\n  perilune file get 245678901234567 -o report.pdf")
    command:argument("id", "Its id."):convert(parse_id)
    command:option("-o --output", "Where to, instead of standard output."):argname "<file>"
    runs(group:command("delete", "Delete files."), function(options)
        delete_all(options, options.ids, "files")
    end):argument("ids", "Their ids."):args("+"):convert(parse_id)
end

function access.register(parser)
    register_generators(parser)
    register_parents(parser)
    register_files(parser)
end

return access
