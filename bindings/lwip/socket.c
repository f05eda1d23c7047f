/*
 * The table of handles, and what every kind of socket does alike.
 *
 * A handle is a slot's number and the slot's generation; closing a socket raises the
 * generation, so that a stale handle never finds the slot's next tenant.
 */
#include "lwip/priv/tcp_priv.h"
#include "port.h"

#define FIRST_SLOTS 64

struct slot {
    struct port_socket *socket; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

static struct slot *slots;
static uint32_t slot_count, first_free; /* first_free == slot_count: none */

static int grow(void)
{
    uint32_t count = slot_count == 0 ? FIRST_SLOTS : slot_count * 2;
    struct slot *grown = port_allocate(count * sizeof *grown);
    if (grown == NULL)
        return -ENOMEM;
    if (slot_count != 0)
        memcpy(grown, slots, slot_count * sizeof *grown);
    for (uint32_t i = slot_count; i < count; i++)
        grown[i].next_free = i + 1;
    port_free(slots);
    slots = grown;
    slot_count = count;
    return 0;
}

struct port_socket *socket_create(const struct socket_kind *kind, size_t size, uint8_t family,
                                  uint8_t type, uint16_t protocol)
{
    if (first_free == slot_count && grow() < 0)
        return NULL;
    struct port_socket *socket = port_allocate(size);
    if (socket == NULL)
        return NULL;
    struct slot *slot = &slots[first_free];
    socket->kind = kind;
    socket->handle = (int64_t)slot->generation << 32 | first_free;
    socket->family = family;
    socket->type = type;
    socket->protocol = protocol;
    socket->linger_s = -1;
    socket->receive_low_water = 1;
    socket->discovery.mode4 = socket->discovery.mode6 = PMTU_WANT;
    first_free = slot->next_free;
    slot->socket = socket;
    return socket;
}

void socket_discard(struct port_socket *socket)
{
    uint32_t number = (uint32_t)socket->handle;
    struct slot *slot = &slots[number];
    slot->socket = NULL;
    slot->generation = (slot->generation + 1) & INT32_MAX;
    slot->next_free = first_free;
    first_free = number;
    errors_drop(socket);
    port_free(socket);
}

struct port_socket *socket_find(int64_t handle)
{
    uint32_t number = (uint32_t)handle;
    if (handle < 0 || number >= slot_count || slots[number].socket == NULL ||
        slots[number].socket->handle != handle)
        return NULL;
    return slots[number].socket;
}

struct port_socket *socket_next(size_t *position)
{
    for (; *position < slot_count; ++*position)
        if (slots[*position].socket != NULL)
            return slots[(*position)++].socket;
    return NULL;
}

static void tell(struct port_socket *socket, uint32_t also)
{
    port.hypercalls.event(port.hypercalls.user, PS_EVENT_SOCKET, socket->handle,
                          socket->kind->ready(socket) | also);
}

void socket_event(struct port_socket *socket)
{
    tell(socket, 0);
}

void socket_news(struct port_socket *socket)
{
    tell(socket, PS_READY_NEWS);
}

void socket_fail(struct port_socket *socket, int error)
{
    socket->error = error;
    socket_news(socket);
}

int socket_take_error(struct port_socket *socket)
{
    int error = socket->error;
    socket->error = 0;
    return -error;
}

void socket_init(void)
{
    slots = NULL;
    slot_count = first_free = 0;
}

static bool listens(struct port_socket *socket)
{
    int64_t value = 0;
    return engine_option_get(NULL, socket->handle, PS_OPT_LISTENING, &value) == 0 && value != 0;
}

static void close_all(bool listeners)
{
    size_t position = 0;
    struct port_socket *socket;
    while ((socket = socket_next(&position)) != NULL) {
        if (listeners && !listens(socket))
            continue;
        /* Nobody will be there to answer any more: a reset, no orderly end. */
        socket->linger_s = 0;
        socket->kind->close(socket);
        socket_discard(socket);
    }
}

void socket_close_all(void)
{
    close_all(true); /* first: what waits to be accepted is theirs to close */
    close_all(false);
    port_free(slots);
    socket_init();
}

/* --- pieces --------------------------------------------------------------------------- */

size_t pieces_size(const struct ps_piece *pieces, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    return size;
}

void pieces_from_pbuf(const struct ps_piece *pieces, size_t count, const struct pbuf *p,
                      size_t offset, size_t size)
{
    while (p != NULL && offset >= p->len) {
        offset -= p->len;
        p = p->next;
    }
    for (size_t i = 0; i < count && size > 0; i++) {
        size_t filled = 0;
        while (filled < pieces[i].size && size > 0) {
            size_t part = LWIP_MIN(pieces[i].size - filled, (size_t)p->len - offset);
            part = LWIP_MIN(part, size);
            memcpy(pieces[i].base + filled, (const uint8_t *)p->payload + offset, part);
            filled += part;
            size -= part;
            offset += part;
            if (offset == p->len) {
                p = p->next;
                offset = 0;
            }
        }
    }
}

/* --- the engine's entries --------------------------------------------------------------- */

int64_t engine_socket_open(ps_engine *engine, enum ps_family family, enum ps_type type,
                           int protocol)
{
    (void)engine;
    const struct socket_kind *kind = type == PS_STREAM     ? &tcp_kind
                                     : type == PS_DATAGRAM ? &udp_kind
                                     : type == PS_RAW      ? &raw_kind
                                                           : NULL;
    if (family != PS_INET && family != PS_INET6)
        return -EAFNOSUPPORT;
    if (kind == NULL)
        return -ESOCKTNOSUPPORT;
    if (protocol < 0 || protocol > UINT8_MAX)
        return -EINVAL;
    struct port_socket *socket =
        socket_create(kind, kind->size, (uint8_t)family, (uint8_t)type, (uint16_t)protocol);
    if (socket == NULL)
        return -ENOMEM;
    int result = kind->open(socket);
    if (result < 0) {
        socket_discard(socket);
        return result;
    }
    return socket->handle;
}

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
    if (result == 0 && socket->family == PS_INET6 && socket->v6only && IP_IS_V4(ip))
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
    if (IP_IS_V6(&ip) && ip6_addr_isany(ip_2_ip6(&ip)) && !socket->v6only)
        ip_addr_copy(ip, *IP_ANY_TYPE);
    result = socket->kind->bind(socket, &ip, address->port);
    /* As Linux has it, what is bound to an address of IPv6 is for IPv6 alone from then on. */
    if (result >= 0 && socket->type != PS_RAW && IP_IS_V6(&ip) && !ip_addr_isany(&ip))
        socket->v6only = true;
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
    int result = accept_address(socket, address, &ip);
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
