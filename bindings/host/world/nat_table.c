/*
 * A NAT's mappings and sessions, as RFC 4787, RFC 5382 and RFC 5508 want them.
 *
 * A mapping is an inside endpoint and its port outside; a session is one remote endpoint of it. A
 * mapping lives as long as one of its sessions does. Times-out are looked at when something is
 * looked up, so that an idle NAT needs no event of the World's.
 */
#include "world/nat.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "world/store.h"

#define SWEEP_US (60 * UINT64_C(1000000))
#define WELL_KNOWN_PORTS 1024
enum { FIN = 1, SYN = 2, RST = 4 };

static bool is_end(struct nat_end one, struct nat_end other)
{
    return one.address == other.address && one.port == other.port;
}

static size_t bucket_inside(uint8_t protocol, struct nat_end inside)
{
    uint32_t hash = (inside.address ^ (uint32_t)inside.port << 8 ^ protocol) * 2654435761u;
    return (hash >> 16) % NAT_BUCKETS;
}

static size_t bucket_outside(uint8_t protocol, uint16_t port)
{
    return (ntohs(port) + (uint32_t)protocol * 31u) % NAT_BUCKETS;
}

/* --- their ends ---------------------------------------------------------------------------- */

static void drop_sessions(struct nat_table *table, struct nat_mapping *mapping, uint64_t until_us)
{
    struct nat_session **link = &mapping->sessions;
    while (*link != NULL) {
        struct nat_session *session = *link;
        if (session->until_us > until_us) {
            link = &session->next;
            continue;
        }
        *link = session->next;
        world_free(session);
        table->sessions--;
    }
}

static void remove_mapping(struct nat_table *table, struct nat_mapping *mapping)
{
    struct nat_mapping **link =
        &table->by_inside[bucket_inside(mapping->protocol, mapping->inside)];
    while (*link != mapping)
        link = &(*link)->next_inside;
    *link = mapping->next_inside;
    link = &table->by_outside[bucket_outside(mapping->protocol, mapping->outside_port)];
    while (*link != mapping)
        link = &(*link)->next_outside;
    *link = mapping->next_outside;
    drop_sessions(table, mapping, UINT64_MAX);
    world_free(mapping);
    table->mappings--;
}

static bool lives(struct nat_table *table, struct nat_mapping *mapping, uint64_t now_us)
{
    drop_sessions(table, mapping, now_us);
    return mapping->is_fixed || mapping->sessions != NULL;
}

/* Of all but one, or of all. */
static void sweep(struct nat_table *table, const struct nat_mapping *kept, uint64_t now_us)
{
    for (size_t i = 0; i < NAT_BUCKETS; i++) {
        struct nat_mapping *next;
        for (struct nat_mapping *mapping = table->by_outside[i]; mapping != NULL; mapping = next) {
            next = mapping->next_outside;
            if (mapping != kept && !lives(table, mapping, now_us))
                remove_mapping(table, mapping);
        }
    }
    table->sweep_us = now_us + SWEEP_US;
}

void nat_table_clear(struct nat_table *table, bool with_fixed)
{
    for (size_t i = 0; i < NAT_BUCKETS; i++) {
        struct nat_mapping *next;
        for (struct nat_mapping *mapping = table->by_outside[i]; mapping != NULL; mapping = next) {
            next = mapping->next_outside;
            if (with_fixed || !mapping->is_fixed)
                remove_mapping(table, mapping);
            else
                drop_sessions(table, mapping, UINT64_MAX);
        }
    }
    memset(table->fragments, 0, sizeof table->fragments);
}

/* --- finding ------------------------------------------------------------------------------- */

struct nat_mapping *nat_find_inside(struct nat_table *table, uint8_t protocol,
                                    struct nat_end inside, struct nat_end remote, uint64_t now_us)
{
    bool by_remote = table->settings.kind == PS_NAT_SYMMETRIC;
    struct nat_mapping *mapping = table->by_inside[bucket_inside(protocol, inside)];
    while (mapping != NULL) {
        struct nat_mapping *next = mapping->next_inside;
        if (mapping->protocol == protocol && is_end(mapping->inside, inside) &&
            (!by_remote || mapping->is_fixed || is_end(mapping->remote, remote))) {
            if (lives(table, mapping, now_us))
                return mapping;
            remove_mapping(table, mapping);
        }
        mapping = next;
    }
    return NULL;
}

struct nat_mapping *nat_find_outside(struct nat_table *table, uint8_t protocol, uint16_t port,
                                     uint64_t now_us)
{
    struct nat_mapping *mapping = table->by_outside[bucket_outside(protocol, port)];
    while (mapping != NULL && (mapping->protocol != protocol || mapping->outside_port != port))
        mapping = mapping->next_outside;
    if (mapping == NULL || lives(table, mapping, now_us))
        return mapping;
    remove_mapping(table, mapping);
    return NULL;
}

bool nat_lets_in(const struct nat_table *table, const struct nat_mapping *mapping,
                 struct nat_end remote)
{
    if (table->settings.kind == PS_NAT_FULL_CONE || mapping->is_fixed)
        return true;
    const struct nat_session *session = mapping->sessions;
    for (; session != NULL; session = session->next)
        if (session->remote.address == remote.address &&
            (table->settings.kind == PS_NAT_RESTRICTED || session->remote.port == remote.port))
            return true;
    return false;
}

/* --- making -------------------------------------------------------------------------------- */

/* A free port, the same as inside if it may be; else one of the same range and, for UDP, of the
 * same parity (RFC 4787, requirements 3 and 4). 0: all are taken. */
static uint16_t choose_port(struct nat_table *table, uint8_t protocol, uint16_t inside_port,
                            uint64_t now_us)
{
    uint32_t wanted = ntohs(inside_port);
    if (table->settings.preserves_ports && wanted != 0 &&
        nat_find_outside(table, protocol, inside_port, now_us) == NULL)
        return inside_port;
    bool is_low = wanted < WELL_KNOWN_PORTS && protocol != NAT_ICMP;
    uint32_t first = is_low ? 2 : WELL_KNOWN_PORTS;
    uint32_t count = is_low ? WELL_KNOWN_PORTS - 2 : 65536 - WELL_KNOWN_PORTS;
    uint32_t step = protocol == NAT_UDP ? 2 : 1;
    if (step == 2) {
        first += wanted % 2;
        count /= 2;
    }
    uint32_t place = (uint32_t)(generator_next(&table->generator) % count);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t port = htons((uint16_t)(first + (place + i) % count * step));
        if (nat_find_outside(table, protocol, port, now_us) == NULL)
            return port;
    }
    return 0;
}

static struct nat_mapping *create(struct nat_table *table, uint8_t protocol, struct nat_end inside,
                                  uint16_t port)
{
    struct nat_mapping *mapping = world_allocate(table->world, sizeof *mapping);
    if (mapping == NULL)
        return NULL;
    mapping->protocol = protocol;
    mapping->inside = inside;
    mapping->outside_port = port;
    size_t bucket = bucket_inside(protocol, inside);
    mapping->next_inside = table->by_inside[bucket];
    table->by_inside[bucket] = mapping;
    bucket = bucket_outside(protocol, port);
    mapping->next_outside = table->by_outside[bucket];
    table->by_outside[bucket] = mapping;
    table->mappings++;
    return mapping;
}

static bool has_room(struct nat_table *table, const struct nat_mapping *kept, uint64_t now_us)
{
    if (now_us >= table->sweep_us || table->sessions >= table->settings.most_sessions)
        sweep(table, kept, now_us);
    return table->sessions < table->settings.most_sessions;
}

struct nat_mapping *nat_map_out(struct nat_table *table, uint8_t protocol, struct nat_end inside,
                                struct nat_end remote, uint64_t now_us)
{
    struct nat_mapping *mapping = nat_find_inside(table, protocol, inside, remote, now_us);
    if (mapping != NULL)
        return mapping;
    uint16_t port = 0;
    if (has_room(table, NULL, now_us)) {
        /* The NAT's own sockets have the ports that they have. */
        if (inside.address != table->address)
            port = choose_port(table, protocol, inside.port, now_us);
        else if (nat_find_outside(table, protocol, inside.port, now_us) == NULL)
            port = inside.port;
    }
    if (port != 0)
        mapping = create(table, protocol, inside, port);
    if (mapping == NULL)
        table->counts.refused++;
    else if (table->settings.kind == PS_NAT_SYMMETRIC)
        mapping->remote = remote;
    return mapping;
}

int nat_forward(struct nat_table *table, uint8_t protocol, uint16_t outside_port,
                struct nat_end inside, uint64_t now_us)
{
    if (nat_find_outside(table, protocol, outside_port, now_us) != NULL)
        return -EADDRINUSE;
    struct nat_mapping *mapping = create(table, protocol, inside, outside_port);
    if (mapping == NULL)
        return -ENOMEM;
    mapping->is_fixed = true;
    return 0;
}

/* --- living on ----------------------------------------------------------------------------- */

static uint64_t life_us(const struct nat_table *table, const struct nat_mapping *mapping,
                        const struct nat_session *session)
{
    const struct ps_nat_settings *settings = &table->settings;
    if (mapping->protocol != NAT_TCP)
        return mapping->protocol == NAT_UDP ? settings->udp_us : settings->icmp_us;
    bool is_open = session->sent && session->received && !session->is_over;
    return is_open ? settings->tcp_us : settings->tcp_transitory_us;
}

static void follow_tcp(struct nat_session *session, bool is_outgoing, uint8_t flags)
{
    if ((flags & (SYN | RST)) == SYN && session->is_over) /* a new connection of the same ends */
        session->sent = session->received = session->is_over = session->sent_fin =
            session->received_fin = false;
    *(is_outgoing ? &session->sent : &session->received) = true;
    if (flags & FIN)
        *(is_outgoing ? &session->sent_fin : &session->received_fin) = true;
    if ((flags & RST) || (session->sent_fin && session->received_fin))
        session->is_over = true;
}

bool nat_note(struct nat_table *table, struct nat_mapping *mapping, struct nat_end remote,
              bool is_outgoing, uint8_t flags, uint64_t now_us)
{
    struct nat_session *session = mapping->sessions;
    while (session != NULL && !is_end(session->remote, remote))
        session = session->next;
    if (session == NULL) {
        /* What comes to an open port makes none, but for TCP, which has a state. */
        if (!is_outgoing && mapping->protocol != NAT_TCP)
            return true;
        if (!has_room(table, mapping, now_us) ||
            (session = world_allocate(table->world, sizeof *session)) == NULL) {
            table->counts.refused++;
            return false;
        }
        session->remote = remote;
        session->next = mapping->sessions;
        mapping->sessions = session;
        table->sessions++;
    }
    follow_tcp(session, is_outgoing, flags);
    /* RFC 4787, requirement 6: what comes from outside keeps no mapping of UDP's alive. */
    if (is_outgoing || mapping->protocol == NAT_TCP)
        session->until_us = now_us + life_us(table, mapping, session);
    return true;
}

size_t nat_list(struct nat_table *table, struct ps_nat_mapping *out, size_t room, uint64_t now_us)
{
    size_t count = 0;
    sweep(table, NULL, now_us);
    for (size_t i = 0; i < NAT_BUCKETS; i++) {
        for (struct nat_mapping *each = table->by_outside[i]; each != NULL;
             each = each->next_outside) {
            if (count++ >= room)
                continue;
            uint32_t sessions = 0;
            for (struct nat_session *one = each->sessions; one != NULL; one = one->next)
                sessions++;
            out[count - 1] = (struct ps_nat_mapping){
                .protocol = each->protocol,
                .is_fixed = each->is_fixed,
                .inside_port = each->inside.port,
                .outside_port = each->outside_port,
                .remote_port = each->remote.port,
                .inside_address = each->inside.address,
                .remote_address = each->remote.address,
                .sessions = sessions,
            };
        }
    }
    return count;
}
