// SPDX-License-Identifier: GPL-2.0
/*
 * The listing of connections, by sock_diag(7): the host's sockets, then connections that no socket
 * holds: not yet accepted, closed but still sending, in TIME-WAIT.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include <linux/stat.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/address.h"
#include "engine/connection.h"
#include "engine/linux_option.h"
#include "engine/netlink.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

#define LINUX_SOCK_DESTROY 21
#define LEAST_ROOM 64
#define COUNT(array) (sizeof(array) / sizeof *(array))

#define STATE(state) (1u << (state))
/* All states but that of a socket bound at most: the kernel lists those only in part. */
#define CONNECTED (STATE(PS_TCP_CLOSING + 1) - 1)
#define CLOSED_BY_OWNER (STATE(PS_TCP_FIN_WAIT_1) | STATE(PS_TCP_CLOSING) | STATE(PS_TCP_LAST_ACK))

static int make_room(ps_engine *self)
{
    struct connections *all = &self->connections;
    if (all->count < all->room)
        return 0;
    void *larger;
    size_t room = all->room == 0 ? LEAST_ROOM : all->room * 2;
    int result = self->host.memory_allocate(self->host.user, room * sizeof *all->rows, &larger);
    if (result < 0)
        return result;
    if (all->rows != NULL) {
        memcpy(larger, all->rows, all->count * sizeof *all->rows);
        self->host.memory_free(self->host.user, all->rows);
    }
    all->rows = larger;
    all->room = room;
    return 0;
}

static void forget(ps_engine *self)
{
    if (self->connections.rows != NULL)
        self->host.memory_free(self->host.user, self->connections.rows);
    self->connections.rows = NULL;
    self->connections.count = self->connections.room = 0;
}

static void set_end(struct ps_address *out, const struct inet_diag_msg *m, const __be32 *bytes,
                    __be16 port)
{
    set_ip(out, m->idiag_family, bytes);
    out->port = ntohs(port);
    if (is_link_local(out))
        out->scope = m->id.idiag_if;
}

/* `user` is the protocol the user gave. */
static int take_in(ps_engine *self, const struct nlmsghdr *message, void *user)
{
    const struct inet_diag_msg *m = NLMSG_DATA(message);
    uint8_t protocol = *(const uint8_t *)user;
    int result = make_room(self);
    if (result < 0)
        return result;
    struct connection *each = &self->connections.rows[self->connections.count++];
    *each = (struct connection){.inode = m->idiag_inode, .fd = -1};
    struct ps_connection *row = &each->row;
    row->handle = -1;
    row->protocol = protocol;
    row->type = protocol == IPPROTO_TCP ? PS_STREAM : PS_DATAGRAM;
    set_end(&row->local, m, m->id.idiag_src, m->id.idiag_sport);
    set_end(&row->remote, m, m->id.idiag_dst, m->id.idiag_dport);
    row->receive_queue = m->idiag_rqueue;
    row->send_queue = m->idiag_wqueue;
    if (protocol == IPPROTO_TCP)
        row->state = m->idiag_state;
    if (protocol == IPPROTO_RAW) { /* its port is its protocol, as in all engines */
        row->type = PS_RAW;
        row->protocol = (uint8_t)row->local.port;
    }
    return 0;
}

static int open_diag(void)
{
    return (int)CALL(NR_socket, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
}

static int dump(ps_engine *self, int diag, uint8_t family, uint8_t protocol, uint32_t states,
                each_message *each, void *user)
{
    struct request r;
    const struct inet_diag_req_v2 wanted = {
        .sdiag_family = family, .sdiag_protocol = protocol, .idiag_states = states};
    begin(&r, SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &wanted, sizeof wanted);
    return for_each(self, diag, &r, each, user);
}

static int take_in_all(ps_engine *self)
{
    static const uint8_t protocols[] = {IPPROTO_TCP, IPPROTO_UDP, IPPROTO_RAW};
    int diag = open_diag(), result = diag < 0 ? diag : 0;
    for (size_t i = 0; result == 0 && i < COUNT(protocols); i++) {
        uint8_t protocol = protocols[i];
        result = dump(self, diag, AF_INET, protocol, CONNECTED, take_in, &protocol);
        if (result == 0)
            result = dump(self, diag, AF_INET6, protocol, CONNECTED, take_in, &protocol);
    }
    if (diag >= 0)
        CALL(NR_close, diag);
    return result;
}

int connections_each_tcp(ps_engine *self, each_message *each, void *user)
{
    int diag = open_diag();
    if (diag < 0)
        return diag;
    int result = dump(self, diag, AF_INET, IPPROTO_TCP, CONNECTED, each, user);
    if (result == 0)
        result = dump(self, diag, AF_INET6, IPPROTO_TCP, CONNECTED, each, user);
    CALL(NR_close, diag);
    return result;
}

/* --- whose they are ---------------------------------------------------------------------- */

static struct connection *find(ps_engine *self, uint32_t inode)
{
    for (size_t i = 0; inode != 0 && i < self->connections.count; i++)
        if (self->connections.rows[i].inode == inode)
            return &self->connections.rows[i];
    return NULL;
}

static void set_name(int fd, int which, uint8_t family, struct ps_address *out)
{
    struct sockaddr_storage name = {0};
    int size = sizeof name;
    *out = (struct ps_address){.family = family};
    if (CALL(which, fd, &name, &size) == 0)
        from_sockaddr(out, &name);
}

/* A socket in none of the kernel's tables: unbound, or of a protocol without a listing. */
static int describe_other(ps_engine *self, int fd, uint32_t inode)
{
    const struct linux_socket *socket = &self->sockets[fd];
    int result = make_room(self), waiting = 0;
    if (result < 0)
        return result;
    struct connection *each = &self->connections.rows[self->connections.count++];
    *each = (struct connection){.inode = inode};
    struct ps_connection *row = &each->row;
    int protocol = socket->protocol != 0         ? socket->protocol
                   : socket->type == PS_STREAM   ? IPPROTO_TCP
                   : socket->type == PS_DATAGRAM ? IPPROTO_UDP
                                                 : IPPROTO_RAW;
    row->protocol = (uint8_t)protocol;
    row->type = socket->type;
    row->state = socket->type == PS_STREAM ? PS_TCP_CLOSED : 0;
    set_name(fd, NR_getsockname, socket->family, &row->local);
    set_name(fd, NR_getpeername, socket->family, &row->remote);
    if (socket->type != PS_STREAM && CALL(NR_ioctl, fd, LINUX_FIONREAD, &waiting) == 0)
        row->receive_queue = (uint32_t)waiting;
    return 0;
}

static int name_owners(ps_engine *self)
{
    for (int fd = 0; fd < (int)self->room; fd++) {
        struct statx about;
        if (!self->sockets[fd].open)
            continue;
        long result = CALL(NR_statx, fd, "", AT_EMPTY_PATH, STATX_INO, &about);
        if (result < 0)
            return (int)result;
        uint32_t inode = (uint32_t)about.stx_ino;
        if (find(self, inode) == NULL)
            result = describe_other(self, fd, inode);
        if (result < 0)
            return (int)result;
        struct connection *own = find(self, inode);
        own->fd = fd;
        own->row.handle = handle_of(self, fd);
    }
    return 0;
}

/* Sockets in the order they were opened, then by port; the kernel lists them by hash. */
static int compare(const void *one, const void *other)
{
    const struct connection *a = one, *b = other;
    if ((a->fd < 0) != (b->fd < 0))
        return a->fd < 0 ? 1 : -1;
    if (a->fd != b->fd)
        return a->fd < b->fd ? -1 : 1;
    if (a->row.local.port != b->row.local.port)
        return a->row.local.port < b->row.local.port ? -1 : 1;
    return (a->row.remote.port > b->row.remote.port) - (a->row.remote.port < b->row.remote.port);
}

/* A listing's first entry has all of them read: they are a snapshot. */
int engine_connection_at(ps_engine *self, size_t position, struct ps_connection *out)
{
    struct connections *all = &self->connections;
    if (position == 0) {
        forget(self);
        int result = take_in_all(self);
        if (result == 0)
            result = name_owners(self);
        if (result < 0) {
            forget(self);
            return result;
        }
        if (all->count > 0)
            qsort(all->rows, all->count, sizeof *all->rows, compare);
    }
    if (position >= all->count) {
        forget(self);
        return 0;
    }
    *out = all->rows[position].row;
    return 1;
}

/* --- ending those that nobody holds ------------------------------------------------------ */

struct orphans {
    struct inet_diag_req_v2 *found;
    size_t count, room;
};

static int note_orphan(ps_engine *self, const struct nlmsghdr *message, void *user)
{
    const struct inet_diag_msg *m = NLMSG_DATA(message);
    struct orphans *all = user;
    (void)self;
    if (m->idiag_inode != 0 || m->idiag_wqueue == 0)
        return 0;
    if (all->count < all->room)
        all->found[all->count] = (struct inet_diag_req_v2){.sdiag_family = m->idiag_family,
                                                           .sdiag_protocol = IPPROTO_TCP,
                                                           .idiag_states = STATE(m->idiag_state),
                                                           .id = m->id};
    all->count++;
    return 0;
}

static int list_orphans(ps_engine *self, int diag, struct orphans *all)
{
    all->count = 0;
    int result = dump(self, diag, AF_INET, IPPROTO_TCP, CLOSED_BY_OWNER, note_orphan, all);
    return result < 0 ? result
                      : dump(self, diag, AF_INET6, IPPROTO_TCP, CLOSED_BY_OWNER, note_orphan, all);
}

static int end_orphans(ps_engine *self, int diag)
{
    struct orphans all = {0};
    struct request r;
    int result = list_orphans(self, diag, &all);
    if (result < 0 || all.count == 0)
        return result;
    void *found;
    all.room = all.count;
    result = self->host.memory_allocate(self->host.user, all.room * sizeof *all.found, &found);
    if (result < 0)
        return result;
    all.found = found;
    result = list_orphans(self, diag, &all);
    for (size_t i = 0; result == 0 && i < all.room; i++) {
        begin(&r, LINUX_SOCK_DESTROY, 0, &all.found[i], sizeof all.found[i]);
        int gone = carry_out_by(self, diag, &r);
        result = gone == -ENOENT ? 0 : gone; /* over in the meantime */
    }
    self->host.memory_free(self->host.user, found);
    return result;
}

int connections_end_orphans(ps_engine *self)
{
    int diag = open_diag();
    if (diag < 0)
        return diag;
    int result = end_orphans(self, diag);
    CALL(NR_close, diag);
    return result;
}
