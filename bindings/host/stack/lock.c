/*
 * The way in and out of a Stack: its lock, and what is done before it is given back.
 *
 * A program whose gate is shut (gate.c) takes in the frames that have come here, and sleepers that
 * were signalled (waiters.c) are woken.
 */
#include <errno.h>
#include <string.h>

#include "stack/lock.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/move.h"
#include "stack/stack.h"
#include "stack/waiters.h"
#include "stack/wake.h"

int stack_lock(ps_stack *stack)
{
    if (stack->refuse != NULL)
        return stack->refuse(stack);
    if (stack_is_inherited(stack))
        return -EOWNERDEAD;
    if (stack_is_inside(stack))
        return -EDEADLK;
    if (stack_take(stack) < 0)
        return -EDEADLK;
    int result = stack->state != STACK_OPEN ? -EBADF : stack->poisoned ? -ENOTRECOVERABLE : 0;
    if (result < 0)
        pthread_mutex_unlock(&stack->lock);
    return result;
}

/* Takes the frames that have come, in the driver's thread's place. */
static void attend_gate(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    gate->due = false;
    if (gate->open || stack->state != STACK_OPEN)
        return;
    gate->attended_us = stack->now_us;
    if (!stack_move(stack))
        stack_wake(stack); /* more than one batch */
    if (gate_is_idle(gate))
        gate_open(stack);
}

void stack_unlock(ps_stack *stack)
{
    if (stack->gate.due)
        attend_gate(stack);
    _Atomic uint32_t *wakes[MOST_WAKES];
    size_t count = stack->wake_count;
    memcpy(wakes, stack->wakes, count * sizeof *wakes);
    stack->wake_count = 0;
    pthread_mutex_unlock(&stack->lock);
    stack_wake_signalled(wakes, count);
}

bool stack_has_ended(ps_stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    bool result = stack->state != STACK_OPEN;
    pthread_mutex_unlock(&stack->lock);
    return result;
}
