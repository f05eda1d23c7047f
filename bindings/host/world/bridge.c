/*
 * A learning switch in a World, among ends of links: a frame to an address that was seen behind a
 * port goes there, any other goes to all ports but its own (IEEE 802.1D 7.7, 7.8). It takes no time
 * itself; that is the links'.
 */
#include <errno.h>
#include <stdlib.h>

#include "nic/mac_table.h"
#include "nic/nic.h"
#include "world/store.h"
#include "world/world.h"

enum { HEADER = 14 }; /* Ethernet's */
enum { BATCH = 64 };

struct port {
    ps_bridge *bridge;
    ps_nic *nic;
    struct port *next;       /* of all */
    struct port *next_ready; /* of those that frames have come to */
    bool is_ready;
    struct port *next_outside; /* of those whose frames may come without their waking us */
};

struct ps_bridge {
    pthread_mutex_t lock; /* the list of those that are ready */
    struct world_member *member;
    struct port *ports, *last_port, *ready_first, *ready_last, *outside;
    struct {
        struct ps_bridge_counts counts;
        struct mac_table table;
    } known; /* a part of the World's moments */
    uint8_t frame[PS_FRAME_SIZE];
};

static void wake(void *argument)
{
    struct port *port = argument;
    ps_bridge *bridge = port->bridge;
    pthread_mutex_lock(&bridge->lock);
    if (!port->is_ready) {
        port->is_ready = true;
        port->next_ready = NULL;
        *(bridge->ready_last != NULL ? &bridge->ready_last->next_ready : &bridge->ready_first) =
            port;
        bridge->ready_last = port;
    }
    pthread_mutex_unlock(&bridge->lock);
    world_ready(bridge->member);
}

static struct port *take_ready(ps_bridge *bridge)
{
    pthread_mutex_lock(&bridge->lock);
    struct port *port = bridge->ready_first;
    if (port != NULL) {
        bridge->ready_first = port->next_ready;
        if (bridge->ready_first == NULL)
            bridge->ready_last = NULL;
        port->is_ready = false;
    }
    pthread_mutex_unlock(&bridge->lock);
    return port;
}

/* A frame that is too long for a link has no way through, and nobody is told (IEEE 802.1D 6.3.8).
 */
static void pass(ps_bridge *bridge, const struct port *port, const struct ps_piece *frame,
                 uint64_t now_us)
{
    if (frame->size > port->nic->mtu + HEADER)
        bridge->known.counts.oversized++;
    else
        nic_transmit(port->nic, frame, 1, frame->size, now_us);
}

static void send(ps_bridge *bridge, struct port *from, size_t size, uint64_t now_us)
{
    const struct ps_piece piece = {bridge->frame, size};
    if (size < HEADER)
        return;
    mac_table_learn(&bridge->known.table, bridge->frame + 6, from, now_us);
    struct port *known = mac_table_find(&bridge->known.table, bridge->frame, now_us);
    if (known != NULL) {
        bridge->known.counts.forwarded++;
        if (known != from)
            pass(bridge, known, &piece, now_us);
        return;
    }
    bridge->known.counts.flooded++;
    for (struct port *port = bridge->ports; port != NULL; port = port->next)
        if (port != from)
            pass(bridge, port, &piece, now_us);
}

static bool take_one(ps_bridge *bridge, struct port *port, uint64_t now_us)
{
    ssize_t size = nic_receive(port->nic, bridge->frame, sizeof bridge->frame, now_us);
    if (size > 0)
        send(bridge, port, (size_t)size, now_us);
    else if (size < 0 && size != -EAGAIN)
        world_unwatch(bridge->member, port->nic); /* the wire is gone */
    return size > 0;
}

/* A NIC may have frames at a moment, as one that delays them. */
static uint64_t next_due(const ps_bridge *bridge)
{
    uint64_t due_us = NOT_DUE;
    for (struct port *port = bridge->outside; port != NULL; port = port->next_outside) {
        uint64_t wanted_us = nic_deadline(port->nic);
        if (wanted_us < due_us)
            due_us = wanted_us;
    }
    return due_us;
}

static void move(void *argument)
{
    ps_bridge *bridge = argument;
    uint64_t now_us = world_now_us(bridge->member->world);
    struct port *port;
    while ((port = take_ready(bridge)) != NULL)
        while (take_one(bridge, port, now_us)) {}
    /* From outside there may be no end of them: others' turn comes in between. */
    bool more = false;
    for (port = bridge->outside; port != NULL; port = port->next_outside) {
        int count = 0;
        while (count < BATCH && take_one(bridge, port, now_us))
            count++;
        more = more || count == BATCH;
    }
    if (more)
        world_ready(bridge->member);
    if (bridge->outside != NULL)
        world_due(bridge->member, next_due(bridge));
}

int ps_bridge_create(ps_world *world, ps_bridge **out)
{
    ps_bridge *bridge = calloc(1, sizeof *bridge);
    if (bridge == NULL)
        return -ENOMEM;
    bridge->member = world_enlist(world, move, NULL, bridge);
    if (bridge->member == NULL) {
        free(bridge);
        return -ENOMEM;
    }
    int result = world_keep(world, &bridge->known, sizeof bridge->known);
    if (result < 0) {
        world_dismiss(bridge->member);
        free(bridge);
        return result;
    }
    pthread_mutex_init(&bridge->lock, NULL);
    *out = bridge;
    return 0;
}

int ps_bridge_plug(ps_bridge *bridge, ps_nic *nic)
{
    struct port *port = calloc(1, sizeof *port);
    if (port == NULL)
        return -ENOMEM;
    if (atomic_exchange(&nic->attached, true)) {
        free(port);
        return -EBUSY;
    }
    int result = world_watch(bridge->member, nic);
    if (result < 0) {
        atomic_store(&nic->attached, false);
        free(port);
        return result;
    }
    port->bridge = bridge;
    if (nic_is_outside(nic)) {
        port->next_outside = bridge->outside;
        bridge->outside = port;
    }
    port->nic = nic_hold(nic);
    *(bridge->last_port != NULL ? &bridge->last_port->next : &bridge->ports) = port;
    bridge->last_port = port;
    nic_watch(nic, wake, port);
    return 0;
}

void ps_bridge_counts(ps_bridge *bridge, struct ps_bridge_counts *out)
{
    *out = bridge->known.counts;
}

void ps_bridge_release(ps_bridge *bridge)
{
    while (bridge->ports != NULL) {
        struct port *port = bridge->ports;
        bridge->ports = port->next;
        world_unwatch(bridge->member, port->nic);
        nic_leave(port->nic);
        atomic_store(&port->nic->attached, false);
        nic_release(port->nic);
        free(port);
    }
    world_unkeep(bridge->member->world, &bridge->known);
    world_dismiss(bridge->member);
    pthread_mutex_destroy(&bridge->lock);
    free(bridge);
}
