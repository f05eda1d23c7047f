/*
 * Calls of sockets: in this process, or by the channel to the one that owns the Stack.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>

#include "channel/channel.h"
#include "stack/descriptors.h"
#include "stack/local_calls.h"

int64_t ps_socket(ps_stack *stack, int family, int type, int protocol)
{
    return stack->remote != NULL ? remote_socket(stack, family, type, protocol)
                                 : local_socket(stack, family, type, protocol);
}

int ps_close(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL)
        return remote_close(stack, handle);
    return channel_owner_lets_go(stack, handle) ? 0 : local_close(stack, handle);
}

int ps_close_unless_lingering(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL)
        return remote_close_unless_lingering(stack, handle);
    return channel_owner_lets_go(stack, handle) ? 0 : local_close_unless_lingering(stack, handle);
}

int ps_bind(ps_stack *stack, int64_t handle, const struct ps_address *address)
{
    return stack->remote != NULL ? remote_bind(stack, handle, address)
                                 : local_bind(stack, handle, address);
}

int ps_listen(ps_stack *stack, int64_t handle, int backlog)
{
    return stack->remote != NULL ? remote_listen(stack, handle, backlog)
                                 : local_listen(stack, handle, backlog);
}

int ps_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
               int64_t timeout_us)
{
    return stack->remote != NULL ? remote_connect(stack, handle, address, timeout_us)
                                 : local_connect(stack, handle, address, timeout_us);
}

int ps_shutdown(ps_stack *stack, int64_t handle, uint32_t how)
{
    return stack->remote != NULL ? remote_shutdown(stack, handle, how)
                                 : local_shutdown(stack, handle, how);
}

int64_t ps_accept(ps_stack *stack, int64_t handle, struct ps_address *remote, int64_t timeout_us)
{
    return stack->remote != NULL ? remote_accept(stack, handle, remote, timeout_us)
                                 : local_accept(stack, handle, remote, timeout_us);
}

int64_t ps_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                uint32_t flags, const struct ps_address *to, const struct ps_send_control *control,
                int64_t timeout_us)
{
    return stack->remote != NULL
               ? remote_send(stack, handle, pieces, count, flags, to, control, timeout_us)
               : local_send(stack, handle, pieces, count, flags, to, control, timeout_us);
}

int ps_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size, uint32_t flags,
                int64_t timeout_us, size_t *sent)
{
    return stack->remote != NULL
               ? remote_send_all(stack, handle, data, size, flags, timeout_us, sent)
               : local_send_all(stack, handle, data, size, flags, timeout_us, sent);
}

int64_t ps_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                   uint32_t flags, struct ps_message *message, int64_t timeout_us)
{
    return stack->remote != NULL
               ? remote_receive(stack, handle, pieces, count, flags, message, timeout_us)
               : local_receive(stack, handle, pieces, count, flags, message, timeout_us);
}

int64_t ps_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                         size_t count, struct ps_message *message, struct ps_socket_error *error,
                         int64_t timeout_us)
{
    return stack->remote != NULL
               ? remote_receive_error(stack, handle, pieces, count, message, error, timeout_us)
               : local_receive_error(stack, handle, pieces, count, message, error, timeout_us);
}

int ps_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out)
{
    return stack->remote != NULL ? remote_name(stack, handle, which, out)
                                 : local_name(stack, handle, which, out);
}

int ps_ready(ps_stack *stack, int64_t handle)
{
    return stack->remote != NULL ? remote_ready(stack, handle) : local_ready(stack, handle);
}

int ps_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us)
{
    return stack->remote != NULL ? remote_wait(stack, handle, mask, timeout_us)
                                 : local_wait(stack, handle, mask, timeout_us);
}

int ps_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value)
{
    return stack->remote != NULL ? remote_option_get(stack, handle, option, value)
                                 : local_option_get(stack, handle, option, value);
}

int ps_option_set(ps_stack *stack, int64_t handle, int option, int64_t value)
{
    return stack->remote != NULL ? remote_option_set(stack, handle, option, value)
                                 : local_option_set(stack, handle, option, value);
}

int ps_option_set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                      size_t size)
{
    return stack->remote != NULL ? remote_option_set_raw(stack, handle, level, name, value, size)
                                 : local_option_set_raw(stack, handle, level, name, value, size);
}

int ps_option_get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value,
                      size_t room)
{
    return stack->remote != NULL ? remote_option_get_raw(stack, handle, level, name, value, room)
                                 : local_option_get_raw(stack, handle, level, name, value, room);
}

int ps_membership(ps_stack *stack, int64_t handle, bool join,
                  const struct ps_membership *membership)
{
    return stack->remote != NULL ? remote_membership(stack, handle, join, membership)
                                 : local_membership(stack, handle, join, membership);
}

int ps_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out)
{
    return stack->remote != NULL ? remote_tcp_info(stack, handle, out)
                                 : local_tcp_info(stack, handle, out);
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

int ps_descriptor(ps_stack *stack, int64_t handle, bool nonblocking)
{
    if (stack->remote == NULL)
        return local_descriptor(stack, handle, nonblocking);
    int number = channel_show_descriptor(stack, handle);
    if (number >= 0 && nonblocking)
        fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK);
    return number;
}

int64_t ps_accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number)
{
    if (stack->remote == NULL)
        return local_accept_shown(stack, handle, remote, number);
    int64_t accepted = remote_accept(stack, handle, remote, 0);
    if (accepted >= 0)
        *number = channel_show_descriptor(stack, accepted);
    return accepted;
}

int ps_descriptor_close(ps_stack *stack, int64_t handle, int number)
{
    if (stack->remote == NULL)
        return local_descriptor_close(stack, handle, number, channel_is_held(stack, handle));
    int result = channel_close_number(stack, handle, number);
    if (result == -EBADF)
        descriptor_close_stray(stack, handle, number);
    return result;
}
