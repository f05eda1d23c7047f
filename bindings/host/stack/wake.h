/*
 * Waking a Stack's driver.
 */
#ifndef PYSTACK_HOST_WAKE_H
#define PYSTACK_HOST_WAKE_H

#include "stack/stack.h"

/* Makes the driver look again. From any thread, without the lock. */
void stack_wake(void *stack);

#endif
