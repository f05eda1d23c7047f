/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Crossing between the host and the kernel. Both live in one thread: to enter the kernel is to
 * leave the host's stack for the one of the task that was running, and the other way round.
 */
#ifndef ANYK_BORDER_H
#define ANYK_BORDER_H

#include <asm/anyk.h>

extern const struct anyk_host *anyk_host;

/* On a kernel stack: back to the host. Returns at the host's next entry. */
void anyk_to_host(void);

/* On the host's stack: on where the kernel left off. Returns at its anyk_to_host. */
void anyk_to_kernel(void);

/* On the host's stack: the next anyk_to_kernel begins `fn` on a fresh stack that ends at `top`. */
void anyk_begin_kernel(void *top, void (*fn)(void));

/* On a kernel stack: a hypercall, made on the host's stack. It may run Python, and be unwound. */
void anyk_on_host_stack(void (*fn)(void *), void *argument);

#endif
