// SPDX-License-Identifier: GPL-2.0
/* What sockets send and receive, ancillary data included. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "engine/address.h"
#include "engine/control_message.h"
#include "engine/linux_option.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

static int message_flags(uint32_t flags)
{
    return (flags & PS_MSG_PEEK ? MSG_PEEK : 0) | (flags & PS_MSG_TRUNC ? MSG_TRUNC : 0) |
           (flags & PS_MSG_MORE ? MSG_MORE : 0) | (flags & PS_MSG_OOB ? MSG_OOB : 0) |
           (flags & PS_MSG_DONTROUTE ? MSG_DONTROUTE : 0) | (flags & PS_MSG_EOR ? MSG_EOR : 0) |
           MSG_DONTWAIT | MSG_NOSIGNAL;
}

/* The kernel's struct iovec has the fields of a piece. */
_Static_assert(sizeof(struct iovec) == sizeof(struct ps_piece), "a piece is an iovec");

static struct iovec *to_iovec(const struct ps_piece *pieces)
{
    return (struct iovec *)(uintptr_t)pieces;
}

int64_t engine_socket_send(ps_engine *self, int64_t handle, const struct ps_piece *pieces,
                           size_t count, uint32_t flags, const struct ps_address *to,
                           const struct ps_send_control *control)
{
    SOCKET(socket, fd);
    struct sockaddr_storage name;
    union control_room room;
    struct msghdr message = {.msg_iov = to_iovec(pieces), .msg_iovlen = count};
    if (to != NULL) {
        message.msg_name = &name;
        message.msg_namelen = to_sockaddr(&name, to, socket->family);
    }
    if (control != NULL)
        control_write(&message, &room, socket->family, to, control);
    return CALL(NR_sendmsg, fd, &message, message_flags(flags));
}

static size_t size_of(const struct ps_piece *pieces, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    return size;
}

static int ask(int fd, unsigned request)
{
    int answer = 0;
    return CALL(NR_ioctl, fd, request, &answer) < 0 ? 0 : answer;
}

/* PS_MSG_WHOLE: whether there is less than asked for, and more may come. */
static bool may_become_more(int fd, size_t wanted)
{
    unsigned ended = POLLRDHUP | POLLHUP | POLLERR;
    return (size_t)ask(fd, LINUX_FIONREAD) < wanted && !(anyk_ready(fd) & ended);
}

/* PS_MSG_REST: whether only the end of the stream is left, for the next call to report. */
static bool only_an_end_is_next(int fd)
{
    return ask(fd, LINUX_SIOCATMARK) != 0 ||
           (anyk_ready(fd) & POLLERR && ask(fd, LINUX_FIONREAD) == 0);
}

/* The result of waiting for a datagram after a shutdown of that direction. */
static int64_t at_the_end(const struct linux_socket *socket, int64_t result)
{
    return result == -EAGAIN && socket->shut_read && socket->type != PS_STREAM ? -ESHUTDOWN
                                                                               : result;
}

/* MSG_NOTIFICATION of linux/sctp.h, whose number is MSG_MORE's. */
static uint32_t told(int flags)
{
    return (flags & MSG_TRUNC ? PS_MSG_TRUNC : 0) | (flags & MSG_EOR ? PS_MSG_EOR : 0) |
           (flags & MSG_MORE ? PS_MSG_NOTIFICATION : 0);
}

static int64_t receive(ps_engine *self, const struct linux_socket *socket, int fd,
                       const struct ps_piece *pieces, size_t count, int flags,
                       struct ps_message *message, struct ps_socket_error *error)
{
    struct sockaddr_storage name = {0};
    union control_room room;
    struct msghdr whole = {.msg_iov = to_iovec(pieces),
                           .msg_iovlen = count,
                           .msg_name = &name,
                           .msg_namelen = sizeof name,
                           .msg_control = &room,
                           .msg_controllen = sizeof room};
    int64_t result = CALL(NR_recvmsg, fd, &whole, flags);
    if (result < 0)
        return result;
    *message = (struct ps_message){.flags = told(whole.msg_flags)};
    from_sockaddr(&message->from, &name);
    if (socket->type == PS_RAW)
        message->from.port = 0;
    control_read(&whole, socket->family, self->real_ns, message, error);
    return result;
}

int64_t engine_socket_receive(ps_engine *self, int64_t handle, const struct ps_piece *pieces,
                              size_t count, uint32_t flags, struct ps_message *message)
{
    SOCKET(socket, fd);
    if (socket->type == PS_STREAM) {
        if (flags & PS_MSG_REST && only_an_end_is_next(fd))
            return 0;
        if (flags & PS_MSG_WHOLE && may_become_more(fd, size_of(pieces, count)))
            return -EAGAIN;
    }
    if (message == NULL) {
        struct msghdr bare = {.msg_iov = to_iovec(pieces), .msg_iovlen = count};
        return at_the_end(socket, CALL(NR_recvmsg, fd, &bare, message_flags(flags)));
    }
    return at_the_end(
        socket, receive(self, socket, fd, pieces, count, message_flags(flags), message, NULL));
}

int64_t engine_socket_receive_error(ps_engine *self, int64_t handle, const struct ps_piece *pieces,
                                    size_t count, struct ps_message *message,
                                    struct ps_socket_error *error)
{
    SOCKET(socket, fd);
    struct ps_message unwanted_message;
    struct ps_socket_error unwanted_error;
    if (message == NULL)
        message = &unwanted_message;
    if (error == NULL)
        error = &unwanted_error;
    memset(error, 0, sizeof *error);
    return receive(self, socket, fd, pieces, count, MSG_ERRQUEUE | MSG_DONTWAIT, message, error);
}
