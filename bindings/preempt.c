/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "rt.h"

/* How a running handler is stopped. While slices run, a timer signals the thread every RT_SLICE_NS. The signal handler
 * arms a hook in the running coroutine when its deadline is over, or when its slice is and somebody else waits; the
 * hook raises or yields. Code that nobody waits for runs without any hook.
 *
 * An armed kill is checked before every instruction, so that a loop around pcall ends too (coroutine.c passes the error
 * on). A preemption that can't yield where it is (in a comparison function of table.sort, say) tries again soon. */

#define RETRY_COUNT 1000
#define KILL_MASK (LUA_MASKLINE | LUA_MASKCOUNT)

static const char kill_token; /* the error value of a kill: its address, so that raising it needs no memory */

static int signal_number(void)
{
    return SIGRTMIN + 7;
}

static void set_timer(struct rt_runtime *rt, long interval_ns)
{
    struct itimerspec spec = { { 0, interval_ns }, { 0, interval_ns } };
    timer_settime(rt->timer, 0, &spec, NULL);
}

/* Asks the kernel: is anything for the loop to read? libuv's descriptor is an epoll one, readable when one of its is. */
static bool somebody_waits(struct rt_runtime *rt, int64_t now_ns)
{
    if (atomic_load_explicit(&rt->queued, memory_order_relaxed) || atomic_load(&rt->output) ||
        now_ns >= atomic_load_explicit(&rt->loop_due_ns, memory_order_relaxed)) {
        return true;
    }
    struct pollfd waiting = { uv_backend_fd(peri_loop_uv(rt->loop)), POLLIN, 0 };
    return poll(&waiting, 1, 0) > 0;
}

int peri__raise_kill(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)&kill_token);
    return lua_error(L);
}

bool peri__can_yield(lua_State *L)
{
    const struct rt_link *link = peri__state_of(L)->rt->link;
    return lua_isyieldable(L) && link && link->yieldable;
}

static void on_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct rt_runtime *rt = peri__state_of(L)->rt;
    struct rt_task *task = peri__running(L);
    if (task && atomic_load(&task->killed)) {
        rt->raised = L;
        peri__raise_kill(L);
    }
    if (!task || !atomic_load(&rt->preempt)) {
        peri__disarm(L); /* armed for a slice that has ended since */
        return;
    }
    if (!peri__can_yield(L)) {
        lua_sethook(L, on_hook, LUA_MASKCOUNT, RETRY_COUNT);
        return;
    }
    peri__disarm(L);
    atomic_store(&rt->preempt, false);
    rt->yield = RT_YIELD_PREEMPT;
    *peri__thread_child(L) = RT_BLOCKED;
    lua_yield(L, 0);
}

void peri__reset_thread(lua_State *L)
{
    struct rt_runtime *rt = peri__state_of(L)->rt;
    *peri__thread_child(L) = NULL;
    if (rt->raised == L) {
        rt->raised = NULL;
        return;
    }
    atomic_store_explicit(&rt->current, L, memory_order_relaxed);
    peri__arm_kill(L); /* disarms itself when there is no kill */
    lua_resetthread(L);
    peri__disarm(L);
}

void peri__arm_kill(lua_State *L)
{
    lua_sethook(L, on_hook, KILL_MASK, 1);
}

void peri__disarm(lua_State *L)
{
    lua_sethook(L, NULL, 0, 0);
}

/* Lua visits every frame of L to arm a hook: in a deep recursion that may take longer than a tick, so once must do. */
static void arm(struct rt_runtime *rt, lua_State *L, int mask)
{
    if (lua_gethook(L) != on_hook || (lua_gethookmask(L) & mask) != mask) {
        atomic_fetch_add(&rt->hooks, 1);
        lua_sethook(L, on_hook, mask, 1);
    }
}

static void on_tick(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int saved = errno;
    struct rt_runtime *rt = info->si_value.sival_ptr;
    lua_State *L = atomic_load(&rt->current);
    struct rt_task *task = atomic_load(&rt->running);
    uint64_t slices = atomic_load(&rt->slices);
    if (!L || !task) {
        if (slices == rt->ticked_slices) {
            set_timer(rt, 0);
            atomic_store(&rt->ticking, false);
        }
        rt->ticked_slices = slices;
        errno = saved;
        return;
    }
    int64_t now_ns = peri__now_ns();
    if (now_ns >= task->deadline_ns) {
        int alive = PERI_OK;
        atomic_compare_exchange_strong(&task->killed, &alive, PERI_HANDLER_TIMEOUT);
    }
    if (atomic_load(&task->killed)) {
        arm(rt, L, KILL_MASK);
    } else if (now_ns - atomic_load(&rt->slice_ns) >= RT_SLICE_NS * 3 / 4 && somebody_waits(rt, now_ns)) {
        atomic_store(&rt->preempt, true);
        arm(rt, L, LUA_MASKCOUNT);
    }
    errno = saved;
}

enum peri_code peri__preempt_init(struct rt_runtime *rt, struct peri_error *err)
{
    struct sigaction action = { 0 };
    action.sa_sigaction = on_tick;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    sigemptyset(&action.sa_mask);
    struct sigevent event = { 0 };
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = signal_number();
    event.sigev_value.sival_ptr = rt;
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (sigaction(signal_number(), &action, NULL) || timer_create(CLOCK_MONOTONIC, &event, &rt->timer)) {
        return peri_error_set(err, PERI_IO, "can't make the timer that preempts handlers");
    }
    rt->have_timer = true;
    return PERI_OK;
}

void peri__preempt_fini(struct rt_runtime *rt)
{
    if (!rt->have_timer) {
        return;
    }
    sigset_t ours, before;
    sigemptyset(&ours);
    sigaddset(&ours, signal_number());
    pthread_sigmask(SIG_BLOCK, &ours, &before);
    timer_delete(rt->timer);
    /* A signal that is pending would be delivered with a pointer to what is gone. */
    struct timespec none = { 0, 0 };
    while (sigtimedwait(&ours, NULL, &none) > 0) {
        continue;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    rt->have_timer = false;
}

void peri__slice_begin(struct rt_runtime *rt, struct rt_task *task, lua_State *L, int64_t now_ns)
{
    atomic_store_explicit(&rt->slices, rt->slices + 1, memory_order_relaxed);
    atomic_store_explicit(&rt->slice_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&rt->preempt, false, memory_order_relaxed);
    atomic_store_explicit(&rt->page->running_call, task->call_id, memory_order_relaxed);
    atomic_store_explicit(&rt->running, task, memory_order_relaxed);
    atomic_store_explicit(&rt->current, L, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst);
    if (!atomic_load_explicit(&rt->ticking, memory_order_relaxed)) {
        atomic_store(&rt->ticking, true);
        set_timer(rt, RT_SLICE_NS);
    }
}

void peri__slice_end(struct rt_runtime *rt)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&rt->current, NULL, memory_order_relaxed);
    atomic_store_explicit(&rt->running, NULL, memory_order_relaxed);
    atomic_store_explicit(&rt->page->running_call, 0, memory_order_relaxed);
    atomic_store_explicit(&rt->page->lua_bytes, rt->bytes, memory_order_relaxed);
}

bool peri__is_fatal(lua_State *L, int status)
{
    struct rt_task *task = peri__running(L);
    if (!task || status == LUA_OK || status == LUA_YIELD) {
        return false;
    }
    if (atomic_load(&task->killed)) {
        return true;
    }
    bool no_memory = status == LUA_ERRMEM;
    if (!no_memory && task->refused && lua_type(L, -1) == LUA_TSTRING) {
        no_memory = peri_str_equal(peri_str_from(lua_tostring(L, -1)), peri_str_from("not enough memory"));
    }
    if (no_memory) {
        int alive = PERI_OK;
        atomic_compare_exchange_strong(&task->killed, &alive, PERI_HANDLER_MEMORY);
    }
    return no_memory;
}
