/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "rt.h"

/* Who runs when. Two queues: `ready` holds tasks that are new or whose I/O is done, `spent` those that used up a slice.
 * A turn of the loop runs the ready ones, then one of the spent, so that a call behind many busy ones waits for one
 * slice, not for one of each. */

#define TURN_NS INT64_C(4000000)
#define SWEEP_NS INT64_C(1000000000)
#define SWEEP_SLACK (64 * 1024)
#define MS INT64_C(1000000)

struct rt_handles {
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle;
    uv_timer_t timer;
    unsigned open;
};

int64_t peri__now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- lists ---- */

void peri__list_push(struct rt_list *list, struct rt_task *task)
{
    task->list = list;
    task->next = NULL;
    task->prev = list->tail;
    if (list->tail) {
        list->tail->next = task;
    } else {
        list->head = task;
    }
    list->tail = task;
}

void peri__list_remove(struct rt_task *task)
{
    struct rt_list *list = task->list;
    struct rt_runtime *rt = task->version->rt;
    if (!list) {
        return;
    }
    if (task->prev) {
        task->prev->next = task->next;
    } else {
        list->head = task->next;
    }
    if (task->next) {
        task->next->prev = task->prev;
    } else {
        list->tail = task->prev;
    }
    task->list = NULL;
    task->prev = task->next = NULL;
    if (list == &rt->ready || list == &rt->spent) {
        atomic_store_explicit(&rt->queued, rt->queued - 1, memory_order_relaxed);
    }
}

static void on_idle(uv_idle_t *idle)
{
    (void)idle; /* an active idle handle keeps the loop from sleeping: that is all it is for */
}

void peri__enqueue(struct rt_task *task, enum rt_status status)
{
    struct rt_runtime *rt = task->version->rt;
    peri__list_remove(task);
    task->status = status;
    peri__list_push(status == RT_SPENT ? &rt->spent : &rt->ready, task);
    atomic_store_explicit(&rt->queued, rt->queued + 1, memory_order_relaxed);
    uv_idle_start(&rt->handles->idle, on_idle);
}

/* ---- the end of a task ---- */

void peri__count_task(struct rt_runtime *rt, int change)
{
    unsigned before = rt->task_count;
    rt->task_count = (unsigned)((int)before + change);
    if (before == 0) {
        uv_ref((uv_handle_t *)&rt->handles->timer);
    } else if (rt->task_count == 0) {
        uv_unref((uv_handle_t *)&rt->handles->timer);
    }
}

/* Within a slice of the task: its code has ended with this status, or is to be ended. */
static void end_task(struct rt_task *task, int status)
{
    struct rt_version *version = task->version;
    struct rt_runtime *rt = version->rt;
    struct rt_state *state = task->state;
    if (!peri__outcome(task, status)) {
        peri__slice_end(rt);
        peri__enqueue(task, RT_READY);
        return;
    }
    peri__state_thread_done(task, status == LUA_OK);
    peri__service_close(task);
    peri__slice_end(rt);
    if (state && task->kind == RT_CALL && task->code == PERI_HANDLER_MEMORY) {
        peri__state_retire(state); /* what the call left behind is not held against others */
    }
    peri__outcome_send(task);
    if (state) {
        peri__state_release(state);
        if (rt->sweep_ns == RT_NEVER) {
            rt->sweep_ns = peri__now_ns() + SWEEP_NS;
            peri__alarm(rt, rt->sweep_ns);
        }
    }
    peri__task_free(task);
    peri__version_release(version);
}

void peri__kill(struct rt_task *task, enum peri_code code)
{
    int alive = PERI_OK;
    if (!atomic_compare_exchange_strong(&task->killed, &alive, (int)code)) {
        return;
    }
    if (task->status == RT_RUNNING) {
        peri__arm_kill(atomic_load(&task->version->rt->current));
    } else {
        peri__enqueue(task, RT_READY);
    }
}

/* ---- slices ---- */

static bool start(struct rt_task *task)
{
    if (!peri__state_thread(task)) {
        peri__outcome_set(task, PERI_HANDLER_FAILED, "no memory for a coroutine");
        return false;
    }
    lua_pushcfunction(task->co, task->kind == RT_LOAD ? peri__load_main : peri__call_main);
    lua_pushlightuserdata(task->co, task);
    task->arguments = 1;
    return true;
}

/* When the loop has a timer due, somebody waits for that; with work in the queue that is known anyway. */
static void note_loop(struct rt_runtime *rt)
{
    int64_t due_ns = 0;
    if (rt->queued == 0) {
        uv_loop_t *uv = peri_loop_uv(rt->loop);
        uv_idle_stop(&rt->handles->idle);
        int timeout = uv_backend_timeout(uv);
        due_ns = timeout < 0 ? RT_NEVER : ((int64_t)uv_now(uv) + timeout) * MS;
    }
    atomic_store_explicit(&rt->loop_due_ns, due_ns, memory_order_relaxed);
}

/* The task has yielded to the scheduler: what it waits for decides where it goes. */
static void park(struct rt_task *task, enum rt_yield yield)
{
    struct rt_runtime *rt = task->version->rt;
    peri__slice_end(rt);
    if (yield == RT_YIELD_PREEMPT) {
        rt->preemptions++;
        peri__enqueue(task, RT_SPENT);
    } else if (task->wakeup) {
        task->wakeup = false;
        peri__enqueue(task, RT_READY);
    } else {
        task->status = RT_WAITING;
        peri__list_push(&rt->waiting, task);
        if (task->wake_ns != RT_NEVER) {
            peri__alarm(rt, task->wake_ns);
        }
    }
}

/* Gives the task one slice, which began at now_ns; returns the time after it. */
static int64_t run_slice(struct rt_task *task, int64_t now_ns)
{
    struct rt_runtime *rt = task->version->rt;
    peri__list_remove(task);
    note_loop(rt);
    bool fresh = !task->co;
    bool killed = atomic_load(&task->killed) != PERI_OK;
    task->status = RT_RUNNING;
    if (killed || (fresh && !start(task))) {
        peri__slice_begin(rt, task, NULL, now_ns);
        end_task(task, LUA_ERRRUN);
        return peri__now_ns();
    }
    struct rt_link whole = { NULL, true };
    rt->link = &whole;
    rt->raised = NULL;
    rt->yield = RT_YIELD_USER;
    *peri__thread_child(task->co) = *peri__thread_child(task->co) == RT_BLOCKED ? NULL : *peri__thread_child(task->co);
    int count = task->arguments;
    task->arguments = 0;
    int results;
    peri__slice_begin(rt, task, task->co, now_ns);
    int status = lua_resume(task->co, NULL, count, &results);
    atomic_store(&rt->current, NULL);
    rt->link = NULL;
    int64_t end_ns = peri__now_ns();
    task->cpu_ns += (uint64_t)(end_ns - now_ns);
    if (status != LUA_YIELD || rt->yield == RT_YIELD_USER || atomic_load(&task->killed)) {
        end_task(task, status);
    } else {
        park(task, rt->yield);
    }
    return end_ns;
}

/* The loop is about to poll: what was sent before has been written, or will be. */
static void on_prepare(uv_prepare_t *prepare)
{
    struct rt_runtime *rt = prepare->data;
    atomic_store_explicit(&rt->output, false, memory_order_relaxed);
}

static void on_check(uv_check_t *check)
{
    struct rt_runtime *rt = check->data;
    if (rt->queued == 0) {
        return;
    }
    int64_t start_ns = peri__now_ns(), now_ns = start_ns;
    const struct rt_task *last = rt->ready.tail;
    bool spent = rt->spent.head != NULL; /* who is preempted in this turn made room for the loop, not for itself */
    while (rt->ready.head && now_ns - start_ns < TURN_NS) {
        bool done = rt->ready.head == last;
        now_ns = run_slice(rt->ready.head, now_ns);
        if (done) {
            break;
        }
    }
    /* Answers go out before a long slice, but not for ever before it. */
    rt->postponed = atomic_load_explicit(&rt->output, memory_order_relaxed) && !rt->postponed;
    if (spent && rt->spent.head && !rt->postponed) {
        run_slice(rt->spent.head, now_ns);
    }
    if (rt->queued == 0) {
        uv_idle_stop(&rt->handles->idle);
    }
}

/* ---- time ---- */

static void on_alarm(uv_timer_t *timer);

void peri__alarm(struct rt_runtime *rt, int64_t at_ns)
{
    if (at_ns >= rt->armed_ns) {
        return;
    }
    rt->armed_ns = at_ns;
    uv_loop_t *uv = peri_loop_uv(rt->loop);
    int64_t delay_ms = (at_ns + MS - 1) / MS - (int64_t)uv_now(uv);
    uv_timer_start(&rt->handles->timer, on_alarm, delay_ms > 0 ? (uint64_t)delay_ms : 0, 0);
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void sweep(struct rt_runtime *rt, int64_t now_ns)
{
    bool again = false;
    rt->sweep_ns = RT_NEVER;
    for (struct rt_state *state = rt->states; state; state = state->next) {
        if (state->lingering && peri__service_sweep(state, now_ns)) {
            again = true;
        }
        if (!state->dirty) {
            continue;
        }
        if (state->tasks) {
            again = true;
        } else if (state->bytes > state->collected + state->collected / 4 + SWEEP_SLACK || !state->collected) {
            peri__state_collect(state);
        }
    }
    if (again) {
        rt->sweep_ns = now_ns + SWEEP_NS;
    }
}

static void on_alarm(uv_timer_t *timer)
{
    struct rt_runtime *rt = timer->data;
    int64_t now_ns = peri__now_ns();
    int64_t next_ns = RT_NEVER;
    rt->armed_ns = RT_NEVER;
    for (uint32_t i = 0; i < rt->slot_count; i++) {
        struct rt_task *task = rt->slots[i].task;
        if (!task || atomic_load(&task->killed)) {
            continue;
        }
        if (task->deadline_ns <= now_ns) {
            peri__kill(task, PERI_HANDLER_TIMEOUT);
            continue;
        }
        next_ns = earlier(next_ns, task->deadline_ns);
        if (task->status == RT_WAITING && task->wake_ns <= now_ns) {
            peri__enqueue(task, RT_READY);
        } else if (task->status == RT_WAITING) {
            next_ns = earlier(next_ns, task->wake_ns);
        }
    }
    if (rt->sweep_ns <= now_ns) {
        sweep(rt, now_ns);
    }
    peri__alarm(rt, earlier(next_ns, rt->sweep_ns));
}

/* ---- waiting, for operations of perilune in a handler ---- */

static int block(lua_State *L, struct peri_lua_waiter *waiter, int64_t timeout_ms, lua_KContext context,
                 lua_KFunction k)
{
    struct rt_runtime *rt = ((struct rt_state *)waiter->data)->rt;
    struct rt_task *task = peri__running(L);
    if (!task || !peri__can_yield(L)) {
        return luaL_error(L, "can't wait here: within a function that C calls back (of table.sort or string.gsub, or a "
                             "metamethod)");
    }
    if (atomic_load(&task->killed)) {
        return peri__raise_kill(L);
    }
    task->wake_ns = timeout_ms < 0 ? RT_NEVER : peri__now_ns() + timeout_ms * MS;
    rt->yield = RT_YIELD_WAIT;
    *peri__thread_child(L) = RT_BLOCKED;
    return lua_yieldk(L, 0, context, k);
}

static void ready(struct peri_lua_waiter *waiter, void *waiting)
{
    struct rt_runtime *rt = ((struct rt_state *)waiter->data)->rt;
    struct rt_task *task = peri__task_from_handle(rt, waiting);
    if (task && task->status == RT_WAITING) {
        peri__enqueue(task, RT_READY);
    } else if (task) {
        task->wakeup = true;
    }
}

static void *current(struct peri_lua_waiter *waiter, lua_State *L)
{
    (void)waiter;
    struct rt_task *task = peri__running(L);
    return task ? peri__task_handle(task) : NULL;
}

void peri__waiter_init(struct rt_state *state)
{
    state->waiter = (struct peri_lua_waiter){ state->rt->loop, block, ready, current, state };
}

/* ---- the loop's handles ---- */

static void on_closed(uv_handle_t *handle)
{
    struct rt_handles *handles = uv_handle_get_data(handle);
    if (--handles->open == 0) {
        free(handles);
    }
}

enum peri_code peri__scheduler_init(struct rt_runtime *rt, struct peri_error *err)
{
    struct rt_handles *handles = calloc(1, sizeof(*handles));
    if (!handles) {
        return peri_error_set(err, PERI_NOMEM, "no memory for a runtime");
    }
    uv_loop_t *uv = peri_loop_uv(rt->loop);
    uv_prepare_init(uv, &handles->prepare);
    uv_check_init(uv, &handles->check);
    uv_idle_init(uv, &handles->idle);
    uv_timer_init(uv, &handles->timer);
    handles->open = 4;
    handles->prepare.data = handles->check.data = handles->idle.data = handles->timer.data = rt;
    uv_prepare_start(&handles->prepare, on_prepare);
    uv_check_start(&handles->check, on_check);
    uv_unref((uv_handle_t *)&handles->prepare);
    uv_unref((uv_handle_t *)&handles->check);
    uv_unref((uv_handle_t *)&handles->timer);
    rt->handles = handles;
    rt->armed_ns = rt->sweep_ns = RT_NEVER;
    return PERI_OK;
}

void peri__scheduler_fini(struct rt_runtime *rt)
{
    struct rt_handles *handles = rt->handles;
    if (!handles) {
        return;
    }
    rt->handles = NULL;
    uv_handle_t *all[] = { (uv_handle_t *)&handles->prepare, (uv_handle_t *)&handles->check,
                           (uv_handle_t *)&handles->idle, (uv_handle_t *)&handles->timer };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        all[i]->data = handles;
        uv_close(all[i], on_closed);
    }
}
