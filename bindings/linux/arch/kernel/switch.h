/* SPDX-License-Identifier: GPL-2.0 */
/* Leaving one stack for another; the machine's own code (switch.S). */
#ifndef ANYK_SWITCH_H
#define ANYK_SWITCH_H

/* Keeps this stack's pointer in *save, on top of the registers that a call preserves, and goes on
 * where the stack `load` was left the same way. */
void anyk_swap(void **save, void *load);

/* Calls fn(argument) on another stack, whose top is `stack`, and comes back to this one. An
 * unwinder finds its way through. */
void anyk_call_on(void (*fn)(void *), void *argument, void *stack);

/* What to load to begin `fn`, which must not return, on a stack that ends at `top`. */
void *anyk_fresh_stack(void *top, void (*fn)(void));

#endif
