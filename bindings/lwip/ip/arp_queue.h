/*
 * Packets that wait for a neighbour's hardware address.
 */
#ifndef PYSTACK_LWIP_ARP_QUEUE_H
#define PYSTACK_LWIP_ARP_QUEUE_H

#include "lwip/err.h"
#include "lwip/pbuf.h"

struct waiting_packet;

/* All zero: nothing waits. */
struct waiting {
    struct waiting_packet *first, *last;
    uint32_t bytes;
};

/* Puts a packet behind the others; the oldest ones of the queue make room for it. ERR_MEM: it is
 * too large, there is no memory, or so much waits for other neighbours that those whose packets no
 * program sent (`ours`) have to stand back. */
err_t waiting_add(struct waiting *queue, struct pbuf *packet, bool ours, uint32_t most_bytes);
/* The oldest packet, which is the caller's then; NULL: none. */
struct pbuf *waiting_take(struct waiting *queue);
void waiting_drop(struct waiting *queue);
/* What all queues together cost. */
uint64_t waiting_bytes(void);

#endif
