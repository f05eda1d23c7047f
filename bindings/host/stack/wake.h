/*
 * Waking a Stack's driver.
 */
#ifndef PYSTACK_HOST_WAKE_H
#define PYSTACK_HOST_WAKE_H

#include "stack/stack.h"

int wake_open(ps_stack *stack);
void wake_close(ps_stack *stack);
/* Makes the driver look again. From any thread, without the lock. */
void stack_wake(void *stack);

#endif
