/*
 * Waking the thread that drives a Stack.
 */
#include "stack/wake.h"
#include "stack/stack.h"
#include "world/world.h"

void stack_wake(void *argument)
{
    ps_stack *stack = argument;
    if (stack->world != NULL) {
        world_ready(stack->world);
        return;
    }
    if (atomic_exchange(&stack->wake_pending, true))
        return;
    if (atomic_load(&stack->spinning))
        return; /* it looks at wake_pending again when it has stopped */
    doorbell_ring(&stack->doorbell);
}
