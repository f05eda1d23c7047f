/*
 * See timeouts.h.
 */
#include "base/timeouts.h"

#include "base/memory.h"
#include "base/port.h"
#include "lwip/def.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"

/* Where packets pass by the thousand, modules are asked no more often. */
#define ASK_INTERVAL_US 10000

struct timeout {
    struct timeout *next; /* due later, or set later */
    uint64_t due_ms;
    sys_timeout_handler handler;
    void *argument;
};

/* Timers have to be there when memory is not: enough for mDNS (eleven an interface, and one for
 * each question that waits) on a score of interfaces. Beyond that, from the arena. */
#define TIMEOUTS_KEPT 256

static struct timeout kept[TIMEOUTS_KEPT], *unused, *first;
static struct tick *ticks, *first_tick;
static size_t tick_count;
static uint64_t asked_us; /* when the modules were asked for work */

uint64_t timeouts_now_ms(void)
{
    return port.now_us / 1000;
}

static uint64_t before_now_ms(uint32_t age_ms)
{
    uint64_t now_ms = timeouts_now_ms();
    return now_ms > age_ms ? now_ms - age_ms : 0;
}

uint64_t timeouts_due_ms(uint32_t stamp_ms)
{
    uint32_t left_ms = stamp_ms - sys_now();
    return left_ms <= INT32_MAX ? timeouts_now_ms() + left_ms : before_now_ms(-left_ms);
}

uint64_t timeouts_since_ms(uint32_t stamp_ms)
{
    return before_now_ms(sys_now() - stamp_ms);
}

/* --- one-shot timers ------------------------------------------------------------------------ */

static void discard(struct timeout *one)
{
    if (one >= kept && one < kept + TIMEOUTS_KEPT) {
        one->next = unused;
        unused = one;
    } else {
        port_free(one);
    }
}

/* Without memory there is no timer: see timeouts.h of lwIP, which has no way to say so. */
void sys_timeout(u32_t after_ms, sys_timeout_handler handler, void *argument)
{
    struct timeout *one = unused;
    if (one != NULL)
        unused = one->next;
    else if ((one = port_allocate(sizeof *one)) == NULL)
        return;
    uint64_t due_ms = timeouts_now_ms() + after_ms;
    struct timeout **link = &first;
    while (*link != NULL && (*link)->due_ms <= due_ms)
        link = &(*link)->next;
    *one = (struct timeout){*link, due_ms, handler, argument};
    *link = one;
}

void sys_untimeout(sys_timeout_handler handler, void *argument)
{
    struct timeout **link = &first, *one;
    while ((one = *link) != NULL && (one->handler != handler || one->argument != argument))
        link = &one->next;
    if (one == NULL)
        return;
    *link = one->next;
    discard(one);
}

static void run_first(void)
{
    struct timeout one = *first;
    discard(first);
    first = one.next;
    one.handler(one.argument);
}

/* --- ticks ---------------------------------------------------------------------------------- */

/* How many calls from the next one on only count. */
static uint64_t idle_calls(const struct tick *tick)
{
    uint64_t work_ms = tick->work_ms(tick->next_ms);
    if (work_ms == NEVER_MS)
        return UINT64_MAX;
    return work_ms > tick->next_ms
               ? (work_ms - tick->next_ms + tick->interval_ms - 1) / tick->interval_ms
               : 0;
}

/* Leaves out calls that are late and would only count. */
static void leave_out(struct tick *tick)
{
    uint64_t now_ms = timeouts_now_ms();
    if (tick->next_ms > now_ms)
        return;
    uint64_t late = (now_ms - tick->next_ms) / tick->interval_ms + 1, idle = idle_calls(tick);
    uint64_t calls = LWIP_MIN(LWIP_MIN(late, idle), UINT32_MAX);
    if (calls != 0 && tick->skip != NULL)
        tick->skip((uint32_t)calls);
    tick->next_ms += calls * tick->interval_ms;
}

static void find_first(void)
{
    first_tick = ticks;
    for (struct tick *tick = ticks; tick < ticks + tick_count; tick++)
        if (tick->next_ms < first_tick->next_ms)
            first_tick = tick;
}

static void act(struct tick *tick)
{
    tick->handler();
    uint64_t now_ms = timeouts_now_ms();
    tick->next_ms += tick->interval_ms;
    if (tick->next_ms < now_ms && !tick->catches_up)
        tick->next_ms = now_ms + tick->interval_ms;
}

static uint64_t next_work_ms(void)
{
    uint64_t found_ms = NEVER_MS;
    for (const struct tick *tick = ticks; tick < ticks + tick_count; tick++) {
        if (tick->next_ms >= found_ms)
            continue;
        uint64_t calls = idle_calls(tick);
        if (calls != UINT64_MAX)
            found_ms = LWIP_MIN(found_ms, tick->next_ms + calls * tick->interval_ms);
    }
    return found_ms;
}

/* --- both ----------------------------------------------------------------------------------- */

void timeouts_init(struct tick *all, size_t count)
{
    ticks = all;
    tick_count = count;
    for (struct tick *tick = ticks; tick < ticks + count; tick++)
        tick->next_ms = timeouts_now_ms() + tick->interval_ms;
    find_first();
    first = unused = NULL;
    for (size_t i = TIMEOUTS_KEPT; i-- > 0;)
        discard(&kept[i]);
}

void timeouts_enter(void)
{
    if (first_tick->next_ms > timeouts_now_ms())
        return;
    for (struct tick *tick = ticks; tick < ticks + tick_count; tick++)
        leave_out(tick);
    find_first();
}

void timeouts_run(void)
{
    uint64_t now_ms = timeouts_now_ms();
    for (;;) {
        struct tick *tick = first_tick;
        if (first != NULL && first->due_ms <= now_ms && first->due_ms < tick->next_ms) {
            run_first();
            continue;
        }
        if (tick->next_ms > now_ms)
            return;
        leave_out(tick);
        if (tick->next_ms <= now_ms)
            act(tick);
        find_first();
    }
}

uint64_t timeouts_next_us(void)
{
    uint64_t next_ms = first_tick->next_ms;
    if (port.now_us == asked_us || port.now_us - asked_us >= ASK_INTERVAL_US) {
        asked_us = port.now_us;
        next_ms = next_work_ms();
    }
    if (first != NULL)
        next_ms = LWIP_MIN(next_ms, first->due_ms);
    return next_ms > UINT64_MAX / 1000 ? UINT64_MAX : next_ms * 1000;
}

bool timeouts_act_alone(void)
{
    for (const struct tick *tick = ticks; tick < ticks + tick_count; tick++)
        if (!tick->forgets && idle_calls(tick) != UINT64_MAX)
            return true;
    return first != NULL;
}
