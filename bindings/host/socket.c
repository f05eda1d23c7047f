/*
 * Socket calls. The engine never waits; what waits here does so by trying again after an
 * event.
 */
#include <errno.h>

#include "channel.h"

/* After a call that may have changed the socket's readiness without an event. */
static void refresh(ps_stack *stack, int64_t handle)
{
    if (stack->descriptor_count > 0)
        descriptor_refresh(stack, handle);
}

int64_t ps_socket(ps_stack *stack, int family, int type, int protocol)
{
    if (stack->remote != NULL)
        return remote_socket(stack, family, type, protocol);
    ENGINE_CALL(stack, stack->table->socket_open(stack->engine, (enum ps_family)family,
                                                 (enum ps_type)type, protocol));
}

static int close_socket(ps_stack *stack, int64_t handle)
{
    int result = stack->table->socket_close(stack->engine, handle);
    if (result == 0) {
        descriptor_close(stack, handle);
        /* A thread that waits on it looks again, and finds it gone. */
        stack_signal(stack, PS_EVENT_SOCKET, handle, UINT32_MAX);
    }
    return result;
}

int stack_close_socket(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, close_socket(stack, handle));
}

int ps_close(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL)
        return remote_close(stack, handle);
    return channel_owner_lets_go(stack, handle) ? 0 : stack_close_socket(stack, handle);
}

static int close_unless_lingering(ps_stack *stack, int64_t handle)
{
    int64_t seconds;
    if (stack->table->option_get(stack->engine, handle, PS_OPT_LINGER, &seconds) == 0 &&
        seconds > 0)
        return 1;
    return close_socket(stack, handle);
}

int ps_close_unless_lingering(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL)
        return remote_close_unless_lingering(stack, handle);
    if (channel_owner_lets_go(stack, handle))
        return 0;
    ENGINE_CALL(stack, close_unless_lingering(stack, handle));
}

int ps_bind(ps_stack *stack, int64_t handle, const struct ps_address *address)
{
    if (stack->remote != NULL)
        return remote_bind(stack, handle, address);
    ENGINE_CALL(stack, stack->table->socket_bind(stack->engine, handle, address));
}

static int64_t refreshed(ps_stack *stack, int64_t handle, int64_t result)
{
    refresh(stack, handle);
    return result;
}

int ps_listen(ps_stack *stack, int64_t handle, int backlog)
{
    if (stack->remote != NULL)
        return remote_listen(stack, handle, backlog);
    ENGINE_CALL(stack, refreshed(stack, handle,
                                 stack->table->socket_listen(stack->engine, handle, backlog)));
}

static int ready(ps_stack *stack, int64_t handle)
{
    uint32_t mask;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    return result < 0 ? result : (int)mask;
}

static int begin_to_connect(ps_stack *stack, int64_t handle, const struct ps_address *address)
{
    int result = stack->table->socket_connect(stack->engine, handle, address);
    refresh(stack, handle);
    return result;
}

/* How a connect that was begun has ended; -EINPROGRESS: not yet. */
static int end_of_connect(ps_stack *stack, int64_t handle, const struct ps_address *address)
{
    int result = ready(stack, handle);
    if (result < 0)
        return result;
    if (!(result & (PS_READY_WRITE | PS_READY_ERROR | PS_READY_HANGUP)))
        return -EINPROGRESS;
    /* The engine tells the next call how it has ended; this is the one. */
    return begin_to_connect(stack, handle, address);
}

/* Whether a call with this timeout waits. Who would for ever doesn't where the descriptor has
 * O_NONBLOCK. */
static bool waits(ps_stack *stack, int64_t handle, int64_t timeout_us)
{
    return timeout_us > 0 || (timeout_us < 0 && !descriptor_waits_not(stack, handle));
}

int ps_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
               int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_connect(stack, handle, address, timeout_us);
    uint64_t deadline_us = deadline_after(timeout_us);
    int64_t result = stack_lock(stack);
    if (result < 0)
        return (int)result;
    ENGINE_GUARD(stack, result, begin_to_connect(stack, handle, address));
    while (result == -EINPROGRESS && waits(stack, handle, timeout_us)) {
        /* Look first: on the loopback it has ended before the engine was left. */
        ENGINE_GUARD(stack, result, end_of_connect(stack, handle, address));
        if (result != -EINPROGRESS)
            break;
        result = stack_wait(stack, PS_EVENT_SOCKET, handle, PS_READY_WRITE, deadline_us);
        if (result == 0)
            result = -EINPROGRESS;
    }
    result = stack_outcome(stack, result);
    stack_unlock(stack);
    return (int)result;
}

int ps_shutdown(ps_stack *stack, int64_t handle, uint32_t how)
{
    if (stack->remote != NULL)
        return remote_shutdown(stack, handle, how);
    ENGINE_CALL(
        stack, refreshed(stack, handle, stack->table->socket_shutdown(stack->engine, handle, how)));
}

int64_t ps_accept(ps_stack *stack, int64_t handle, struct ps_address *remote, int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_accept(stack, handle, remote, timeout_us);
    WAITING_CALL(
        stack, PS_EVENT_SOCKET, handle, PS_READY_READ, timeout_us,
        refreshed(stack, handle, stack->table->socket_accept(stack->engine, handle, remote)));
}

int64_t ps_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                uint32_t flags, const struct ps_address *to, const struct ps_send_control *control,
                int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_send(stack, handle, pieces, count, flags, to, control, timeout_us);
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_WRITE, timeout_us,
                 refreshed(stack, handle,
                           stack->table->socket_send(stack->engine, handle, pieces, count, flags,
                                                     to, control)));
}

int ps_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size, uint32_t flags,
                int64_t timeout_us, size_t *sent)
{
    if (stack->remote != NULL)
        return remote_send_all(stack, handle, data, size, flags, timeout_us, sent);
    uint64_t deadline_us = deadline_after(timeout_us);
    *sent = 0;
    int64_t result = stack_lock(stack);
    if (result < 0)
        return (int)result;
    do {
        const struct ps_piece rest = {(uint8_t *)(uintptr_t)data + *sent, size - *sent};
        ENGINE_GUARD(stack, result,
                     refreshed(stack, handle,
                               stack->table->socket_send(stack->engine, handle, &rest, 1, flags,
                                                         NULL, NULL)));
        if (result >= 0) {
            *sent += (size_t)result;
            result = 0;
        } else if (result == -EAGAIN && waits(stack, handle, timeout_us)) {
            result = stack_wait(stack, PS_EVENT_SOCKET, handle, PS_READY_WRITE, deadline_us);
        }
    } while (result == 0 && *sent < size);
    result = stack_outcome(stack, result);
    stack_unlock(stack);
    return (int)result;
}

/* Without a datagram, once the direction is shut down: who would wait for ever is given nothing, who
 * would not, or not for long, is told as before (Linux). */
static int64_t receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                       uint32_t flags, struct ps_message *message, bool for_ever)
{
    int64_t result =
        stack->table->socket_receive(stack->engine, handle, pieces, count, flags, message);
    if (result == -ESHUTDOWN)
        result = for_ever ? 0 : -EAGAIN;
    if (result == -EAGAIN && !(flags & PS_MSG_OOB) && stack->descriptor_count > 0)
        descriptor_found_nothing(stack, handle);
    return refreshed(stack, handle, result);
}

int64_t ps_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                   uint32_t flags, struct ps_message *message, int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_receive(stack, handle, pieces, count, flags, message, timeout_us);
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_READ, timeout_us,
                 receive(stack, handle, pieces, count, flags, message, timeout_us < 0));
}

int64_t ps_send_plain(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size,
                      const struct ps_address *to, int64_t timeout_us)
{
    const struct ps_piece piece = {(uint8_t *)(uintptr_t)data, size};
    return ps_send(stack, handle, &piece, 1, 0, to, NULL, timeout_us);
}

int64_t ps_receive_plain(ps_stack *stack, int64_t handle, uint8_t *data, size_t size,
                         int64_t timeout_us)
{
    const struct ps_piece piece = {data, size};
    return ps_receive(stack, handle, &piece, 1, 0, NULL, timeout_us);
}

static int64_t receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                             size_t count, struct ps_message *message,
                             struct ps_socket_error *error)
{
    if (stack->table->socket_receive_error == NULL)
        return -EAGAIN;
    return refreshed(
        stack, handle,
        stack->table->socket_receive_error(stack->engine, handle, pieces, count, message, error));
}

int64_t ps_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                         size_t count, struct ps_message *message, struct ps_socket_error *error,
                         int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_receive_error(stack, handle, pieces, count, message, error, timeout_us);
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_ERROR, timeout_us,
                 receive_error(stack, handle, pieces, count, message, error));
}

int ps_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out)
{
    if (stack->remote != NULL)
        return remote_name(stack, handle, which, out);
    ENGINE_CALL(stack, stack->table->socket_name(stack->engine, handle, (enum ps_name)which, out));
}

int ps_ready(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL)
        return remote_ready(stack, handle);
    ENGINE_CALL(stack, ready(stack, handle));
}

int ps_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us)
{
    if (stack->remote != NULL)
        return remote_wait(stack, handle, mask, timeout_us);
    uint64_t deadline_us = deadline_after(timeout_us);
    uint32_t wanted = mask | PS_READY_ERROR | PS_READY_HANGUP;
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    for (;;) {
        ENGINE_GUARD(stack, result, ready(stack, handle));
        if (result < 0 || (uint32_t)result & wanted)
            break;
        result = timeout_us == 0 ? -EAGAIN
                                 : stack_wait(stack, PS_EVENT_SOCKET, handle, mask, deadline_us);
        if (result < 0)
            break;
    }
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}

int ps_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value)
{
    if (stack->remote != NULL)
        return remote_option_get(stack, handle, option, value);
    ENGINE_CALL(stack, refreshed(stack, handle,
                                 stack->table->option_get(stack->engine, handle,
                                                          (enum ps_option)option, value)));
}

int ps_option_set(ps_stack *stack, int64_t handle, int option, int64_t value)
{
    if (stack->remote != NULL)
        return remote_option_set(stack, handle, option, value);
    ENGINE_CALL(stack, refreshed(stack, handle,
                                 stack->table->option_set(stack->engine, handle,
                                                          (enum ps_option)option, value)));
}

int ps_membership(ps_stack *stack, int64_t handle, bool join,
                  const struct ps_membership *membership)
{
    if (stack->remote != NULL)
        return remote_membership(stack, handle, join, membership);
    ENGINE_CALL(stack, stack->table->membership(stack->engine, handle, join, membership));
}

int ps_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out)
{
    if (stack->remote != NULL)
        return remote_tcp_info(stack, handle, out);
    ENGINE_CALL(stack, stack->table->tcp_info(stack->engine, handle, out));
}
