// SPDX-License-Identifier: GPL-2.0
/* What sockets are ready for, and the events that say so. */
#include <errno.h>
#include <poll.h>

#include "engine/linux_option.h"
#include "engine/readiness.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

/* The bits with which the kernel says that something came. */
#define CAME (POLLIN | POLLPRI | POLLERR | POLLHUP | POLLRDHUP)

static bool all_is_acknowledged(int fd)
{
    int unacknowledged = 0;
    return CALL(NR_ioctl, fd, LINUX_SIOCOUTQ, &unacknowledged) < 0 || unacknowledged == 0;
}

static uint32_t from_poll(unsigned mask)
{
    return (mask & (POLLIN | POLLRDHUP) ? PS_READY_READ : 0) |
           (mask & POLLOUT ? PS_READY_WRITE : 0) | (mask & POLLERR ? PS_READY_ERROR : 0) |
           (mask & POLLHUP ? PS_READY_HANGUP : 0) | (mask & POLLPRI ? PS_READY_URGENT : 0) |
           (mask & POLLRDHUP ? PS_READY_ENDED : 0);
}

static uint32_t ready(const struct linux_socket *socket, int fd)
{
    uint32_t mask = from_poll(anyk_ready(fd));
    /* POLLPRI also accompanies an error in the queue (SO_SELECT_ERR_QUEUE). */
    if (socket->type != PS_STREAM)
        mask &= ~(uint32_t)PS_READY_URGENT;
    return mask;
}

int engine_socket_ready(ps_engine *self, int64_t handle, uint32_t *mask)
{
    SOCKET(socket, fd);
    *mask = ready(socket, fd);
    if (socket->type != PS_STREAM || all_is_acknowledged(fd))
        *mask |= PS_READY_DRAINED;
    return 0;
}

void readiness_note(ps_engine *self, int fd, unsigned mask)
{
    struct linux_socket *socket = &self->sockets[fd];
    socket->news |= mask == 0 || (mask & CAME) != 0;
    if (!socket->noted) {
        socket->noted = true;
        self->changed[self->changed_count++] = fd;
    }
}

void readiness_tell(ps_engine *self)
{
    while (self->changed_count > 0) {
        int fd = self->changed[--self->changed_count]; /* polling one may add another */
        struct linux_socket *socket = &self->sockets[fd];
        socket->noted = false;
        if (!socket->open)
            continue;
        uint32_t mask = ready(socket, fd) | (socket->news ? PS_READY_NEWS : 0);
        socket->news = false;
        /* Only a close with SO_LINGER waits for the last acknowledgement. */
        if (socket->shut_write && socket->type == PS_STREAM && all_is_acknowledged(fd))
            mask |= PS_READY_DRAINED;
        self->host.event(self->host.user, PS_EVENT_SOCKET, handle_of(self, fd), mask);
    }
}
