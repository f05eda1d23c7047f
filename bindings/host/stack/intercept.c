/*
 * Flows to other hosts' addresses that the engine takes in their place. The process that owns the
 * Stack decides on them; sockets that come of it are like any other.
 */
#include "base/clock.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/lock.h"
#include "stack/stack.h"
#include "stack/wait.h"

static int64_t open_intercept(ps_stack *stack, const struct ps_intercept *spec)
{
    return stack->table->intercept_open == NULL ? -ENOSYS
                                                : stack->table->intercept_open(stack->engine, spec);
}

int64_t ps_intercept_open(ps_stack *stack, const struct ps_intercept *spec)
{
    if (stack->remote != NULL)
        return -EREMOTE;
    ENGINE_CALL(stack, open_intercept(stack, spec));
}

static int next(ps_stack *stack, int64_t handle, struct ps_intercepted *out, uint8_t *data,
                size_t room)
{
    if (stack->table->intercept_next == NULL)
        return -ENOSYS;
    int result = stack->table->intercept_next(stack->engine, handle, out, data, room);
    if (stack->shown_count > 0) {
        if (result == -EAGAIN)
            descriptor_found_nothing(stack, handle);
        descriptor_refresh(stack, handle);
    }
    return result;
}

static int64_t wait_for_next(ps_stack *stack, int64_t handle, struct ps_intercepted *out,
                             uint8_t *data, size_t room, int64_t timeout_us)
{
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_READ, timeout_us,
                 next(stack, handle, out, data, room));
}

int ps_intercept_next(ps_stack *stack, int64_t handle, struct ps_intercepted *out, uint8_t *data,
                      size_t room, int64_t timeout_us)
{
    if (stack->remote != NULL)
        return -EREMOTE;
    return (int)wait_for_next(stack, handle, out, data, room, timeout_us);
}

static int64_t accept_flow(ps_stack *stack, int64_t handle, uint64_t id)
{
    if (stack->table->intercept_accept == NULL)
        return -ENOSYS;
    int64_t result = stack->table->intercept_accept(stack->engine, handle, id);
    if (stack->shown_count > 0)
        descriptor_refresh(stack, handle);
    return result;
}

int64_t ps_intercept_accept(ps_stack *stack, int64_t handle, uint64_t id)
{
    if (stack->remote != NULL)
        return -EREMOTE;
    ENGINE_CALL(stack, accept_flow(stack, handle, id));
}

static int refuse(ps_stack *stack, int64_t handle, uint64_t id, int error)
{
    if (stack->table->intercept_refuse == NULL)
        return -ENOSYS;
    int result = stack->table->intercept_refuse(stack->engine, handle, id, error);
    if (stack->shown_count > 0)
        descriptor_refresh(stack, handle);
    return result;
}

int ps_intercept_refuse(ps_stack *stack, int64_t handle, uint64_t id, int error)
{
    if (stack->remote != NULL)
        return -EREMOTE;
    ENGINE_CALL(stack, refuse(stack, handle, id, error));
}

static int figures(ps_stack *stack, int64_t handle, struct ps_intercept_figures *out)
{
    return stack->table->intercept_figures == NULL
               ? -ENOSYS
               : stack->table->intercept_figures(stack->engine, handle, out);
}

int ps_intercept_figures(ps_stack *stack, int64_t handle, struct ps_intercept_figures *out)
{
    if (stack->remote != NULL)
        return -EREMOTE;
    ENGINE_CALL(stack, figures(stack, handle, out));
}
