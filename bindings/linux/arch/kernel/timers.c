// SPDX-License-Identifier: GPL-2.0
/* When the next timer is due, as the idle loop would find out (tick_nohz_next_event), without going
 * through it: stopping and restarting the tick costs more than most system calls. */
#include <linux/hrtimer.h>
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/ktime.h>
#include <linux/timekeeping.h>
#include <kernel/time/tick-internal.h>
#include <kernel/time/tick-sched.h>
#include "timers.h"

u64 anyk_next_timer(void)
{
    struct hrtimer *tick = &tick_get_tick_sched(0)->sched_timer;
    u64 now = ktime_get(), end_of_jiffy, wheel, next;
    unsigned long flags;

    local_irq_save(flags);
    /* The tick is set to the end of the present jiffy. The wheel's timers for this jiffy or an
     * earlier one run then, and not before. */
    end_of_jiffy = hrtimer_get_expires(tick);
    wheel = get_next_timer_interrupt(jiffies, end_of_jiffy - TICK_NSEC);
    next = min_t(u64, max(wheel, end_of_jiffy), hrtimer_next_event_without(tick));
    local_irq_restore(flags);
    if (next >= KTIME_MAX)
        return U64_MAX;
    return next > now ? next - now : 0;
}
