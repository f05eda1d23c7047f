/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_SCHEDULER_H
#define ANYK_SCHEDULER_H

/* Has the scheduler set no timers of its own. */
void anyk_quiet_scheduler(void);

#endif
