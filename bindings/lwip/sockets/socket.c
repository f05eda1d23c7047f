/*
 * The table of handles, and what every kind of socket does alike.
 *
 * A handle is a slot's number and the slot's generation; closing a socket raises the
 * generation, so that a stale handle never finds the slot's next tenant.
 */
#include "sockets/socket.h"

#include "base/memory.h"
#include "base/port.h"
#include "lwip/priv/tcp_priv.h"
#include "sockets/error_queue.h"

#define FIRST_SLOTS 64

struct slot {
    struct port_socket *socket; /* NULL: free */
    uint32_t generation;
    uint32_t next_free;
};

static struct slot *slots;
static uint32_t slot_count, first_free; /* first_free == slot_count: none */
static uint32_t intercepted;

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
    socket->options.linger_s = -1;
    socket->options.receive_low_water = 1;
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
    if (socket->is_intercepted)
        intercepted--;
    port_free(socket);
}

void socket_intercepted(struct port_socket *socket)
{
    socket->is_intercepted = true;
    intercepted++;
}

uint32_t socket_intercepted_count(void)
{
    return intercepted;
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
    intercepted = 0;
}

static bool listens(struct port_socket *socket)
{
    int64_t value = 0;
    return socket->kind->option_get(socket, PS_OPT_LISTENING, &value) == 0 && value != 0;
}

static void close_all(bool listeners)
{
    size_t position = 0;
    struct port_socket *socket;
    while ((socket = socket_next(&position)) != NULL) {
        if (listeners && !listens(socket))
            continue;
        /* Nobody will be there to answer any more: a reset, no orderly end. */
        socket->options.linger_s = 0;
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
