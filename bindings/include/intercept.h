/*
 * Flows to other hosts' addresses that an engine takes in their place, and what is asked of it.
 */
#ifndef PYSTACK_INTERCEPT_H
#define PYSTACK_INTERCEPT_H

#include <stdbool.h>

#include "addresses.h"

/* What is taken, and how much of it. Counts and times of 0 are the engine's own choice. */
struct ps_intercept {
    bool tcp, udp, icmp;
    uint32_t most_undecided; /* flows that nobody has decided on; the oldest leave first */
    uint32_t most_open;      /* sockets of accepted flows; while there are so many nothing is new */
    uint32_t decide_ms;      /* then an undecided flow is dropped */
};

/* A flow that waits for a decision. */
struct ps_intercepted {
    uint64_t id;
    struct ps_address source, destination; /* as its first packet has them; ICMP: no ports */
    uint32_t interface;                    /* by which that came */
    uint8_t protocol;                      /* IPPROTO_TCP, IPPROTO_UDP, IPPROTO_ICMP or _ICMPV6 */
    uint8_t ttl;                           /* or hop limit */
    uint8_t tos;                           /* or traffic class */
    uint16_t identifier, sequence;         /* of an echo request */
    uint32_t size;                         /* bytes of the first datagram, or of the echo's data */
};

struct ps_intercept_figures {
    uint32_t undecided, dropped; /* flows that wait; that are remembered, to stay silent */
    uint32_t open;               /* sockets of accepted flows */
    uint32_t held_bytes;         /* of packets that wait with their flows */
};

#endif
