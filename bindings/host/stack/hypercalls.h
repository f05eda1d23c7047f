/*
 * What the host answers the engine.
 */
#ifndef PYSTACK_HOST_HYPERCALLS_H
#define PYSTACK_HOST_HYPERCALLS_H

#include "stack/stack.h"

void stack_hypercalls(ps_stack *stack, struct ps_hypercalls *out);
/* Under the lock: keeps a Python hypercall's -ECANCELED for the call under way, and gives back the
 * result. */
int stack_note(ps_stack *stack, int result);
/* Under the lock: the time by the Stack's clock, read anew. */
uint64_t stack_clock_us(ps_stack *stack);
int stack_frame_out(ps_stack *stack, uint32_t interface, const struct ps_piece *pieces,
                    size_t count, size_t total);
void stack_random(ps_stack *stack, void *out, size_t size);
/* Under the lock: a line for the Stack's log. */
void stack_log(void *stack, enum ps_log_level level, const char *text);

#endif
