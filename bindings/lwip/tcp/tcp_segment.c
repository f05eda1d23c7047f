/*
 * Segments that are longer than the path takes: segmentation offload (TSO; GSO in Linux).
 *
 * Where the wire's far end cuts TCP segments, one of 60 KiB costs about as much as one of 1448
 * bytes. So tcp_write makes long ones for connections with SACK, a whole number of pieces each, and
 * whatever deals with what the peer sees, which is the pieces, cuts them again: the windows, an
 * acknowledgement of a part, selective acknowledgements, retransmissions.
 *
 * Cutting copies the shorter part. The longer one keeps its buffer; if it is the second, its header
 * moves over what went before it.
 */
#include "tcp/tcp_segment.h"

#include <errno.h>

#include "link/interface.h"
#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_scoreboard.h"

/* With the headers no more than an IP packet or a pbuf can hold. */
#define LONGEST 65000u
#define HEADER_ALIGNMENT 4 /* of a TCP header, whose options are words; it moves on a cut */

/* What fits a packet of the path, without options. */
static uint16_t piece_of(const struct tcp_pcb *pcb, uint8_t flags)
{
    uint16_t options = LWIP_TCP_OPT_LENGTH(flags);
    return pcb->mss > options ? pcb->mss - options : 1;
}

static bool cuts(const struct tcp_pcb *pcb, struct netif *netif)
{
    struct port_interface *interface = netif != NULL ? interface_of(netif) : NULL;
    uint32_t how = IP_IS_V6(&pcb->remote_ip) ? PS_OFFLOAD_TCP6 : PS_OFFLOAD_TCP4;
    return interface != NULL && (interface_owner(interface)->offloads & how) != 0;
}

uint16_t tcp_segment_longest(struct tcp_pcb *pcb)
{
    uint16_t piece = piece_of(pcb, pcb->flags & TF_TIMESTAMP ? TF_SEG_OPTS_TS : 0);
    uint32_t most = LWIP_MIN(LWIP_MIN(pcb->cwnd, pcb->snd_wnd_max) / 2, LONGEST) / piece * piece;
    bool may = most > piece && piece % HEADER_ALIGNMENT == 0 && tcp_recovers(pcb) &&
               cuts(pcb, tcp_path_route(pcb));
    return may ? (uint16_t)most : piece;
}

uint16_t hook_tcp_write_size(struct tcp_pcb *pcb, uint16_t usual, uint16_t length)
{
    if (length <= usual || usual != pcb->mss)
        return usual;
    uint8_t options = LWIP_TCP_OPT_LENGTH(pcb->flags & TF_TIMESTAMP ? TF_SEG_OPTS_TS : 0);
    return (uint16_t)LWIP_MAX(usual, tcp_segment_longest(pcb) + options);
}

void tcp_segment_mark(const struct tcp_pcb *pcb, struct tcp_seg *segment, struct netif *netif)
{
    uint16_t piece = piece_of(pcb, segment->flags);
    segment->p->segment_size = segment->len > piece && cuts(pcb, netif) ? piece : 0;
}

uint32_t tcp_segment_pieces(const struct tcp_seg *segment)
{
    uint32_t piece = segment->p->segment_size;
    return piece == 0 ? 1 : (segment->len + piece - 1) / piece;
}

uint32_t tcp_segment_slack(const struct tcp_pcb *pcb)
{
    if (pcb->unsent == NULL || pcb->unsent->len <= pcb->mss)
        return pcb->mss;
    return LWIP_MAX(pcb->mss, LWIP_MIN(LONGEST, pcb->cwnd / 4));
}

/* --- cutting -------------------------------------------------------------------------------- */

static size_t header_size(const struct tcp_seg *segment)
{
    return TCP_HLEN + LWIP_TCP_OPT_LENGTH(segment->flags);
}

/* Whatever lower layers have put in front goes. */
static void bare(struct tcp_seg *segment)
{
    struct pbuf *p = segment->p;
    uint16_t more = (uint16_t)((uint8_t *)segment->tcphdr - (uint8_t *)p->payload);
    pbuf_remove_header(p, more);
}

/* Drops a segment's first bytes: its header moves up to what is left. Nobody else may look at its
 * buffers. */
static void drop_head(struct tcp_pcb *pcb, struct tcp_seg *segment, uint16_t size)
{
    struct pbuf *p = segment->p;
    size_t header = header_size(segment);
    bare(segment);
    pcb->snd_queuelen -= pbuf_clen(p);
    uint16_t here = (uint16_t)LWIP_MIN((size_t)size, p->len - header), left = size - here;
    /* The header moves by whole words, and the data the rest of the way. */
    uint16_t rest = here % HEADER_ALIGNMENT;
    if (rest > 0) {
        uint8_t *data = (uint8_t *)p->payload + header;
        memmove(data, data + rest, p->len - header - rest);
        p->len -= rest;
        p->tot_len -= rest;
        here -= rest;
    }
    memmove((uint8_t *)p->payload + here, p->payload, header);
    pbuf_remove_header(p, here);
    while (left > 0) {
        struct pbuf *next = p->next;
        uint16_t part = LWIP_MIN(left, next->len);
        p->tot_len -= part;
        left -= part;
        if (part == next->len) {
            p->next = next->next;
            next->next = NULL;
            next->tot_len = next->len;
            pbuf_free(next);
        } else {
            pbuf_remove_header(next, part);
        }
    }
    segment->tcphdr = p->payload;
    segment->tcphdr->seqno = lwip_htonl(lwip_ntohl(segment->tcphdr->seqno) + size);
    segment->len -= size;
    pcb->snd_queuelen += pbuf_clen(p);
}

/* The first bytes of a segment in flight have arrived; the wire saw them as so many pieces. */
static void count_arrived(struct tcp_pcb *pcb, const struct tcp_seg *segment, uint32_t size,
                          uint32_t pieces)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (!tcp_recovers(pcb))
        return;
    if (segment->marks & SEGMENT_LOST)
        r->lost -= size;
    if (segment->marks & SEGMENT_SACKED) {
        r->sacked -= size;
        r->sacked_segments -= pieces;
    } else {
        r->delivered += size;
        pcb->figures.delivered += pieces;
    }
}

/* The same for bytes that have arrived. */
static void drop_arrived(struct tcp_pcb *pcb, struct tcp_seg *segment, uint16_t size)
{
    uint32_t pieces = tcp_segment_pieces(segment);
    drop_head(pcb, segment, size);
    count_arrived(pcb, segment, size, pieces - tcp_segment_pieces(segment));
}

/* Drops acknowledged bytes before a segment is cut or retransmitted. */
static void drop_acked(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    uint32_t first = lwip_ntohl(segment->tcphdr->seqno);
    if (!TCP_SEQ_LT(first, pcb->lastack) || segment->p->ref != 1)
        return;
    uint32_t size = LWIP_MIN(pcb->lastack - first, segment->len);
    drop_arrived(pcb, segment, (uint16_t)size);
    pcb->snd_buf += size;
    if (pcb->sent != NULL)
        pcb->sent(pcb->callback_arg, pcb, (uint16_t)size);
}

/* A buffer with a segment's header and a part of its data. */
static struct pbuf *copy_part(const struct tcp_seg *segment, uint16_t from, uint16_t size)
{
    uint16_t header = (uint16_t)header_size(segment);
    uint16_t data = segment->p->tot_len - segment->len;
    struct pbuf *p = pbuf_alloc(PBUF_IP, header + size, PBUF_RAM);
    if (p == NULL)
        return NULL;
    memcpy(p->payload, segment->tcphdr, header);
    pbuf_copy_partial(segment->p, (uint8_t *)p->payload + header, size, data + from);
    return p;
}

/* The segment keeps its first bytes; the rest follows. */
static bool split(struct tcp_pcb *pcb, struct tcp_seg *segment, uint16_t size)
{
    uint16_t rest = segment->len - size;
    bool copies_head = size < rest && size % HEADER_ALIGNMENT == 0;
    if (segment->p->ref != 1) /* still on its way */
        return false;
    struct tcp_seg *second = memp_malloc(MEMP_TCP_SEG);
    struct pbuf *p = second == NULL ? NULL
                     : copies_head  ? copy_part(segment, 0, size)
                                    : copy_part(segment, size, rest);
    if (p == NULL) {
        memp_free(MEMP_TCP_SEG, second);
        return false;
    }
    p->segment_size = segment->p->segment_size;
    *second = *segment;
    if (copies_head) {
        drop_head(pcb, second, size);
        segment->p = p;
        segment->tcphdr = p->payload;
    } else {
        second->p = p;
        second->tcphdr = p->payload;
        second->tcphdr->seqno = lwip_htonl(lwip_ntohl(segment->tcphdr->seqno) + size);
        second->len = rest;
        pcb->snd_queuelen -= pbuf_clen(segment->p);
        pbuf_realloc(segment->p, segment->p->tot_len - rest);
        pcb->snd_queuelen += pbuf_clen(segment->p);
        if (pcb->unsent_last == segment)
            pcb->unsent_oversize = 0;
    }
    pcb->snd_queuelen += pbuf_clen(p);
    segment->len = size;
    uint8_t flags = TCPH_FLAGS(segment->tcphdr);
    TCPH_FLAGS_SET(segment->tcphdr, flags & ~(TCP_PSH | TCP_FIN));
    segment->next = second;
    if (pcb->unacked_last == segment)
        pcb->unacked_last = second;
    if (pcb->unsent_last == segment)
        pcb->unsent_last = second;
    if (segment->marks & SEGMENT_IN_FLIGHT)
        tcp_flight_add(pcb, second);
    return true;
}

static void fit(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t size)
{
    uint32_t piece = piece_of(pcb, segment->flags);
    size = LWIP_MAX(size / piece, 1) * piece;
    if (segment->len > size)
        split(pcb, segment, (uint16_t)size);
}

void tcp_segment_fit(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t size)
{
    drop_acked(pcb, segment);
    if (segment->len > piece_of(pcb, segment->flags))
        fit(pcb, segment, cuts(pcb, tcp_path_route(pcb)) ? size : 0);
}

/* Cuts the first segment to the current path MTU before it is retransmitted. */
void hook_tcp_cut_first(struct tcp_pcb *pcb)
{
    hook_tcp_path(pcb, tcp_path_route(pcb));
    tcp_segment_fit(pcb, pcb->unacked, 0);
}

bool tcp_segment_split(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t size)
{
    uint32_t piece = segment->p->segment_size;
    return piece != 0 && size < segment->len && size > 0 && size % piece == 0 &&
           split(pcb, segment, (uint16_t)size);
}

void tcp_segment_cut_last(struct tcp_pcb *pcb)
{
    struct tcp_seg *last = pcb->unacked_last;
    uint32_t piece = piece_of(pcb, last->flags);
    drop_acked(pcb, last);
    if (last->len > piece)
        split(pcb, last, (uint16_t)((last->len - 1) / piece * piece));
}

/* --- what lwIP asks ------------------------------------------------------------------------- */

/* How much of a segment a window of `window` bytes, from the first unacknowledged one on, takes. */
static uint32_t room_for(const struct tcp_pcb *pcb, const struct tcp_seg *segment, uint32_t window)
{
    uint32_t ahead = lwip_ntohl(segment->tcphdr->seqno) - pcb->lastack;
    return window > ahead ? window - ahead : 0;
}

struct tcp_seg *hook_tcp_next(struct tcp_pcb *pcb, struct netif *netif, uint32_t window)
{
    struct tcp_seg *segment = pcb->unsent;
    if (segment == NULL)
        return NULL;
    drop_acked(pcb, segment);
    uint32_t piece = piece_of(pcb, segment->flags);
    if (segment->len <= piece)
        return segment;
    if (!cuts(pcb, netif)) { /* it was made for a larger path, or for another interface */
        fit(pcb, segment, piece);
        return pcb->unsent;
    }
    uint32_t room = room_for(pcb, segment, window);
    if (segment->len > room) {
        /* Not a piece at a time, while there will be more room soon. */
        bool waits = pcb->unacked != NULL && pcb->recovery.state == TCP_OPEN && room < window / 4;
        if (room >= piece && !waits)
            fit(pcb, segment, room);
    } else if (segment->len % piece != 0 && segment->next == NULL && pcb->unacked != NULL &&
               !(pcb->flags & (TF_NODELAY | TF_NAGLEMEMERR | TF_FIN))) {
        fit(pcb, segment, segment->len); /* the rest is for Nagle's algorithm */
    }
    return pcb->unsent;
}

bool tcp_segment_fill_window(struct tcp_pcb *pcb)
{
    struct tcp_seg *segment = pcb->unsent;
    drop_acked(pcb, segment);
    uint32_t room = room_for(pcb, segment, pcb->snd_wnd), piece = piece_of(pcb, segment->flags);
    if (room == 0)
        return false;
    if (room > piece)
        room -= room % piece;
    return segment->len <= room || split(pcb, segment, (uint16_t)room);
}

/* One that the wire's far end has cut loses whole pieces, so that blocks can still be about the
 * others; the rest goes when it is sent again. */
uint16_t hook_tcp_partly_acked(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t ack)
{
    uint32_t piece = segment->p->segment_size, size = ack - lwip_ntohl(segment->tcphdr->seqno);
    if (segment->p->ref != 1 || size > segment->len)
        return 0;
    if (piece != 0)
        size -= size % piece;
    if (size > 0)
        drop_arrived(pcb, segment, (uint16_t)size);
    return (uint16_t)size;
}
