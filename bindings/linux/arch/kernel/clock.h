/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Time: a number that the host sets at its entries.
 *
 * While the kernel boots its clock is the host's. Afterwards it is a second ahead, so that no
 * socket ever sees it at 0, where it begins: TCP takes a time stamp of 0 for none.
 */
#ifndef ANYK_CLOCK_H
#define ANYK_CLOCK_H

#include <linux/types.h>

/* Before the kernel boots: the host's time. */
void anyk_clock_begin(u64 host_ns);

/* After that: sets the clock to the host's time; one that goes back is ignored. */
void anyk_clock_set(u64 host_ns);

/* Advances the clock to the next timer, since nothing waits for it. False: there is none. */
bool anyk_clock_jump(void);

/* Whether a timer is due. */
bool anyk_clock_is_due(void);

/* The host's time of the next timer; U64_MAX: there is none. */
u64 anyk_clock_deadline(void);

/* The host's time after some nanoseconds; U64_MAX, which is never, stays that. */
u64 anyk_clock_after(u64 ns);

/* In an interrupt: what is due. */
void anyk_clock_interrupt(void);

#endif
