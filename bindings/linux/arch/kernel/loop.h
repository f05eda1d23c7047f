/* SPDX-License-Identifier: GPL-2.0 */
/* Where the host's calls run: in process 1, and in interrupts that it takes. */
#ifndef ANYK_LOOP_H
#define ANYK_LOOP_H

#include <linux/types.h>

/* On the host's stack: fn(argument) in process 1, which may wait in it. */
void anyk_call(void (*fn)(void *), void *argument);

/* On the host's stack: fn(argument) as an interrupt, after what the clock's has to do; NULL: only
 * that. Softirqs it raised have run when this returns. */
void anyk_interrupt(void (*fn)(void *), void *argument);

/* On the host's stack: all others work until they wait, process 1 waits for that. Returns when the
 * next timer is due, on the host's clock; U64_MAX: there is none. */
u64 anyk_rest(void);

/* On the host's stack, after a rest, when the clock has been set: process 1 is there again. */
void anyk_resume(void);

/* Whether process 1 has come to take calls. */
bool anyk_ready_for_calls(void);

#endif
