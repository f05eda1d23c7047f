/*
 * One step of a Stack.
 */
#ifndef PYSTACK_HOST_MOVE_H
#define PYSTACK_HOST_MOVE_H

#include "stack/stack.h"

/* Under the lock: moves frames and timers; false when more is waiting already. */
bool stack_move(ps_stack *stack);

#endif
