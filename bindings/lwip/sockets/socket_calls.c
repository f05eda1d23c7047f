/*
 * The engine's entries about a socket: each finds it, and asks its kind.
 */
#include "base/entries.h"
#include "base/port.h"
#include "link/address.h"
#include "sockets/socket.h"

int engine_socket_close(ps_engine *engine, int64_t handle)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    socket->kind->close(socket);
    socket_discard(socket);
    return 0;
}

/* The family of an address that a socket may be given: its own, or for an IPv6 socket that
 * is not IPv6-only a v4-mapped one, which arrives as IPv4. */
static int accept_address(const struct port_socket *socket, const struct ps_address *address,
                          ip_addr_t *ip)
{
    if (address->family != socket->family)
        return -EAFNOSUPPORT;
    int result = address_to_lwip(address, ip);
    if (result == 0 && socket->family == PS_INET6 && socket->options.v6only && IP_IS_V4(ip))
        return -ENETUNREACH;
    return result;
}

int engine_socket_bind(ps_engine *engine, int64_t handle, const struct ps_address *address)
{
    (void)engine;
    ip_addr_t ip;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    int result = accept_address(socket, address, &ip);
    if (result < 0)
        return result == -ENETUNREACH ? -EINVAL : result;
    if (IP_IS_V6(&ip) && ip6_addr_isany(ip_2_ip6(&ip)) && !socket->options.v6only)
        ip_addr_copy(ip, *IP_ANY_TYPE);
    result = socket->kind->bind(socket, &ip, address->port);
    /* As Linux has it, what is bound to an address of IPv6 is for IPv6 alone from then on. */
    if (result >= 0 && socket->type != PS_RAW && IP_IS_V6(&ip) && !ip_addr_isany(&ip))
        socket->options.v6only = true;
    return result;
}

int engine_socket_listen(ps_engine *engine, int64_t handle, int backlog)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    return socket->kind->listen ? socket->kind->listen(socket, backlog) : -EOPNOTSUPP;
}

int64_t engine_socket_accept(ps_engine *engine, int64_t handle, struct ps_address *remote)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    return socket->kind->accept ? socket->kind->accept(socket, remote) : -EOPNOTSUPP;
}

int engine_socket_connect(ps_engine *engine, int64_t handle, const struct ps_address *address)
{
    (void)engine;
    ip_addr_t ip;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    if (address->family == PS_UNSPECIFIED)
        return socket->kind->connect(socket, NULL, 0);
    int result = socket->kind->may_connect ? socket->kind->may_connect(socket) : 0;
    if (result != 0)
        return LWIP_MIN(result, 0);
    result = accept_address(socket, address, &ip);
    if (result < 0)
        return result == -ENODEV ? -ENETUNREACH : result;
    return socket->kind->connect(socket, &ip, address->port);
}

int64_t engine_socket_send(ps_engine *engine, int64_t handle, const struct ps_piece *pieces,
                           size_t count, uint32_t flags, const struct ps_address *to,
                           const struct ps_send_control *control)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    return socket->kind->send(socket, pieces, count, flags, to, control);
}

int64_t engine_socket_receive(ps_engine *engine, int64_t handle, const struct ps_piece *pieces,
                              size_t count, uint32_t flags, struct ps_message *message)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    return socket->kind->receive(socket, pieces, count, flags, message);
}

int engine_socket_shutdown(ps_engine *engine, int64_t handle, uint32_t how)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    if (how == 0 || how > (PS_SHUT_READ | PS_SHUT_WRITE))
        return -EINVAL;
    return socket->kind->shutdown(socket, how);
}

int engine_socket_name(ps_engine *engine, int64_t handle, enum ps_name which,
                       struct ps_address *out)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    return socket->kind->name(socket, which, out);
}

int engine_socket_ready(ps_engine *engine, int64_t handle, uint32_t *mask)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    *mask = socket->kind->ready(socket);
    return 0;
}

int engine_membership(ps_engine *engine, int64_t handle, bool join,
                      const struct ps_membership *membership)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    return socket->kind->membership ? socket->kind->membership(socket, join, membership)
                                    : -ENOPROTOOPT;
}
