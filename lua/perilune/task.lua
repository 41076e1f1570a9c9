-- SPDX-License-Identifier: MIT
-- Tasks: coroutines that wait for operations together, on one thread. Inside a task a call yields, outside it blocks.
-- A group is what one run, gather or script waits for as a whole; its queue says which operation is done. The only
-- blocking primitive is the core's wait, so the same code works in a handler, where waiting yields to the sandbox.

local core = require "perilune.core"
local errors = require "perilune.error"

local pack, unpack = table.pack, table.unpack
local running, create, resume, yield = coroutine.running, coroutine.create, coroutine.resume, coroutine.yield
local status = coroutine.status
local insert, remove = table.insert, table.remove

local task_of = setmetatable({}, { __mode = "k" }) -- coroutine to its task
local latest -- the task that is being resumed, most often the one that runs
local group_of = setmetatable({}, { __mode = "k" }) -- coroutine outside any task to the group that it drives

---@class perilune.task
---@field package thread thread
---@field package group table
---@field package slot integer its place in the group's tasks
---@field package state "ready"|"waiting"|"running"|"done"|"failed"|"cancelled"
local Task = {}
Task.__index = Task
Task.__name = "perilune.task"

---@class perilune.tasks
local tasks = {}

local function new_group()
    -- tasks: those that have not ended, by slot; free: slots that were given back
    return { queue = nil, ready = {}, first = 1, last = 0, tasks = {}, live = 0, slots = 0, free = {} }
end

--- In a sandbox calls take turns, so that the latest task may be another call's.
local function current_task(thread)
    if latest and latest.thread == thread then
        return latest
    end
    return task_of[thread]
end

local function current_group()
    local thread = running()
    local task = current_task(thread)
    if task then
        return task.group, task
    end
    local group = group_of[thread]
    if not group then
        group = new_group()
        group_of[thread] = group
    end
    return group, nil
end

local function make_ready(task)
    local group = task.group
    task.state = "ready"
    group.last = group.last + 1
    group.ready[group.last] = task
end

local function cancelled()
    return errors.new { code = "cancelled", message = "the task was cancelled" }
end

local function new_task(group, f, ...)
    -- Fields that are looked at often are there from the start: false is found sooner than what is absent.
    local task = setmetatable({ thread = create(f), group = group, arguments = pack(...), op = false, results = false },
        Task)
    task_of[task.thread] = task
    task.slot = remove(group.free)
    if not task.slot then
        group.slots = group.slots + 1
        task.slot = group.slots
    end
    group.tasks[task.slot] = task
    group.live = group.live + 1
    make_ready(task)
    return task
end

--- Ends a task and wakes those that wait for it. The last one gives the group's queue back.
local function finish(task, state, results)
    local group = task.group
    task.state, task.results = state, results
    group.tasks[task.slot] = nil
    insert(group.free, task.slot)
    group.live = group.live - 1
    if group.queue and group.live == 0 then
        group.queue:close()
        group.queue = nil
    end
    for _, waiter in ipairs(task.waiters or {}) do
        if waiter.awaiting == task then
            waiter.awaiting = nil
            make_ready(waiter)
        end
    end
    task.waiters = nil
    if state == "failed" and not task.watched then
        group.lost = group.lost or task
    end
end

--- What follows a turn of a task, given what resume answered.
local function after(task, ok, ...)
    latest = nil
    if task.state ~= "running" then
        return -- it waits, or was cancelled
    elseif not ok then
        finish(task, "failed", { n = 1, (...) })
    elseif status(task.thread) == "dead" then
        finish(task, "done", pack(...))
    else
        -- A yield that is not ours: give the others a turn, then go on.
        make_ready(task)
    end
end

local function step(task)
    local arguments = task.arguments
    latest, task.state = task, "running"
    if arguments then
        task.arguments = false
        after(task, resume(task.thread, unpack(arguments, 1, arguments.n)))
    else
        after(task, resume(task.thread))
    end
end

--- Runs the group's tasks until the task has ended; with all, until the others have too, unless it failed.
local function drive(group, awaited, all)
    while not awaited.results or (all and group.live > 0 and awaited.state ~= "failed") do
        if group.first <= group.last then
            local task = group.ready[group.first]
            group.ready[group.first] = nil
            group.first = group.first + 1
            if task.state == "ready" then
                step(task)
            end
        else
            local queue = group.queue
            local task = queue and group.tasks[queue:wait()]
            if not task then
                error("all tasks wait for each other", 0)
            end
            step(task) -- none was before it
        end
    end
end

--- Lets the running task wait until op needs attention.
local function suspend(task, op)
    local group = task.group
    task.state, task.op = "waiting", op
    local queue = group.queue
    if not queue then
        queue = core.queue()
        group.queue = queue
    end
    queue:add(op, task.slot) -- what keeps op alive is the task, which the group holds
    yield()
    task.op = false
end

local function feed(op, source)
    local chunk, err = source()
    if chunk == nil and err ~= nil then
        op:feed(nil, tostring(err))
    else
        op:feed(chunk)
    end
end

--- As tasks.await, where the wait may end by a raise: outside a task, and while functions of the caller run.
local function attend(task, op, source, sink, metatable, on_progress)
    local _ <close> = op
    while true do
        local what = op:attention()
        if what == "done" then
            return op:conclude(metatable)
        elseif what == "data" then
            sink(op:take())
        elseif what == "more" then
            feed(op, source)
        elseif what == "progress" then
            on_progress(op:progress())
        elseif task then
            suspend(task, op)
        else
            op:wait()
        end
    end
end

--- Waits for an operation and concludes it. source makes the body that it sends, sink takes what it receives: both run
--- here, in the coroutine that waits.
---@param op perilune.core.op
---@param source? fun(): string?, any
---@param sink? fun(chunk: string)
---@param metatable? table of the reply, if that is wanted
---@param on_progress? fun(sent: integer, total: integer) of an upload; called here, too
---@return any result
---@return any err_or_reply
function tasks.await(op, source, sink, metatable, on_progress)
    local task = current_task(running())
    if not task or source or sink or on_progress then
        return attend(task, op, source, sink, metatable, on_progress)
    end
    suspend(task, op) -- if the task is cancelled meanwhile, that closes op
    return op:conclude(metatable)
end

--- Starts f as a task. It makes progress whenever its group waits.
---@param f fun(...): ...
---@param ... any arguments
---@return perilune.task
function tasks.spawn(f, ...)
    return new_task(current_group(), f, ...)
end

--- Waits until the task has ended: its results; nil and the error when it was cancelled. What it raised is raised here.
---@return any ...
function Task:await()
    self.watched = true
    local _, me = current_group()
    if self.group.lost == self then
        self.group.lost = nil
    end
    if me == self then
        error("a task can't wait for itself", 2)
    elseif me and me.group == self.group and not self.results then
        self.waiters = self.waiters or {}
        insert(self.waiters, me)
        me.state, me.awaiting = "waiting", self
        yield()
    else
        drive(self.group, self)
    end
    if self.state == "failed" then
        error(self.results[1], 0)
    end
    return unpack(self.results, 1, self.results.n)
end

--- Ends the task where it waits: its to-be-closed variables are closed, its operation is freed, no more of it runs.
function Task:cancel()
    if self.results then
        return
    elseif self.state == "running" then
        error("a task can't cancel itself or what called it", 2)
    end
    local op = self.op
    if op then
        self.group.queue:remove(op)
        op:close()
    end
    self.awaiting = nil
    coroutine.close(self.thread)
    finish(self, "cancelled", { n = 2, nil, cancelled() })
end

--- "ready", "waiting", "running", "done", "failed" (it raised) or "cancelled".
---@return string
function Task:status()
    return self.state
end

function Task:__tostring()
    return ("perilune.task (%s)"):format(self.state)
end

--- Cancels what is left of a group.
local function close_group(group)
    local left = {}
    for _, task in pairs(group.tasks) do
        left[#left + 1] = task
    end
    for _, task in ipairs(left) do
        if task.state ~= "running" then
            task:cancel()
        end
    end
end

local function in_a_group(f, ...)
    local group = new_group()
    local _ <close> = setmetatable({}, { __close = function() close_group(group) end })
    local main = new_task(group, f, ...)
    main.watched = true
    drive(group, main, true)
    local failed = main.state == "failed" and main or group.lost
    if failed then
        error(failed.results[1], 0)
    end
    return unpack(main.results, 1, main.results.n)
end

--- Runs f as a task, and all that it spawns, until all have ended; returns what f returned. In a task: just calls f.
---@param f fun(...): ...
---@param ... any arguments
---@return any ...
function tasks.run(f, ...)
    if current_task(running()) then
        return f(...)
    end
    return in_a_group(f, ...)
end

---@class perilune.gather_options
---@field concurrency? integer at most so many at once; default: all
---@field settle? boolean let every function end: results are {ok = true, value = v} or {ok = false, error = err}

--- One worker's share: the next function, until none is left or one has failed.
local function work(state)
    while state.next <= state.count and not state.failed do
        local i = state.next
        state.next = i + 1
        local ok, value, err = pcall(state.functions[i])
        local bug = not ok and not errors.is(value)
        if bug then
            state.failed = { raised = value }
        elseif not ok or (value == nil and err ~= nil) then
            local failure = err
            if not ok then
                failure = value
            end
            if state.settle then
                state.results[i] = { ok = false, error = failure }
            else
                state.failed = { error = failure }
            end
        else
            state.results[i] = state.settle and { ok = true, value = value } or value
        end
    end
end

local function gather(state, concurrency)
    local workers = {}
    local _ <close> = setmetatable({}, {
        __close = function()
            for _, worker in ipairs(workers) do
                worker:cancel()
            end
        end,
    })
    for i = 1, math.min(concurrency, state.count) do
        workers[i] = tasks.spawn(function()
            work(state)
            if state.failed and state.stop then
                state.stop()
            end
        end)
    end
    local _, me = current_group()
    state.stop = function()
        if me.state == "waiting" and me.awaiting then
            me.awaiting = nil
            make_ready(me)
        end
    end
    for _, worker in ipairs(workers) do
        if state.failed then
            break
        end
        worker.watched = true
        if not worker.results then
            worker.waiters = { me }
            me.state, me.awaiting = "waiting", worker
            yield()
        end
    end
    if state.failed and state.failed.raised ~= nil then
        error(state.failed.raised, 0)
    elseif state.failed then
        return nil, state.failed.error
    end
    return state.results
end

--- Calls functions at the same time and returns the list of their first results. When one fails (returns nil and an
--- error, or raises one), the others are cancelled and gather returns nil and that error; any other raise goes on up.
---@param ... (fun(): any)|(fun(): any)[]|perilune.gather_options functions, or a list of them; then options
---@return any[]? results
---@return perilune.error? err
function tasks.gather(...)
    local given = pack(...)
    local options = {}
    local functions = given
    if type(given[1]) == "table" then
        functions, options = given[1], given[2] or options
    elseif type(given[given.n]) == "table" then
        options = given[given.n]
        given[given.n] = nil
    end
    for name in pairs(options) do
        if name ~= "concurrency" and name ~= "settle" then
            error(("gather: unknown option '%s'"):format(name), 2)
        end
    end
    for i = 1, #functions do
        if type(functions[i]) ~= "function" then
            error(("gather: argument %d is a %s, not a function"):format(i, type(functions[i])), 2)
        end
    end
    local concurrency = options.concurrency or math.huge
    if type(concurrency) ~= "number" or concurrency < 1 then
        error("gather: concurrency must be a number from 1 on", 2)
    end
    local state = { functions = functions, count = #functions, next = 1, results = {}, settle = options.settle }
    return tasks.run(gather, state, concurrency)
end

---@param seconds number
---@return boolean? ok
---@return perilune.error? err
function tasks.sleep(seconds)
    local op, err = core.sleep(seconds)
    if not op then
        return nil, err
    end
    return tasks.await(op)
end

return tasks
