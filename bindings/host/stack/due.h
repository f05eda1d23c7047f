/*
 * When a Stack is due by itself.
 */
#ifndef PYSTACK_HOST_DUE_H
#define PYSTACK_HOST_DUE_H

#include "api/host_api.h"

/* Under the lock: when the services in Python want to run; UINT64_MAX: not on their own. */
uint64_t serving_due_us(const ps_stack *stack);
/* Under the lock: when something is due, in terms of the Stack's clock. */
uint64_t stack_next_due(const ps_stack *stack);
/* Under the lock, of a Stack in a World: that has changed. */
void stack_reschedule(ps_stack *stack);

#endif
