/*
 * Datagrams whose fragments are still coming in, as both IP families keep them (reassembly.c).
 */
#ifndef PYSTACK_LWIP_REASSEMBLY_H
#define PYSTACK_LWIP_REASSEMBLY_H

#include "engine.h"
#include "lwip/pbuf.h"

#define REASSEMBLY_LONGEST 0xffffu /* octets of a datagram, its headers included */
#define REASSEMBLY_KEY_WORDS 5
#define REASSEMBLY_BUCKETS 1024 /* a power of two */

struct datagram;

/* One family's datagrams. */
struct reassembly {
    const int64_t *limit_bytes, *limit_fragments, *time_s; /* tunables */
    /* Says that a datagram's time is up; it is gone afterwards. */
    void (*timed_out)(const struct datagram *datagram);
    struct datagram *buckets[REASSEMBLY_BUCKETS];
    struct datagram *used_last, *used_first; /* in the order in which fragments came */
    struct datagram *born_last, *born_first;
    size_t bytes;
    uint32_t fragments;
};

/* One fragment. */
struct fragment {
    uint64_t key[REASSEMBLY_KEY_WORDS]; /* what all fragments of a datagram have in common */
    const struct pbuf *packet;
    uint16_t data;       /* where its data begin in the packet */
    uint32_t start, end; /* of the datagram's data */
    bool more;           /* others come behind it */
};

enum fragment_result {
    FRAGMENT_TAKEN,
    FRAGMENT_COMPLETES,    /* reassembly_take gets the datagram */
    FRAGMENT_IS_COPY,      /* of one that is here already */
    FRAGMENT_CONTRADICTS,  /* overlaps another, or lies behind the end */
    FRAGMENT_WITHOUT_ROOM, /* no memory; of a datagram that is new nothing is kept */
};

/* Puts a fragment to the others of its datagram. With the first one goes its header: `header_size`
 * octets that the family wants to have back. */
enum fragment_result reassembly_add(struct reassembly *all, const struct fragment *fragment,
                                    const void *header, size_t header_size,
                                    struct datagram **datagram);
/* Frees a datagram, and says nothing. */
void reassembly_drop(struct reassembly *all, struct datagram *datagram);
/* A complete datagram, so much of its first fragment's header in front; what was kept of it is
 * freed. NULL: it is too long, or there is no memory. */
struct pbuf *reassembly_take(struct reassembly *all, struct datagram *datagram, size_t header_size);
/* Ends those that have waited too long; and when there will be one, on timeouts.h's clock. */
void reassembly_expire(struct reassembly *all);
uint64_t reassembly_expires_ms(const struct reassembly *all);
uint64_t ip4_reassembly_work_ms(uint64_t next_ms);
uint64_t ip6_reassembly_work_ms(uint64_t next_ms);
/* Where memory has run out: frees half of what there is, those that have waited longest for their
 * next fragment, and says nothing. */
void reassembly_shed(struct reassembly *all);
void ip4_reassembly_shed(void);
void ip6_reassembly_shed(void);

const void *datagram_header(const struct datagram *datagram, size_t *size);
const uint64_t *datagram_key(const struct datagram *datagram);
/* The first fragment again, at most `most` octets of its data; NULL: never came, or no memory. */
struct pbuf *datagram_first(const struct datagram *datagram, size_t most);

#endif
