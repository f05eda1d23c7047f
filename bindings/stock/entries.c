/* What lwIP's callbacks write down about the agent's sockets, for the requests that come later. */
#include "sockets.h"

#include <string.h>

struct entry entries[SOCKETS_MAXIMUM];

int allocate_entry(enum kind kind, bool v6)
{
    for (int i = 0; i < SOCKETS_MAXIMUM; i++)
        if (entries[i].kind == FREE) {
            memset(&entries[i], 0, sizeof entries[i]);
            entries[i].kind = kind;
            entries[i].v6 = v6;
            return i;
        }
    return -1;
}

static err_t stream_received(void *argument, struct tcp_pcb *pcb, struct pbuf *packet, err_t error)
{
    struct entry *entry = argument;
    (void)pcb;
    (void)error;
    if (packet == NULL)
        entry->ended = true;
    else if (entry->stream == NULL)
        entry->stream = packet;
    else
        pbuf_cat(entry->stream, packet);
    return ERR_OK;
}

static void stream_failed(void *argument, err_t error)
{
    struct entry *entry = argument;
    if (entry == NULL)
        return;
    entry->pcb.any = NULL;
    entry->error = error == ERR_RST ? (entry->connecting ? "ECONNREFUSED" : "ECONNRESET")
                                    : (entry->connecting ? "ETIMEDOUT" : "ECONNABORTED");
    entry->connecting = entry->connected = false;
}

err_t stream_connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct entry *entry = argument;
    (void)pcb;
    (void)error;
    entry->connecting = false;
    entry->connected = true;
    return ERR_OK;
}

void attach_stream(struct entry *entry, struct tcp_pcb *pcb)
{
    entry->pcb.tcp = pcb;
    tcp_arg(pcb, entry);
    tcp_recv(pcb, stream_received);
    tcp_err(pcb, stream_failed);
}

static err_t stream_accepted(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct entry *listener = argument;
    int number;
    if (error != ERR_OK || pcb == NULL)
        return ERR_VAL;
    number = listener->count < QUEUE_MAXIMUM ? allocate_entry(STREAM, listener->v6) : -1;
    if (number < 0)
        return ERR_MEM;
    entries[number].connected = true;
    attach_stream(&entries[number], pcb);
    listener->waiting[listener->count++] = number;
    return ERR_OK;
}

static void enqueue(struct entry *entry, struct pbuf *packet, const ip_addr_t *from, u16_t port)
{
    if (entry->count == QUEUE_MAXIMUM) {
        pbuf_free(packet);
        return;
    }
    struct datagram *place = &entry->queue[entry->count++];
    place->packet = packet;
    ip_addr_copy(place->from, *from);
    place->port = port;
}

static void datagram_received(void *argument, struct udp_pcb *pcb, struct pbuf *packet,
                              const ip_addr_t *from, u16_t port)
{
    (void)pcb;
    enqueue(argument, packet, from, port);
}

static u8_t raw_received(void *argument, struct raw_pcb *pcb, struct pbuf *packet,
                         const ip_addr_t *from)
{
    struct pbuf *copy = pbuf_clone(PBUF_RAW, PBUF_RAM, packet);
    (void)pcb;
    if (copy != NULL)
        enqueue(argument, copy, from, 0);
    return 0; /* a raw socket sees a packet, and does not take it */
}

void attach_listener(struct entry *entry, struct tcp_pcb *pcb)
{
    entry->pcb.tcp = pcb;
    tcp_arg(pcb, entry);
    tcp_accept(pcb, stream_accepted);
}

void attach_datagrams(struct entry *entry, struct udp_pcb *pcb)
{
    entry->pcb.udp = pcb;
    udp_recv(pcb, datagram_received, entry);
}

void attach_raw(struct entry *entry, struct raw_pcb *pcb)
{
    entry->pcb.raw = pcb;
    raw_recv(pcb, raw_received, entry);
}
