/*
 * The driver's thread, and how a driving thread sleeps.
 */
#ifndef PYSTACK_HOST_DRIVER_H
#define PYSTACK_HOST_DRIVER_H

#include "stack/stack.h"

/* A clock of Python's may run faster than ours: it is read so often while a thread sleeps. */
#define FOREIGN_CLOCK_SLEEP_US 10000

int driver_start(ps_stack *stack);
void driver_stop(ps_stack *stack);
/* Under the lock: driving has stopped; the thread checks whether to take over. */
void driver_unpark(ps_stack *stack);
/* Without the lock: takes what has come since a waiter last drove, unless another drove since:
 * a call that reads state has to see it. */
void stack_catch_up(ps_stack *stack);
/* Under the lock, given up meanwhile: sleeps until something is due or `until_us`. */
int stack_sleep(ps_stack *stack, uint64_t until_us);

#endif
