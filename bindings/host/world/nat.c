/*
 * A NAT: NICs around those of a Stack that forwards.
 *
 * The Stack routes, answers ARP, takes hops off and reports errors; here, between it and the links,
 * packets that leave by the outside get its address as their source, and those that come get the
 * inside endpoint as their destination. What an inside host sends to a port of the outside address
 * turns around at once (RFC 4787, requirement 9), since the Stack would take it for its own.
 *
 * The Stack's own packets are translated, too, each to what it is: so their ports are taken, and
 * what comes for them is let in as for anybody.
 */
#include "world/nat.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/pieces.h"
#include "nic/nic.h"
#include "nic/nic_wrapper.h"
#include "world/store.h"
#include "world/world.h"

enum { ETHERNET_HEADER = 14, NEIGHBOURS = 1024 };

struct side {
    struct nic_wrapper wrapper;
    ps_nat *nat;
    bool is_outside;
    uint8_t mac[6]; /* the Stack's on it, as its packets tell */
};

/* Of what inside hosts send: where the next hop to them is. */
struct neighbour {
    uint32_t address;
    uint8_t mac[6];
    struct side *side;
};

struct ps_nat {
    pthread_mutex_t lock;
    _Atomic int references;
    ps_world *world;
    /* Up to `frame` it is a part of the World's moments. */
    struct nat_table table;
    struct neighbour neighbours[NEIGHBOURS];
    uint8_t frame[PS_FRAME_SIZE];
};

/* --- from inside to inside ----------------------------------------------------------------- */

static struct neighbour *neighbour_of(ps_nat *nat, uint32_t address)
{
    return &nat->neighbours[(address * 2654435761u >> 16) % NEIGHBOURS];
}

static void learn(struct side *side, const uint8_t *frame, const struct nat_packet *packet)
{
    uint32_t address;
    memcpy(&address, packet->ip + 12, sizeof address);
    struct neighbour *entry = neighbour_of(side->nat, address);
    entry->address = address;
    entry->side = side;
    memcpy(entry->mac, frame + 6, sizeof entry->mac);
    if (!(frame[0] & 1))
        memcpy(side->mac, frame, sizeof side->mac);
}

/* Sends a packet that has turned around to the inside host that it is for now. */
static void send_inside(ps_nat *nat, uint8_t *frame, const struct nat_packet *packet,
                        uint64_t now_us)
{
    uint32_t to = nat_destination(packet).address;
    const struct neighbour *next_hop = neighbour_of(nat, to);
    if (next_hop->side == NULL || next_hop->address != to) {
        nat->table.counts.untranslatable++;
        return;
    }
    memcpy(frame, next_hop->mac, 6);
    memcpy(frame + 6, next_hop->side->mac, 6);
    nat->table.counts.hairpinned++;
    const struct ps_piece piece = {frame, (size_t)(packet->ip - frame) + packet->size};
    nic_transmit(next_hop->side->wrapper.inner, &piece, 1, piece.size, now_us);
}

/* --- the NICs ------------------------------------------------------------------------------ */

/* An IPv4 packet of one host's: the others, and what isn't IPv4, pass as they are. */
static bool is_of_interest(const uint8_t *frame, size_t size)
{
    return size > ETHERNET_HEADER && !(frame[0] & 1) && frame[12] == 0x08 && frame[13] == 0x00;
}

/* false: the frame goes no further. */
static bool leaves(struct side *side, uint8_t *frame, size_t size, uint64_t now_us)
{
    if (!side->is_outside || side->nat->table.address == 0 || !is_of_interest(frame, size))
        return true;
    struct nat_packet packet = nat_parse(frame + ETHERNET_HEADER, size - ETHERNET_HEADER, false);
    return nat_translate_out(&side->nat->table, &packet, now_us);
}

static bool comes(struct side *side, uint8_t *frame, size_t size, uint64_t now_us)
{
    ps_nat *nat = side->nat;
    if (nat->table.address == 0 || !is_of_interest(frame, size))
        return true;
    struct nat_packet packet = nat_parse(frame + ETHERNET_HEADER, size - ETHERNET_HEADER, false);
    if (packet.sort == NAT_MALFORMED)
        return true; /* it is the Stack's to say what is wrong with it */
    if (!side->is_outside) {
        learn(side, frame, &packet);
        enum nat_turn turn = nat_turn_around(&nat->table, &packet, now_us);
        if (turn == NAT_TURNED)
            send_inside(nat, frame, &packet, now_us);
        return turn == NAT_GOES_ON;
    }
    return nat_translate_in(&nat->table, &packet, now_us);
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct side *side = (struct side *)nic;
    ps_nat *nat = side->nat;
    if (total > sizeof nat->frame)
        return -EMSGSIZE;
    pthread_mutex_lock(&nat->lock);
    size_t size = pieces_copy(nat->frame, pieces, count);
    int result = 0;
    if (leaves(side, nat->frame, size, now_us)) {
        const struct ps_piece piece = {nat->frame, size};
        result = nic_transmit(side->wrapper.inner, &piece, 1, size, now_us);
    }
    pthread_mutex_unlock(&nat->lock);
    return result;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    struct side *side = (struct side *)nic;
    bool comes_in = false;
    ssize_t size = 0;
    while (!comes_in) {
        size = nic_receive(side->wrapper.inner, frame, room, now_us);
        if (size <= 0)
            break;
        pthread_mutex_lock(&side->nat->lock);
        comes_in = comes(side, frame, (size_t)size, now_us);
        pthread_mutex_unlock(&side->nat->lock);
    }
    return size;
}

static void destroy(ps_nic *nic)
{
    struct side *side = (struct side *)nic;
    ps_nat *nat = side->nat;
    pthread_mutex_lock(&nat->lock);
    for (size_t i = 0; i < NEIGHBOURS; i++)
        if (nat->neighbours[i].side == side)
            nat->neighbours[i].side = NULL;
    pthread_mutex_unlock(&nat->lock);
    ps_nat_release(nat);
    nic_wrapper_free(&side->wrapper);
}

static const struct ps_nic_kind kind = {
    .name = "NAT",
    .transmit = transmit,
    .receive = receive,
    .deadline = nic_wrapper_deadline,
    .descriptor = nic_wrapper_descriptor,
    .set_wake = nic_wrapper_set_wake,
    .ear = nic_wrapper_ear,
    .is_carried_here = nic_wrapper_is_carried_here,
    .forget = nic_wrapper_forget,
    .destroy = destroy,
};

ps_nic *ps_nat_nic(ps_nat *nat, ps_nic *inner, bool is_outside, int *error)
{
    if (inner->layer != PS_LAYER_ETHERNET) {
        *error = EINVAL;
        return NULL;
    }
    struct side *side = nic_wrapper_create(sizeof *side, &kind, inner, error);
    if (side == NULL)
        return NULL;
    side->nat = nat;
    side->is_outside = is_outside;
    atomic_fetch_add(&nat->references, 1);
    return &side->wrapper.nic;
}

/* --- its life ------------------------------------------------------------------------------ */

int ps_nat_create(ps_world *world, const struct ps_nat_settings *settings, uint64_t seed,
                  ps_nat **out)
{
    ps_nat *nat = calloc(1, sizeof *nat);
    if (nat == NULL)
        return -ENOMEM;
    pthread_mutex_init(&nat->lock, NULL);
    atomic_store(&nat->references, 1);
    int result = world_keep(world, &nat->table, offsetof(ps_nat, frame) - offsetof(ps_nat, table));
    if (result < 0) {
        pthread_mutex_destroy(&nat->lock);
        free(nat);
        return result;
    }
    nat->world = nat->table.world = world_hold(world);
    nat->table.settings = *settings;
    generator_seed(&nat->table.generator, seed);
    *out = nat;
    return 0;
}

void ps_nat_release(ps_nat *nat)
{
    if (atomic_fetch_sub(&nat->references, 1) > 1)
        return;
    nat_table_clear(&nat->table, true);
    world_unkeep(nat->world, &nat->table);
    pthread_mutex_destroy(&nat->lock);
    ps_world_release(nat->world);
    free(nat);
}

void ps_nat_set_address(ps_nat *nat, uint32_t address)
{
    pthread_mutex_lock(&nat->lock);
    nat->table.address = address;
    pthread_mutex_unlock(&nat->lock);
}

void ps_nat_reset(ps_nat *nat)
{
    pthread_mutex_lock(&nat->lock);
    nat_table_clear(&nat->table, false);
    pthread_mutex_unlock(&nat->lock);
}

int ps_nat_forward(ps_nat *nat, uint8_t protocol, uint16_t outside_port, uint32_t inside_address,
                   uint16_t inside_port)
{
    pthread_mutex_lock(&nat->lock);
    int result =
        nat_forward(&nat->table, protocol, outside_port,
                    (struct nat_end){inside_address, inside_port}, world_now_us(nat->world));
    pthread_mutex_unlock(&nat->lock);
    return result;
}

void ps_nat_counts(ps_nat *nat, struct ps_nat_counts *out)
{
    pthread_mutex_lock(&nat->lock);
    *out = nat->table.counts;
    pthread_mutex_unlock(&nat->lock);
}

size_t ps_nat_mappings(ps_nat *nat, struct ps_nat_mapping *out, size_t room)
{
    pthread_mutex_lock(&nat->lock);
    size_t count = nat_list(&nat->table, out, room, world_now_us(nat->world));
    pthread_mutex_unlock(&nat->lock);
    return count;
}
