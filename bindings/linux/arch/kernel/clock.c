// SPDX-License-Identifier: GPL-2.0
#include <linux/clockchips.h>
#include <linux/clocksource.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/sched/clock.h>
#include <linux/timex.h>
#include <asm/anyk.h>
#include "clock.h"

#define EPOCH NSEC_PER_SEC

static u64 now;
static u64 stolen;
static u64 deadline = U64_MAX;

void anyk_clock_begin(u64 host_ns)
{
    now = host_ns;
}

void anyk_clock_set(u64 host_ns)
{
    if (host_ns + EPOCH > now)
        now = host_ns + EPOCH;
}

bool anyk_clock_jump(void)
{
    if (deadline == U64_MAX)
        return false;
    if (deadline > now) {
        stolen += deadline - now;
        now = deadline;
    }
    return true;
}

bool anyk_clock_is_due(void)
{
    return deadline <= now;
}

u64 anyk_clock_deadline(void)
{
    return deadline == U64_MAX ? U64_MAX : deadline - EPOCH;
}

u64 anyk_clock_after(u64 ns)
{
    return ns == U64_MAX ? U64_MAX : now - EPOCH + ns;
}

unsigned long long anyk_stolen_ns(void)
{
    return stolen;
}

static u64 read_clock(struct clocksource *source)
{
    return now;
}

static struct clocksource source = {
    .name = "host",
    .rating = 400,
    .read = read_clock,
    .mask = CLOCKSOURCE_MASK(64),
    .flags = CLOCK_SOURCE_IS_CONTINUOUS | CLOCK_SOURCE_VALID_FOR_HRES,
};

static int next_event(unsigned long delta, struct clock_event_device *device)
{
    deadline = now + delta;
    return 0;
}

static int no_event(struct clock_event_device *device)
{
    deadline = U64_MAX;
    return 0;
}

static struct clock_event_device event = {
    .name = "host",
    .features = CLOCK_EVT_FEAT_ONESHOT,
    .rating = 400,
    .set_next_event = next_event,
    .set_state_shutdown = no_event,
    .set_state_oneshot_stopped = no_event,
};

void anyk_clock_interrupt(void)
{
    if (deadline > now)
        return;
    deadline = U64_MAX;
    event.event_handler(&event);
}

unsigned long long notrace sched_clock(void)
{
    return now;
}

void __init time_init(void)
{
    clocksource_register_hz(&source, NSEC_PER_SEC);
    event.cpumask = cpumask_of(0);
    clockevents_config_and_register(&event, NSEC_PER_SEC, 1, ULONG_MAX);
}

/* Busy waiting is for hardware, and no time passes in it. */
void calibrate_delay(void)
{
    loops_per_jiffy = 1000000;
}

void __delay(unsigned long loops)
{
}

void __udelay(unsigned long us)
{
}

void __ndelay(unsigned long ns)
{
}

void __const_udelay(unsigned long us)
{
}
