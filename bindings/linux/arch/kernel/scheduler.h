/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_SCHEDULER_H
#define ANYK_SCHEDULER_H

/* Stops the scheduler's periodic timers. */
void anyk_quiet_scheduler(void);

#endif
