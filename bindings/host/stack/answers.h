/*
 * Answers in several sends: the first parts wait for the last.
 */
#ifndef PYSTACK_HOST_ANSWERS_H
#define PYSTACK_HOST_ANSWERS_H

#include "stack/stack.h"

/* Inside the engine, before a send with these flags: what to add to them. */
uint32_t answer_flags(ps_stack *stack, int64_t handle, uint32_t flags);
/* Inside the engine, before an option of the socket is set: what was held back of it goes. */
void answer_release(ps_stack *stack, int64_t handle);
/* Under the lock, outside the engine: what was held back goes, for the rest may be long in coming.
 */
void answers_release(ps_stack *stack);

#endif
