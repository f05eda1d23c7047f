/*
 * Socket calls. The engine never waits; what waits here does so by trying again after an
 * event.
 */
#include <errno.h>

#include "base/clock.h"
#include "stack/answers.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/local_calls.h"
#include "stack/lock.h"
#include "stack/stack.h"
#include "stack/wait.h"
#include "stack/waiters.h"

/* After a call that may have changed the socket's readiness without an event. */
static void refresh(ps_stack *stack, int64_t handle)
{
    if (stack->shown_count > 0)
        descriptor_refresh(stack, handle);
}

int64_t local_socket(ps_stack *stack, int family, int type, int protocol)
{
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

int local_close(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, close_socket(stack, handle));
}

static int close_unheld(ps_stack *stack, int64_t handle)
{
    return descriptor_lives_on(stack, handle) ? 0 : close_socket(stack, handle);
}

int stack_close_unheld(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, close_unheld(stack, handle));
}

static int64_t option_of(ps_stack *stack, int64_t handle, enum ps_option option)
{
    int64_t value;
    return stack->table->option_get(stack->engine, handle, option, &value) == 0 ? value : 0;
}

/* A listener has nothing to send, and unread bytes end a connection in a reset, at once. */
static int lingers(ps_stack *stack, int64_t handle)
{
    return option_of(stack, handle, PS_OPT_LINGER) > 0 &&
           option_of(stack, handle, PS_OPT_LISTENING) == 0 &&
           option_of(stack, handle, PS_OPT_BYTES_QUEUED) == 0;
}

int local_lingers(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, lingers(stack, handle));
}

static int close_unless_lingering(ps_stack *stack, int64_t handle)
{
    return lingers(stack, handle) ? 1 : close_socket(stack, handle);
}

int local_close_unless_lingering(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, close_unless_lingering(stack, handle));
}

int local_bind(ps_stack *stack, int64_t handle, const struct ps_address *address)
{
    ENGINE_CALL(stack, stack->table->socket_bind(stack->engine, handle, address));
}

static int64_t refreshed(ps_stack *stack, int64_t handle, int64_t result)
{
    refresh(stack, handle);
    return result;
}

int local_listen(ps_stack *stack, int64_t handle, int backlog)
{
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

/* Whether a call with this timeout waits. An endless wait is none where the descriptor has
 * O_NONBLOCK. */
static bool waits(ps_stack *stack, int64_t handle, int64_t timeout_us)
{
    return timeout_us > 0 || (timeout_us < 0 && !descriptor_waits_not(stack, handle));
}

int local_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
                  int64_t timeout_us)
{
    int64_t result = stack_lock(stack);
    if (result < 0)
        return (int)result;
    uint64_t deadline_us = stack_deadline(stack, timeout_us);
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

int local_shutdown(ps_stack *stack, int64_t handle, uint32_t how)
{
    ENGINE_CALL(
        stack, refreshed(stack, handle, stack->table->socket_shutdown(stack->engine, handle, how)));
}

int64_t local_accept(ps_stack *stack, int64_t handle, struct ps_address *remote, int64_t timeout_us)
{
    WAITING_CALL(
        stack, PS_EVENT_SOCKET, handle, PS_READY_READ, timeout_us,
        refreshed(stack, handle, stack->table->socket_accept(stack->engine, handle, remote)));
}

static int64_t send_some(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                         size_t count, uint32_t flags, const struct ps_address *to,
                         const struct ps_send_control *control)
{
    flags |= answer_flags(stack, handle, flags);
    int64_t result =
        stack->table->socket_send(stack->engine, handle, pieces, count, flags, to, control);
    if (result >= 0 && stack->shown_count > 0)
        descriptor_has_sent(stack, handle);
    return refreshed(stack, handle, result);
}

int64_t local_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                   uint32_t flags, const struct ps_address *to,
                   const struct ps_send_control *control, int64_t timeout_us)
{
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_WRITE, timeout_us,
                 send_some(stack, handle, pieces, count, flags, to, control));
}

int local_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size,
                   uint32_t flags, int64_t timeout_us, size_t *sent)
{
    *sent = 0;
    int64_t result = stack_lock(stack);
    if (result < 0)
        return (int)result;
    uint64_t deadline_us = stack_deadline(stack, timeout_us);
    do {
        const struct ps_piece rest = {(uint8_t *)(uintptr_t)data + *sent, size - *sent};
        ENGINE_GUARD(stack, result, send_some(stack, handle, &rest, 1, flags, NULL, NULL));
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

/* Without a datagram, once the direction is shut down: who would wait for ever is given nothing,
 * who would not, or not for long, is told as before (Linux). */
static int64_t receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                       uint32_t flags, struct ps_message *message, bool for_ever)
{
    int64_t result =
        stack->table->socket_receive(stack->engine, handle, pieces, count, flags, message);
    if (result == -ESHUTDOWN)
        result = for_ever ? 0 : -EAGAIN;
    if (result == -EAGAIN && !(flags & PS_MSG_OOB) && stack->shown_count > 0)
        descriptor_found_nothing(stack, handle);
    return refreshed(stack, handle, result);
}

int64_t local_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                      uint32_t flags, struct ps_message *message, int64_t timeout_us)
{
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_READ, timeout_us,
                 receive(stack, handle, pieces, count, flags, message, timeout_us < 0));
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

int64_t local_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                            size_t count, struct ps_message *message, struct ps_socket_error *error,
                            int64_t timeout_us)
{
    WAITING_CALL(stack, PS_EVENT_SOCKET, handle, PS_READY_ERROR, timeout_us,
                 receive_error(stack, handle, pieces, count, message, error));
}

int local_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out)
{
    ENGINE_CALL(stack, stack->table->socket_name(stack->engine, handle, (enum ps_name)which, out));
}

int local_ready(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, ready(stack, handle));
}

int local_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us)
{
    uint32_t wanted = mask | PS_READY_ERROR | PS_READY_HANGUP;
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    uint64_t deadline_us = stack_deadline(stack, timeout_us);
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

int local_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value)
{
    ENGINE_CALL(stack, refreshed(stack, handle,
                                 stack->table->option_get(stack->engine, handle,
                                                          (enum ps_option)option, value)));
}

static int64_t set_option(ps_stack *stack, int64_t handle, int option, int64_t value)
{
    answer_release(stack, handle); /* it may be TCP_CORK */
    return refreshed(
        stack, handle,
        stack->table->option_set(stack->engine, handle, (enum ps_option)option, value));
}

int local_option_set(ps_stack *stack, int64_t handle, int option, int64_t value)
{
    ENGINE_CALL(stack, set_option(stack, handle, option, value));
}

static int set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                   size_t size)
{
    if (stack->table->option_set_raw == NULL)
        return -ENOSYS;
    answer_release(stack, handle);
    int result = stack->table->option_set_raw(stack->engine, handle, level, name, value, size);
    return (int)refreshed(stack, handle, result);
}

int local_option_set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                         size_t size)
{
    ENGINE_CALL(stack, set_raw(stack, handle, level, name, value, size));
}

static int get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value, size_t room)
{
    if (stack->table->option_get_raw == NULL)
        return -ENOSYS;
    int result = stack->table->option_get_raw(stack->engine, handle, level, name, value, &room);
    return (int)refreshed(stack, handle, result < 0 ? result : (int64_t)room);
}

int local_option_get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value,
                         size_t room)
{
    ENGINE_CALL(stack, get_raw(stack, handle, level, name, value, room));
}

int local_membership(ps_stack *stack, int64_t handle, bool join,
                     const struct ps_membership *membership)
{
    ENGINE_CALL(stack, stack->table->membership(stack->engine, handle, join, membership));
}

int local_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out)
{
    ENGINE_CALL(stack, stack->table->tcp_info(stack->engine, handle, out));
}
