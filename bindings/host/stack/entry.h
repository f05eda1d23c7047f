/*
 * In and out of the engine.
 */
#ifndef PYSTACK_HOST_ENTRY_H
#define PYSTACK_HOST_ENTRY_H

#include <setjmp.h>

#include "stack/stack.h"

/* Counts the forks that this process comes from. */
unsigned stack_fork_generation(void);
void stack_watch_forks(void);
/* Whether the Stack was there before a fork() that this process is the child of. */
bool stack_is_inherited(const ps_stack *stack);
/* Whether this thread comes from one of the Stack's hypercalls. */
bool stack_is_inside(const ps_stack *stack);
/* Whether it comes from one of any Stack's. */
bool stack_is_inside_any(void);
/* Whether it comes from one of a Stack's in that World. */
bool stack_is_inside_world(const ps_world *world);
/* Takes the lock. -EDEADLK: who has it waits, directly or not, for a Stack that this thread is
 * inside of. */
int stack_take(ps_stack *stack);
/* Before and after calls into the engine, under the lock and inside an ENGINE_GUARD. */
void stack_begin(ps_stack *stack);
void stack_end(ps_stack *stack);
/* The result of an entry that ended in a panic. */
int stack_poison(ps_stack *stack);
/* -ECANCELED once if a Python hypercall raised meanwhile, else `result`. */
int64_t stack_outcome(ps_stack *stack, int64_t result);

/* Evaluates `call` inside the engine and stores what it gives, or -ENOTRECOVERABLE when it
 * panicked. setjmp has to be called from a frame that outlives the call: hence a macro. */
#define ENGINE_GUARD(stack, result, call) \
    do { \
        if (setjmp((stack)->unwind) == 0) { \
            stack_begin(stack); \
            (result) = (call); \
            stack_end(stack); \
        } else { \
            (result) = stack_poison(stack); \
        } \
    } while (0)

/* Makes and ends the engine's instance. */
int stack_open_engine(ps_stack *stack, const struct ps_hypercalls *hypercalls);
void stack_close_engine(ps_stack *stack, bool abrupt);

#endif
