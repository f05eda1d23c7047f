/*
 * What the host answers the engine.
 */
#ifndef PYSTACK_HOST_HYPERCALLS_H
#define PYSTACK_HOST_HYPERCALLS_H

#include "stack/stack.h"

void stack_hypercalls(ps_stack *stack, struct ps_hypercalls *out);
/* Under the lock: a line for the Stack's log. */
void stack_log(void *stack, enum ps_log_level level, const char *text);

#endif
