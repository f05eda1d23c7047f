/*
 * A NAT between inside links and an outside one: its table, and its packets (IPv4).
 *
 * Addresses and ports are in network byte order everywhere, as they are in packets.
 */
#ifndef PYSTACK_HOST_NAT_H
#define PYSTACK_HOST_NAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/world_api.h"
#include "base/generator.h"

enum { NAT_BUCKETS = 1024, NAT_FRAGMENTS = 64 };

struct nat_end {
    uint32_t address;
    uint16_t port; /* or the identifier of ICMP's queries */
};

/* What a mapping is used for: one remote endpoint, which makes it live. */
struct nat_session {
    struct nat_session *next;
    struct nat_end remote;
    uint64_t until_us;
    bool sent, received, is_over; /* of TCP */
    bool sent_fin, received_fin;
};

struct nat_mapping {
    struct nat_mapping *next_inside, *next_outside; /* in their buckets */
    uint8_t protocol;
    bool is_fixed; /* a forwarded port */
    uint16_t outside_port;
    struct nat_end inside;
    struct nat_end remote; /* 0, but for a symmetric NAT's */
    struct nat_session *sessions;
};

/* What became of a packet's first fragment. */
struct first_fragment {
    uint32_t source, destination, to; /* as it came; the translated one of the two */
    uint16_t identification;
    uint8_t protocol;
    uint64_t until_us;
};

struct nat_table {
    ps_world *world;
    struct ps_nat_settings settings;
    struct generator generator;
    uint32_t address; /* outside; 0: not known yet */
    struct nat_mapping *by_inside[NAT_BUCKETS], *by_outside[NAT_BUCKETS];
    uint32_t sessions, mappings;
    uint64_t sweep_us; /* when all that is old is looked for */
    struct ps_nat_counts counts;
    struct first_fragment fragments[NAT_FRAGMENTS];
    uint32_t next_fragment;
};

/* --- nat_table.c --- */
void nat_table_clear(struct nat_table *table, bool with_fixed);
/* The mapping of what an inside endpoint sends to a remote one, made if there is none. NULL: there
 * is no room, which is counted. */
struct nat_mapping *nat_map_out(struct nat_table *table, uint8_t protocol, struct nat_end inside,
                                struct nat_end remote, uint64_t now_us);
/* The same without making any. */
struct nat_mapping *nat_find_inside(struct nat_table *table, uint8_t protocol,
                                    struct nat_end inside, struct nat_end remote, uint64_t now_us);
struct nat_mapping *nat_find_outside(struct nat_table *table, uint8_t protocol, uint16_t port,
                                     uint64_t now_us);
/* Whether the kind of NAT lets a remote endpoint in. */
bool nat_lets_in(const struct nat_table *table, const struct nat_mapping *mapping,
                 struct nat_end remote);
/* A packet of a mapping has passed, with the flags of TCP: its session lives on. false: there is no
 * room for a new one. */
bool nat_note(struct nat_table *table, struct nat_mapping *mapping, struct nat_end remote,
              bool is_outgoing, uint8_t flags, uint64_t now_us);
/* -EADDRINUSE; -ENOMEM. */
int nat_forward(struct nat_table *table, uint8_t protocol, uint16_t outside_port,
                struct nat_end inside, uint64_t now_us);

/* Those that live, in no order: how many, of which `room` at most are written. */
size_t nat_list(struct nat_table *table, struct ps_nat_mapping *out, size_t room, uint64_t now_us);

/* --- nat_packet.c --- */
enum { NAT_ICMP = 1, NAT_TCP = 6, NAT_UDP = 17 };
enum nat_sort {
    NAT_OTHER,     /* nothing that is translated */
    NAT_TRANSPORT, /* TCP or UDP */
    NAT_QUERY,     /* ICMP echo, and its answer: NAT_ANSWER */
    NAT_ANSWER,    /*  */
    NAT_ERROR,     /* ICMP, about `quoted` */
    NAT_FRAGMENT,  /* but for the first one */
    NAT_MALFORMED
};
struct nat_packet {
    enum nat_sort sort;
    uint8_t protocol, flags; /* of TCP */
    bool has_more;           /* fragments */
    uint8_t *ip, *data;      /* behind the header */
    size_t size, data_size;
};
/* An IPv4 packet of `size` bytes or, if it is one that an error quotes, perhaps a part of one. */
struct nat_packet nat_parse(uint8_t *ip, size_t size, bool is_quoted);
/* What an ICMP error is about. */
struct nat_packet nat_quoted(const struct nat_packet *error);
struct nat_end nat_source(const struct nat_packet *packet);
struct nat_end nat_destination(const struct nat_packet *packet);
void nat_set_source(struct nat_packet *packet, struct nat_end end);
void nat_set_destination(struct nat_packet *packet, struct nat_end end);
/* RFC 5508, requirement 3: one with a wrong checksum isn't translated. */
bool nat_error_is_sound(const struct nat_packet *error);
void nat_seal_error(struct nat_packet *error);
/* One hop less; false: it has none left. */
bool nat_take_hop(struct nat_packet *packet);

/* --- nat_translate.c --- */
/* false: the packet goes no further. */
bool nat_translate_out(struct nat_table *table, struct nat_packet *packet, uint64_t now_us);
/* What isn't translated is the Stack's own. */
bool nat_translate_in(struct nat_table *table, struct nat_packet *packet, uint64_t now_us);
/* Of what inside hosts send: it goes on to the Stack; it is for another host inside, and changed
 * accordingly; or its way ends here. */
enum nat_turn { NAT_GOES_ON, NAT_TURNED, NAT_ENDS };
enum nat_turn nat_turn_around(struct nat_table *table, struct nat_packet *packet, uint64_t now_us);

#endif
