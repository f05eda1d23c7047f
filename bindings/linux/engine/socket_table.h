// SPDX-License-Identifier: GPL-2.0
/*
 * Sockets by handle. A handle is the kernel's descriptor with a generation number above it, which
 * each close raises: a stale handle never names another socket.
 */
#ifndef PYSTACK_LINUX_SOCKET_TABLE_H
#define PYSTACK_LINUX_SOCKET_TABLE_H

#include <errno.h>

#include "engine/linux.h"

#define NO_LINGER (-1)

struct linux_socket {
    uint32_t generation;
    bool open;
    bool noted, news; /* is in the list of changes; whether something came */
    bool shut_read, shut_write;
    bool connecting;      /* SCTP alone */
    bool ended_connect;   /* TCP alone: shutdown has ended what connect had begun */
    uint8_t family, type; /* enum ps_family, enum ps_type */
    int protocol;
    int linger; /* SO_LINGER's seconds, for which the host waits; NO_LINGER */
};

int64_t handle_of(const ps_engine *self, int fd);
/* NULL: there is no such socket (any more). */
struct linux_socket *socket_find(ps_engine *self, int64_t handle, int *fd);

/* Takes in a descriptor of the kernel's (or a negative errno, which it returns): a socket as those
 * the host knows. Closes it and returns -ENOMEM where there is no memory for it. */
int64_t socket_adopt(ps_engine *self, long fd, uint8_t family, uint8_t type, int protocol);
void socket_forget(ps_engine *self, int fd);

/* Returns -EBADF from the caller where the handle is no socket's. */
#define SOCKET(socket, fd) \
    int fd; \
    struct linux_socket *socket = socket_find(self, handle, &fd); \
    if (socket == NULL) \
    return -EBADF

#endif
