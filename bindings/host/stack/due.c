/*
 * When a Stack is due by itself.
 */
#include "stack/due.h"
#include "stack/descriptor.h"
#include "stack/stack.h"
#include "world/world.h"

uint64_t serving_due_us(const ps_stack *stack)
{
    const struct serving *serving = &stack->serving;
    if (serving->running || stack->python.serve == NULL || stack->state != STACK_OPEN ||
        stack->poisoned)
        return UINT64_MAX;
    return serving->first != NULL || serving->changed ? 0 : serving->deadline_us;
}

uint64_t stack_next_due(const ps_stack *stack)
{
    uint64_t due = stack->deadline_us, served = serving_due_us(stack);
    if (served < due)
        due = served;
    if (stack->later_first != NULL && stack->later_first->later_us < due)
        due = stack->later_first->later_us;
    for (uint32_t index = 0; index <= stack->nic_last; index++) {
        ps_nic *nic = stack->nics[index];
        uint64_t wanted = nic != NULL ? nic_deadline(nic) : UINT64_MAX;
        if (wanted < due)
            due = wanted;
    }
    return due;
}

void stack_reschedule(ps_stack *stack)
{
    world_due(stack->world, stack_next_due(stack));
}
