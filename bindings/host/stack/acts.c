/*
 * Whether a Stack in a World does anything by itself.
 */
#include "stack/acts.h"

#include "stack/due.h"
#include "stack/entry.h"
#include "stack/lock.h"
#include "stack/stack.h"

/* Engines that can say have this tunable: whether one of their timers may send a frame, or change
 * what a socket's call says. It is in no list. */
#define ACTS_ALONE "pystack.acts_alone"

static enum acts engine_acts(ps_stack *stack)
{
    struct ps_tunable row;
    int result;
    ENGINE_GUARD(stack, result, stack->table->tunable_get(stack->engine, ACTS_ALONE, &row));
    if (result < 0)
        return ACTS_UNKNOWN;
    return row.value != 0 ? ACTS : ACTS_NOT;
}

static enum acts acts(ps_stack *stack)
{
    if (stack->state >= STACK_CLOSING || stack->poisoned)
        return ACTS_NOT; /* the World doesn't move it any more */
    if (serving_due_us(stack) != UINT64_MAX)
        return ACTS;
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        if (stack->nics[index] != NULL && nic_deadline(stack->nics[index]) != UINT64_MAX)
            return ACTS;
    return engine_acts(stack);
}

enum acts stack_acts(void *argument)
{
    ps_stack *stack = argument;
    pthread_mutex_lock(&stack->lock);
    enum acts result = acts(stack);
    stack_unlock(stack);
    return result;
}
