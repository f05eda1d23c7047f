/*
 * A learning Ethernet switch: a frame to an address that was seen behind a port goes there,
 * any other goes to all ports but its own (IEEE 802.1D 7.7, 7.8).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/nic_api.h"
#include "nic/frame_queue.h"
#include "nic/mac_table.h"
#include "nic/nic.h"

#define QUEUE_FRAMES 4096
#define QUEUE_BYTES (16u << 20)

struct port;

struct ps_switch {
    pthread_mutex_t lock; /* the ports, the table, and each port's life against the others */
    _Atomic int references;
    uint32_t mtu;
    struct port *ports;
    struct mac_table table;
};

struct port {
    ps_nic nic;
    struct ps_switch *fabric;
    struct port *next;
    struct frame_queue *queue;
};

static int deliver(struct port *port, const struct ps_piece *pieces, size_t count, size_t total)
{
    bool was_empty = false;
    int result = frame_queue_put(port->queue, pieces, count, total, NULL, &was_empty);
    if (was_empty)
        nic_wake(&port->nic);
    return result;
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct port *self = (struct port *)nic;
    struct ps_switch *fabric = self->fabric;
    uint8_t header[12];
    size_t have = 0;
    if (total < sizeof header)
        return -EINVAL;
    for (size_t i = 0; i < count && have < sizeof header; i++) {
        size_t part = pieces[i].size < sizeof header - have ? pieces[i].size : sizeof header - have;
        memcpy(header + have, pieces[i].base, part);
        have += part;
    }
    const uint8_t *to = header, *from = header + 6;
    int result = 0;
    pthread_mutex_lock(&fabric->lock);
    mac_table_learn(&fabric->table, from, self, now_us);
    struct port *known = mac_table_find(&fabric->table, to, now_us);
    if (known != NULL) {
        if (known != self)
            result = deliver(known, pieces, count, total);
    } else {
        /* A port whose queue is full loses its copy; that is no fault of the sender's. */
        for (struct port *port = fabric->ports; port != NULL; port = port->next)
            if (port != self)
                deliver(port, pieces, count, total);
    }
    pthread_mutex_unlock(&fabric->lock);
    return result;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    return frame_queue_take(((struct port *)nic)->queue, frame, room);
}

/* The best of all other ports. */
static enum nic_ear ear(ps_nic *nic, uint64_t *taken)
{
    struct port *self = (struct port *)nic;
    enum nic_ear best = NIC_DEAF;
    pthread_mutex_lock(&self->fabric->lock);
    for (struct port *port = self->fabric->ports; port != NULL; port = port->next) {
        enum nic_ear one = port == self ? NIC_DEAF : nic_ear_of(&port->nic, port->queue, taken);
        best = one > best ? one : best;
    }
    pthread_mutex_unlock(&self->fabric->lock);
    return best;
}

void ps_switch_release(ps_switch *fabric)
{
    if (atomic_fetch_sub(&fabric->references, 1) > 1)
        return;
    pthread_mutex_destroy(&fabric->lock);
    free(fabric);
}

static void destroy(ps_nic *nic)
{
    struct port *self = (struct port *)nic;
    struct ps_switch *fabric = self->fabric;
    pthread_mutex_lock(&fabric->lock);
    struct port **link = &fabric->ports;
    while (*link != self)
        link = &(*link)->next;
    *link = self->next;
    mac_table_forget(&fabric->table, self);
    pthread_mutex_unlock(&fabric->lock);
    ps_switch_release(fabric);
    frame_queue_destroy(self->queue);
    free(self);
}

static const struct ps_nic_kind kind = {
    .name = "switch port",
    .transmit = transmit,
    .receive = receive,
    .ear = ear,
    .destroy = destroy,
};

ps_switch *ps_switch_create(uint32_t mtu, int *error)
{
    struct ps_switch *fabric = calloc(1, sizeof *fabric);
    if (fabric == NULL || mtu < 68 || mtu > PS_MTU_MAXIMUM) {
        *error = fabric == NULL ? ENOMEM : EINVAL;
        free(fabric);
        return NULL;
    }
    pthread_mutex_init(&fabric->lock, NULL);
    atomic_store(&fabric->references, 1);
    fabric->mtu = mtu;
    return fabric;
}

ps_nic *ps_switch_port(ps_switch *fabric, int *error)
{
    struct port *port = calloc(1, sizeof *port);
    struct frame_queue *queue = frame_queue_create(QUEUE_FRAMES, QUEUE_BYTES);
    if (port == NULL || queue == NULL) {
        free(port);
        if (queue != NULL)
            frame_queue_destroy(queue);
        *error = ENOMEM;
        return NULL;
    }
    nic_init(&port->nic, &kind, PS_LAYER_ETHERNET, fabric->mtu);
    port->fabric = fabric;
    port->queue = queue;
    atomic_fetch_add(&fabric->references, 1);
    pthread_mutex_lock(&fabric->lock);
    port->next = fabric->ports;
    fabric->ports = port;
    pthread_mutex_unlock(&fabric->lock);
    return &port->nic;
}
