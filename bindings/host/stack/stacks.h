/*
 * All Stacks of this process.
 */
#ifndef PYSTACK_HOST_STACKS_H
#define PYSTACK_HOST_STACKS_H

#include "stack/stack.h"

/* All Stacks of this process, which a signal ends. */
void stacks_enter(ps_stack *stack);
void stacks_leave(ps_stack *stack);
void stacks_before_fork(void);
void stacks_after_fork(void);
/* The one place where a Stack's `nics` change: not while a child is forked. */
void stacks_put_nic(ps_stack *stack, uint32_t index, ps_nic *nic);
ps_nic *stacks_take_nic(ps_stack *stack, uint32_t index);
/* In a child: it has none, and no NIC of theirs. */
void stacks_forget(void);
/* Whether one may ask Python for something. */
bool stacks_need_python(void);
/* Whether nothing but Python's threads can move any: their clocks are turned by hand, and neither
 * a device nor another process leads to them. */
bool stacks_are_still(void);
/* The first of all, by `list_next`: for good, none may be made or destroyed any more. */
ps_stack *stacks_hold(void);

#endif
