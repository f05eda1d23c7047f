// SPDX-License-Identifier: GPL-2.0
/*
 * The scheduler's deadline server: whenever an ordinary task runs, it sets timers to see in a
 * second that real-time tasks haven't starved it. There are none of those, and a Stack that is idle
 * would wake three times a second for it. Only debugfs can switch it off (sched/debug.c): this is
 * what it does for a `runtime` of 0.
 */
#include <kernel/sched/sched.h>
#include "scheduler.h"

void anyk_quiet_scheduler(void)
{
    struct rq *rq = cpu_rq(0);
    struct sched_dl_entity *server = &rq->fair_server;
    struct rq_flags flags;

    rq_lock_irqsave(rq, &flags);
    update_rq_clock(rq);
    dl_server_stop(server);
    dl_server_apply_params(server, 0, server->dl_period, false);
    rq_unlock_irqrestore(rq, &flags);
}
