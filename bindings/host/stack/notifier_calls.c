/*
 * A program's calls on notifiers (notifier.c).
 */
#include <stdlib.h>

#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/lock.h"
#include "stack/notifier.h"

int ps_notifier_open(ps_stack *stack, ps_notifier **out)
{
    if (stack->remote != NULL)
        return -EREMOTE;
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    ps_notifier *made = stack->world != NULL ? NULL : calloc(1, sizeof *made);
    result = stack->world != NULL ? -EOPNOTSUPP
             : made == NULL       ? -ENOMEM
                                  : doorbell_open(&made->bell);
    if (result == 0) {
        made->stack = stack;
        made->next = stack->notifiers;
        stack->notifiers = *out = made;
        result = made->bell.hears;
    } else {
        free(made);
    }
    stack_unlock(stack);
    return result;
}

static int watch_new(ps_notifier *notifier, int64_t handle, uint32_t interest)
{
    ps_stack *stack = notifier->stack;
    uint32_t mask;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    if (result < 0)
        return result;
    struct watch *made = notifier_add(notifier, handle, mask);
    if (made == NULL)
        return -ENOMEM;
    notifier_want(notifier, made, interest);
    return 0;
}

int ps_notifier_watch(ps_notifier *notifier, int64_t handle, uint32_t interest)
{
    ps_stack *stack = notifier->stack;
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    struct watch *known = notifier_find(notifier, handle);
    if (known == NULL)
        ENGINE_GUARD(stack, result, watch_new(notifier, handle, interest));
    else
        notifier_want(notifier, known, interest);
    notifiers_settle(stack);
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}

int ps_notifier_forget(ps_notifier *notifier, int64_t handle)
{
    int result = stack_lock(notifier->stack);
    if (result < 0)
        return result;
    struct watch *known = notifier_find(notifier, handle);
    if (known != NULL)
        notifier_remove(notifier, known);
    notifiers_settle(notifier->stack);
    stack_unlock(notifier->stack);
    return 0;
}

/* What the program passes by may be for another poller of its descriptor. */
static void show_passed_by(const ps_notifier *notifier, const struct ps_readiness *given,
                           size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (notifier_find(notifier, given[i].handle)->given == PASSED_BY)
            descriptor_show_now(notifier->stack, given[i].handle);
}

static size_t take(ps_notifier *notifier, struct ps_readiness *out, size_t room)
{
    bool passed_by;
    size_t count = notifier_take(notifier, out, room, &passed_by);
    if (passed_by)
        show_passed_by(notifier, out, count);
    return count;
}

int ps_notifier_take(ps_notifier *notifier, struct ps_readiness *out, size_t room)
{
    int result = stack_lock(notifier->stack);
    if (result < 0)
        return result;
    size_t count = take(notifier, out, room);
    notifier_set_quiet(notifier, false);
    stack_unlock(notifier->stack);
    return (int)count;
}

int ps_notifier_look(ps_notifier *notifier, struct ps_readiness *out, size_t room, bool waits)
{
    int result = stack_lock(notifier->stack);
    if (result < 0)
        return result;
    size_t count = take(notifier, out, room);
    notifier_set_quiet(notifier, count > 0 || !waits);
    stack_unlock(notifier->stack);
    return (int)count;
}

int ps_notifier_close(ps_notifier *notifier)
{
    ps_stack *stack = notifier->stack;
    if (stack_is_inherited(stack))
        return 0; /* it goes with the Stack's remains here */
    if (stack_is_inside(stack) || stack_take(stack) < 0)
        return -EDEADLK;
    notifier_free(notifier);
    stack_unlock(stack);
    return 0;
}
