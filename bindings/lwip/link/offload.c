/*
 * Work left to the wire's far end: checksums, and segmenting long TCP and UDP packets (TSO and
 * USO, Linux's GSO).
 *
 * Segments of one connection that leave one after the other are merged here into one long packet,
 * without copying: it holds the segments' buffers until it leaves, which it does at the latest when
 * the engine is left. One that is long already (tcp_segment.c) is merged only where the far end
 * takes more than 64 KiB, else it leaves as it is.
 *
 * The datagrams that one send is to be cut into (PS_OPT_UDP_SEGMENT) are merged likewise; others
 * leave as they come.
 *
 * Where the far end finishes checksums lwIP makes none for TCP, and leaves 0 in the field.
 */
#include "link/offload.h"

#include "base/hooks.h"
#include "base/port.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/ip6.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "lwip/prot/tcp.h"
#include "lwip/prot/udp.h"

/* The most pieces the host has to write at once, headers included. */
#define MOST_PIECES 64
#define MOST_HEADER (SIZEOF_ETH_HDR + 60 + 60)
#define CHECKSUM_OFFSET 16    /* of TCP */
#define UDP_CHECKSUM_OFFSET 6 /* of UDP */

/* Where things are in a frame that carries TCP or UDP. */
struct layout {
    size_t network, transport, header; /* offsets: IP, TCP or UDP, the payload */
    size_t payload;
    bool is_ip6, is_udp;
};

static struct {
    struct port_interface *interface; /* NULL: nothing is being merged */
    struct layout layout;             /* the first one's; `payload` of all */
    uint8_t header[MOST_HEADER];      /* the first one's */
    uint8_t pattern[MOST_HEADER];     /* the same without what differs from one to the next */
    uint32_t next_sequence;
    size_t segment_size, segments;
    size_t count; /* of pieces */
    struct ps_piece pieces[MOST_PIECES];
    struct pbuf *held[MOST_PIECES];
    size_t held_count;
} merge;

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint32_t sequence_of(const uint8_t *tcp)
{
    return (uint32_t)get16(tcp + 4) << 16 | get16(tcp + 6);
}

static size_t checksum_field(const struct layout *layout)
{
    return layout->transport + (layout->is_udp ? UDP_CHECKSUM_OFFSET : CHECKSUM_OFFSET);
}

/* Finds TCP, or UDP at the offset given, in a packet whose headers are contiguous. */
static bool find_transport(const uint8_t *bytes, size_t length, size_t total, size_t network,
                           bool is_udp, struct layout *out)
{
    const uint8_t protocol = is_udp ? IP_PROTO_UDP : IP_PROTO_TCP;
    const uint8_t *ip = bytes + network;
    size_t end;
    out->network = network;
    out->is_udp = is_udp;
    if (length >= network + IP_HLEN && ip[0] >> 4 == 4) {
        out->is_ip6 = false;
        out->transport = network + (ip[0] & 15u) * 4;
        end = network + get16(ip + 2);
        if (ip[9] != protocol || (get16(ip + 6) & (IP_OFFMASK | IP_MF)) != 0)
            return false;
    } else if (length >= network + IP6_HLEN && ip[0] >> 4 == 6) {
        out->is_ip6 = true;
        out->transport = network + IP6_HLEN;
        end = out->transport + get16(ip + 4);
        if (ip[6] != protocol)
            return false;
    } else {
        return false;
    }
    if (length < out->transport + (is_udp ? UDP_HLEN : TCP_HLEN) || end != total)
        return false;
    if (is_udp) {
        out->header = out->transport + UDP_HLEN;
        out->payload = total - out->header;
        return out->header <= MOST_HEADER;
    }
    out->header = out->transport + (size_t)(bytes[out->transport + 12] >> 4) * 4;
    if (out->header < out->transport + TCP_HLEN || out->header > length ||
        out->header > MOST_HEADER)
        return false;
    out->payload = total - out->header;
    return true;
}

/* The pseudo header's part of the checksum (RFC 9293 3.1, RFC 8200 8.1), in host order. */
static uint16_t pseudo_sum(const uint8_t *ip, const struct layout *layout, size_t size)
{
    uint64_t sum = (layout->is_udp ? IP_PROTO_UDP : IP_PROTO_TCP) + size;
    const uint8_t *addresses = ip + (layout->is_ip6 ? 8 : 12);
    for (size_t i = 0; i < (layout->is_ip6 ? 32u : 8u); i += 2)
        sum += get16(addresses + i);
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

static int send_partial(struct port_interface *interface, const struct ps_piece *pieces,
                        size_t count, const struct layout *layout, size_t segment_size)
{
    struct ps_offload offload = {
        .checksum = PS_CHECKSUM_PARTIAL,
        .checksum_start = (uint16_t)layout->transport,
        .checksum_offset = (uint16_t)(checksum_field(layout) - layout->transport),
    };
    if (layout->payload > segment_size) {
        offload.segmentation = layout->is_udp   ? PS_OFFLOAD_UDP
                               : layout->is_ip6 ? PS_OFFLOAD_TCP6
                                                : PS_OFFLOAD_TCP4;
        offload.segment_size = (uint16_t)segment_size;
    }
    return port.silent ? 0
                       : port.hypercalls.frame_out_offload(
                             port.hypercalls.user, interface_index(&interface->netif), pieces,
                             count, layout->header + layout->payload, &offload);
}

/* What the wire sees of a long packet: each segment has its own header. */
static void count_out(struct port_counters *counters, const struct layout *layout, size_t segments)
{
    counters->out_octets += layout->payload + segments * layout->header;
    counters->out_unicast_packets += segments;
}

/* --- merging -------------------------------------------------------------------------------- */

void offload_flush(void)
{
    if (merge.interface == NULL)
        return;
    struct port_interface *interface = merge.interface;
    struct layout *layout = &merge.layout;
    uint8_t *ip = merge.header + layout->network;
    size_t size = layout->header - layout->transport + layout->payload;
    merge.interface = NULL;
    if (layout->is_ip6) {
        put16(ip + 4, size);
    } else {
        size_t length = layout->transport - layout->network + size;
        put16(ip + 2, length <= UINT16_MAX ? length : 0);
        put16(ip + 10, 0);
        u16_t check = inet_chksum(ip, (u16_t)(layout->transport - layout->network));
        memcpy(ip + 10, &check, sizeof check);
    }
    if (layout->is_udp)
        put16(merge.header + layout->transport + 4, size);
    put16(merge.header + checksum_field(layout), pseudo_sum(ip, layout, size));
    merge.pieces[0] = (struct ps_piece){merge.header, layout->header};
    int result = send_partial(interface, merge.pieces, merge.count, layout, merge.segment_size);
    struct port_counters *counters = &interface->counters;
    if (result == 0) {
        count_out(counters, layout, merge.segments);
    } else {
        counters->out_discards += merge.segments;
    }
    while (merge.held_count > 0)
        pbuf_free(merge.held[--merge.held_count]);
}

/* A header without what may differ between segments that are merged. */
static void make_pattern(uint8_t *pattern, const uint8_t *header, const struct layout *layout)
{
    memcpy(pattern, header, layout->header);
    uint8_t *ip = pattern + layout->network, *tcp = pattern + layout->transport;
    if (layout->is_ip6) {
        put16(ip + 4, 0);
    } else {
        put16(ip + 2, 0);
        memset(ip + 4, 0, 2);  /* the identification: segmentation counts it on */
        memset(ip + 10, 0, 2); /* the checksum */
    }
    if (layout->is_udp) {
        memset(tcp + 4, 0, 4); /* length and checksum */
        return;
    }
    memset(tcp + 4, 0, 4);
    tcp[13] &= (uint8_t) ~(TCP_PSH | TCP_FIN);
    put16(tcp + CHECKSUM_OFFSET, 0);
}

/* The payload of each segment that it is cut into but the last. */
static size_t segment_of(const struct pbuf *p, const struct layout *layout)
{
    return p->segment_size != 0 && layout->payload > p->segment_size ? p->segment_size
                                                                     : layout->payload;
}

/* What a merged packet may have, IP header included. */
static size_t most_of(const struct port_interface *interface, const struct layout *layout)
{
    bool longest = interface->offloads & PS_OFFLOAD_TCP4_LONGEST && !layout->is_ip6;
    return longest && !layout->is_udp ? PS_LONGEST_SIZE - layout->network : PS_MTU_MAXIMUM;
}

static size_t pieces_of(const struct pbuf *p, size_t header)
{
    size_t count = p->len > header;
    for (p = p->next; p != NULL; p = p->next)
        count++;
    return count;
}

static void append(struct pbuf *p, const struct layout *layout)
{
    size_t header = layout->header;
    pbuf_ref(p);
    merge.held[merge.held_count++] = p;
    merge.layout.payload += layout->payload;
    merge.segments += (layout->payload + merge.segment_size - 1) / merge.segment_size;
    for (const struct pbuf *part = p; part != NULL; part = part->next, header = 0)
        if (part->len > header)
            merge.pieces[merge.count++] =
                (struct ps_piece){(uint8_t *)part->payload + header, part->len - header};
}

static bool continues(const struct port_interface *interface, const struct pbuf *p,
                      const struct layout *layout, const uint8_t *pattern)
{
    const uint8_t *header = p->payload;
    const struct layout *first = &merge.layout;
    return merge.interface == interface && layout->header == first->header &&
           layout->transport == first->transport && layout->is_ip6 == first->is_ip6 &&
           layout->is_udp == first->is_udp &&
           (layout->payload <= merge.segment_size || p->segment_size == merge.segment_size) &&
           (layout->is_udp || sequence_of(header + layout->transport) == merge.next_sequence) &&
           merge.count + pieces_of(p, layout->header) <= MOST_PIECES &&
           layout->header - layout->network + first->payload + layout->payload <=
               most_of(interface, layout) &&
           memcmp(pattern, merge.pattern, layout->header) == 0;
}

static void begin(struct port_interface *interface, const struct pbuf *p,
                  const struct layout *layout, const uint8_t *pattern)
{
    offload_flush();
    merge.interface = interface;
    merge.layout = *layout;
    merge.layout.payload = 0;
    memcpy(merge.header, p->payload, layout->header);
    memcpy(merge.pattern, pattern, layout->header);
    merge.segment_size = segment_of(p, layout);
    merge.segments = 0;
    merge.count = 1; /* the first piece is the header */
}

static bool is_burst; /* the datagrams that leave are one send's */

void offload_burst(bool on)
{
    if (!on)
        offload_flush();
    is_burst = on;
}

static bool datagram_out(struct port_interface *interface, struct pbuf *p,
                         const struct layout *layout)
{
    uint8_t pattern[MOST_HEADER];
    if (layout->payload == 0 || pieces_of(p, layout->header) > 8)
        return false;
    make_pattern(pattern, p->payload, layout);
    if (!continues(interface, p, layout, pattern))
        begin(interface, p, layout, pattern);
    append(p, layout);
    if (layout->payload < merge.segment_size)
        offload_flush();
    return true;
}

bool offload_frame_out(struct port_interface *interface, struct pbuf *p, int *result)
{
    struct layout layout;
    uint8_t *header = p->payload;
    size_t network = interface->layer == PS_LAYER_ETHERNET ? SIZEOF_ETH_HDR : 0;
    if (!(interface->offloads & PS_OFFLOAD_CHECKSUM))
        return false;
    if (is_burst && interface->offloads & PS_OFFLOAD_UDP &&
        find_transport(header, p->len, p->tot_len, network, true, &layout) &&
        datagram_out(interface, p, &layout)) {
        *result = 1;
        return true;
    }
    if (!find_transport(header, p->len, p->tot_len, network, false, &layout))
        return false;
    uint8_t *tcp = header + layout.transport;
    /* Not lwIP's own: forwarded, or a raw socket's. */
    if (get16(tcp + CHECKSUM_OFFSET) != 0)
        return false;
    uint32_t cut = layout.is_ip6 ? PS_OFFLOAD_TCP6 : PS_OFFLOAD_TCP4;
    bool last = (tcp[13] & (TCP_PSH | TCP_FIN)) != 0;
    bool is_long = p->segment_size != 0 && layout.payload > p->segment_size;
    if (is_long && !(interface->offloads & cut)) {
        *result = -EMSGSIZE; /* the route has changed: TCP will send it again, in pieces */
        return true;
    }
    bool stays = is_long && most_of(interface, &layout) == PS_MTU_MAXIMUM;
    bool alone = stays || !(interface->offloads & cut) || layout.payload == 0 ||
                 (tcp[13] & ~(TCP_PSH | TCP_FIN)) != TCP_ACK || pieces_of(p, layout.header) > 8;
    uint8_t pattern[MOST_HEADER];
    bool next = false;
    if (!alone && merge.interface != NULL) {
        make_pattern(pattern, header, &layout);
        next = continues(interface, p, &layout, pattern);
    }
    if (alone || (last && !next)) {
        struct ps_piece pieces[MOST_PIECES]; /* the caller sees to it that they suffice */
        size_t count = 0;
        for (const struct pbuf *part = p; part != NULL; part = part->next)
            pieces[count++] = (struct ps_piece){part->payload, part->len};
        offload_flush();
        put16(tcp + CHECKSUM_OFFSET,
              pseudo_sum(header + layout.network, &layout, p->tot_len - layout.transport));
        size_t piece = segment_of(p, &layout);
        *result = send_partial(interface, pieces, count, &layout, piece);
        put16(tcp + CHECKSUM_OFFSET, 0);
        if (is_long && *result == 0) {
            size_t segments = (layout.payload + piece - 1) / piece;
            count_out(&interface->counters, &layout, segments);
            *result = 1; /* they are counted */
        }
        return true;
    }
    if (!next) {
        make_pattern(pattern, header, &layout);
        begin(interface, p, &layout, pattern);
    }
    append(p, &layout);
    merge.next_sequence = sequence_of(tcp) + (uint32_t)layout.payload;
    merge.header[layout.transport + 13] |= tcp[13];
    if (last || layout.payload % merge.segment_size != 0)
        offload_flush();
    *result = 1;
    return true;
}

/* --- packets that stay, or are cut into fragments --------------------------------------------- */

void hook_finish_checksum(const struct netif *netif, struct pbuf *p)
{
    const struct port_interface *interface = interface_of(netif);
    struct layout layout;
    uint8_t *ip = p->payload;
    if (interface == NULL ||
        !(interface_owner((struct port_interface *)(uintptr_t)interface)->offloads &
          PS_OFFLOAD_CHECKSUM) ||
        !find_transport(ip, p->len, p->tot_len, 0, false, &layout))
        return;
    uint8_t *tcp = ip + layout.transport;
    if (get16(tcp + CHECKSUM_OFFSET) != 0)
        return;
    put16(tcp + CHECKSUM_OFFSET,
          pseudo_sum(ip, &layout, layout.header - layout.transport + layout.payload));
    pbuf_remove_header(p, layout.transport);
    u16_t check = inet_chksum_pbuf(p);
    pbuf_add_header(p, layout.transport);
    memcpy(tcp + CHECKSUM_OFFSET, &check, sizeof check);
}
