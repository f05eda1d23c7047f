/*
 * See arp_queue.h.
 */
#include "ip/arp_queue.h"

#include "base/memory.h"

/* What a packet costs beyond its bytes: pbufs, and the allocator's part. */
#define OVERHEAD 256

/* How many full queues may there be, and how many of them whose packets no program sent. */
#define QUEUES 16
#define QUEUES_OF_OTHERS 8

struct waiting_packet {
    struct waiting_packet *next;
    struct pbuf *packet;
};

static uint64_t all_bytes;

static uint32_t cost(const struct pbuf *packet)
{
    return packet->tot_len + OVERHEAD;
}

/* The packet itself if its bytes won't change, else a copy. */
static struct pbuf *hold(struct pbuf *packet)
{
    for (const struct pbuf *part = packet; part != NULL; part = part->next)
        if (PBUF_NEEDS_COPY(part))
            return pbuf_clone(PBUF_LINK, PBUF_RAM, packet);
    pbuf_ref(packet);
    return packet;
}

err_t waiting_add(struct waiting *queue, struct pbuf *packet, bool ours, uint32_t most_bytes)
{
    uint32_t size = cost(packet);
    if (size > most_bytes)
        return ERR_MEM;
    while (queue->bytes + size > most_bytes)
        pbuf_free(waiting_take(queue));
    if (all_bytes + size > (uint64_t)most_bytes * (ours ? QUEUES : QUEUES_OF_OTHERS))
        return ERR_MEM;
    struct waiting_packet *entry = port_allocate(sizeof *entry);
    if (entry == NULL)
        return ERR_MEM;
    entry->packet = hold(packet);
    if (entry->packet == NULL) {
        port_free(entry);
        return ERR_MEM;
    }
    if (queue->first == NULL)
        queue->first = entry;
    else
        queue->last->next = entry;
    queue->last = entry;
    queue->bytes += size;
    all_bytes += size;
    return ERR_OK;
}

struct pbuf *waiting_take(struct waiting *queue)
{
    struct waiting_packet *entry = queue->first;
    if (entry == NULL)
        return NULL;
    struct pbuf *packet = entry->packet;
    queue->first = entry->next;
    queue->bytes -= cost(packet);
    all_bytes -= cost(packet);
    port_free(entry);
    return packet;
}

void waiting_drop(struct waiting *queue)
{
    for (struct pbuf *packet; (packet = waiting_take(queue)) != NULL;)
        pbuf_free(packet);
}

uint64_t waiting_bytes(void)
{
    return all_bytes;
}
