/*
 * In and out of the Stack.
 */
#ifndef PYSTACK_HOST_LOCK_H
#define PYSTACK_HOST_LOCK_H

#include "stack/entry.h"

/* Takes the lock. 0, or why the Stack can't be used (host_api.h), without the lock. */
int stack_lock(ps_stack *stack);
/* Gives it back, and wakes whom the calls in between have signalled. */
void stack_unlock(ps_stack *stack);
/* Without the lock, in the process that owns it: whether it takes no more calls. */
bool stack_has_ended(ps_stack *stack);

/* The body of a function that is one call into the engine. */
#define ENGINE_CALL(stack, call) \
    do { \
        int64_t result_ = stack_lock(stack); \
        if (result_ < 0) \
            return result_; \
        ENGINE_GUARD(stack, result_, call); \
        result_ = stack_outcome(stack, result_); \
        stack_unlock(stack); \
        return result_; \
    } while (0)

#endif
