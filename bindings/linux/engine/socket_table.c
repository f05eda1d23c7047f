// SPDX-License-Identifier: GPL-2.0
/* The sockets by their handles. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/linux_option.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

#define FD_BITS 20
#define FD_MASK ((1u << FD_BITS) - 1)
#define GENERATION_MASK 0x7fffffffu
#define LEAST_ROOM 64

int64_t handle_of(const ps_engine *self, int fd)
{
    return (int64_t)self->sockets[fd].generation << FD_BITS | fd;
}

struct linux_socket *socket_find(ps_engine *self, int64_t handle, int *fd)
{
    if (handle < 0)
        return NULL;
    uint32_t place = (uint32_t)handle & FD_MASK;
    if (place >= self->room)
        return NULL;
    struct linux_socket *socket = &self->sockets[place];
    if (!socket->open || socket->generation != (uint64_t)handle >> FD_BITS)
        return NULL;
    *fd = (int)place;
    return socket;
}

/* Doubles a table in the host's memory, and clears the new half. */
static int grow(ps_engine *self, void **table, size_t had, size_t room, size_t size)
{
    void *larger;
    int result = self->host.memory_allocate(self->host.user, room * size, &larger);
    if (result < 0)
        return result;
    if (had > 0) {
        memcpy(larger, *table, had * size);
        self->host.memory_free(self->host.user, *table);
    }
    memset((char *)larger + had * size, 0, (room - had) * size);
    *table = larger;
    return 0;
}

static int make_room(ps_engine *self, long fd)
{
    size_t room = self->room;
    if ((size_t)fd < room)
        return 0;
    if (fd > (long)FD_MASK)
        return -EMFILE;
    room = room == 0 ? LEAST_ROOM : room;
    while ((size_t)fd >= room)
        room *= 2;
    /* The list of changes first: it may be the longer of the two. */
    void *changed = self->changed, *sockets = self->sockets;
    int result = grow(self, &changed, self->changed_room, room, sizeof *self->changed);
    if (result == 0) {
        self->changed = changed;
        self->changed_room = room;
        result = grow(self, &sockets, self->room, room, sizeof *self->sockets);
    }
    if (result == 0) {
        self->sockets = sockets;
        self->room = room;
    }
    return result;
}

static void turn_on(long fd, int level, int name)
{
    int one = 1;
    CALL(NR_setsockopt, fd, level, name, &one, sizeof one);
}

/* Options that engine.h's messages always need; the host passes on what the user asked for. */
static void tell_all(long fd, uint8_t family, uint8_t type)
{
    turn_on(fd, SOL_SOCKET, LINUX_SO_TIMESTAMPNS);
    if (type == PS_STREAM)
        return;
    turn_on(fd, SOL_SOCKET, LINUX_SO_RXQ_OVFL);
    turn_on(fd, IPPROTO_IP, IP_PKTINFO);
    turn_on(fd, IPPROTO_IP, IP_RECVTTL);
    turn_on(fd, IPPROTO_IP, IP_RECVTOS);
    if (type == PS_DATAGRAM)
        turn_on(fd, IPPROTO_IP, IP_RECVORIGDSTADDR);
    if (family != PS_INET6)
        return;
    turn_on(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
    turn_on(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT);
    turn_on(fd, IPPROTO_IPV6, IPV6_RECVTCLASS);
    if (type == PS_DATAGRAM)
        turn_on(fd, IPPROTO_IPV6, LINUX_IPV6_RECVORIGDSTADDR);
}

int64_t socket_adopt(ps_engine *self, long fd, uint8_t family, uint8_t type, int protocol)
{
    if (fd < 0)
        return fd;
    long result = make_room(self, fd);
    if (result == 0) {
        tell_all(fd, family, type);
        result = anyk_watch((int)fd, 0);
    }
    if (result < 0) {
        CALL(NR_close, fd);
        return result;
    }
    struct linux_socket *socket = &self->sockets[fd];
    *socket = (struct linux_socket){.generation = socket->generation,
                                    .noted = socket->noted,
                                    .open = true,
                                    .family = family,
                                    .type = type,
                                    .protocol = protocol,
                                    .linger = NO_LINGER};
    return handle_of(self, (int)fd);
}

void socket_forget(ps_engine *self, int fd)
{
    struct linux_socket *socket = &self->sockets[fd];
    socket->open = false;
    socket->generation = (socket->generation + 1) & GENERATION_MASK;
}
