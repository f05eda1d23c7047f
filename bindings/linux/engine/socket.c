// SPDX-License-Identifier: GPL-2.0
/* Sockets, from open to close. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "engine/address.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

int64_t engine_socket_open(ps_engine *self, enum ps_family family, enum ps_type type, int protocol)
{
    static const int kinds[] = {[PS_STREAM] = SOCK_STREAM,
                                [PS_DATAGRAM] = SOCK_DGRAM,
                                [PS_RAW] = SOCK_RAW,
                                [PS_SEQPACKET] = SOCK_SEQPACKET};
    int kind = kinds[type];
    long fd = CALL(NR_socket, af((uint8_t)family), kind | SOCK_NONBLOCK, protocol);
    return socket_adopt(self, fd, (uint8_t)family, (uint8_t)type, protocol);
}

int engine_socket_close(ps_engine *self, int64_t handle)
{
    SOCKET(socket, fd);
    (void)socket;
    socket_forget(self, fd);
    return (int)CALL(NR_close, fd);
}

int engine_socket_bind(ps_engine *self, int64_t handle, const struct ps_address *address)
{
    SOCKET(socket, fd);
    struct sockaddr_storage name;
    socklen_t size = to_sockaddr(&name, address, socket->family);
    return (int)CALL(NR_bind, fd, &name, size);
}

int engine_socket_listen(ps_engine *self, int64_t handle, int backlog)
{
    SOCKET(socket, fd);
    (void)socket;
    return (int)CALL(NR_listen, fd, backlog);
}

int64_t engine_socket_accept(ps_engine *self, int64_t handle, struct ps_address *remote)
{
    SOCKET(socket, fd);
    struct linux_socket listener = *socket; /* the table may move */
    struct sockaddr_storage name = {0};
    int size = sizeof name;
    long made = CALL(NR_accept4, fd, &name, &size, SOCK_NONBLOCK);
    int64_t result = socket_adopt(self, made, listener.family, listener.type, listener.protocol);
    if (result < 0)
        return result;
    self->sockets[made].linger = listener.linger;
    if (remote != NULL)
        from_sockaddr(remote, &name);
    return result;
}

/* The result of a connect under way, which TCP reports to the next connect and SCTP doesn't;
 * -EINPROGRESS: none yet. */
static int end_of_sctp_connect(int fd)
{
    int error = 0, size = sizeof error;
    long result = CALL(NR_getsockopt, fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (result < 0 || error != 0)
        return result < 0 ? (int)result : -error;
    return anyk_ready(fd) & POLLOUT ? 0 : -EINPROGRESS;
}

/* Whether a shutdown has just aborted a connect: there is no connection. */
static bool has_ended_connect(const struct linux_socket *socket, int fd)
{
    struct sockaddr_storage name;
    int size = sizeof name;
    return socket->type == PS_STREAM && socket->protocol != IPPROTO_SCTP &&
           CALL(NR_getpeername, fd, &name, &size) == -ENOTCONN;
}

/* The error of a connect that shutdown aborted. Linux returns it to the thread waiting in connect;
 * here that thread calls connect again, and would start another. */
static int error_of_ended_connect(struct linux_socket *socket, int fd)
{
    int error = 0, size = sizeof error;
    if (!socket->ended_connect)
        return 0;
    socket->ended_connect = false;
    long result = CALL(NR_getsockopt, fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return result < 0 ? (int)result : -error;
}

int engine_socket_connect(ps_engine *self, int64_t handle, const struct ps_address *address)
{
    SOCKET(socket, fd);
    int ended = error_of_ended_connect(socket, fd);
    if (ended < 0)
        return ended;
    struct sockaddr_storage name;
    socklen_t size = to_sockaddr(&name, address, socket->family);
    int result =
        socket->connecting ? end_of_sctp_connect(fd) : (int)CALL(NR_connect, fd, &name, size);
    socket->connecting =
        result == -EINPROGRESS && socket->protocol == IPPROTO_SCTP && socket->type == PS_STREAM;
    return result;
}

int engine_socket_shutdown(ps_engine *self, int64_t handle, uint32_t how)
{
    SOCKET(socket, fd);
    bool read = how & PS_SHUT_READ, write = how & PS_SHUT_WRITE;
    if (how == 0 || how > (PS_SHUT_READ | PS_SHUT_WRITE))
        return -EINVAL;
    int result = (int)CALL(NR_shutdown, fd, read && write ? SHUT_RDWR : read ? SHUT_RD : SHUT_WR);
    socket->ended_connect = result == 0 && has_ended_connect(socket, fd);
    /* On an unconnected datagram socket Linux returns an error, but does it. */
    if (result == 0 || (result == -ENOTCONN && socket->type != PS_STREAM)) {
        socket->shut_read |= read;
        socket->shut_write |= write;
    }
    return result;
}

int engine_socket_name(ps_engine *self, int64_t handle, enum ps_name which, struct ps_address *out)
{
    SOCKET(socket, fd);
    struct sockaddr_storage name = {0};
    int size = sizeof name;
    int result =
        (int)CALL(which == PS_NAME_LOCAL ? NR_getsockname : NR_getpeername, fd, &name, &size);
    if (result < 0)
        return result;
    from_sockaddr(out, &name);
    return 0;
}
