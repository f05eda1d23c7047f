/*
 * The segments in flight of a connection with SACK, as a search tree. lwIP's configuration includes
 * this, for lwIP's own structs hold it: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_FLIGHT_H
#define PYSTACK_LWIP_TCP_FLIGHT_H

#include <stdint.h>

struct tcp_pcb;
struct tcp_seg;

/* What is known of a segment. */
enum {
    SEGMENT_SENT = 1,
    SEGMENT_RETRANSMITTED = 2,
    SEGMENT_SACKED = 4,
    SEGMENT_LOST = 8,
    SEGMENT_IN_FLIGHT = 16, /* is in the tree */
};

/* A segment's place in the tree, and what is below it, itself included. */
struct tcp_flight_node {
    struct tcp_seg *parent, *left, *right;
    uint32_t priority;
    uint32_t oldest_us; /* of those that the peer may yet get: when the first was sent */
    uint8_t below;
};

/* A segment has joined pcb->unacked. */
void tcp_flight_add(struct tcp_pcb *pcb, struct tcp_seg *segment);
void tcp_flight_remove(struct tcp_pcb *pcb, struct tcp_seg *segment);
/* Its marks, or the time when it was sent, are others now. */
void tcp_flight_changed(struct tcp_seg *segment);
/* All have left pcb->unacked for the head of pcb->unsent. */
void tcp_flight_forget(struct tcp_pcb *pcb);

/* NULL: there is none. The first in the order of their numbers that is marked lost; */
struct tcp_seg *tcp_flight_first_lost(const struct tcp_pcb *pcb);
/* the one sent first, of those neither lost nor SACKed; */
struct tcp_seg *tcp_flight_oldest(const struct tcp_pcb *pcb);
/* the first that ends after a number and is not SACKed. */
struct tcp_seg *tcp_flight_open_after(const struct tcp_pcb *pcb, uint32_t number);

#endif
