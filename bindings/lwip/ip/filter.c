/*
 * Packets that are kept from lwIP: forwarding that is off, echo requests that are to be ignored,
 * ICMP errors that may not be.
 */
#include "base/hooks.h"
#include "base/tunables.h"
#include "ip/icmp_limit.h"
#include "link/interface.h"
#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"

enum { CONSUMED = 1, GO_ON = 0 };

/* lwIP looks at the destination (-1); the source is to be somebody beyond the wire's own
 * (RFC 1812 5.3.7, RFC 3927 7). */
int hook_ip4_can_forward(struct pbuf *packet, u32_t destination)
{
    (void)destination;
    ip4_addr_t source;
    ip4_addr_copy(source, ((const struct ip_hdr *)packet->payload)->src);
    bool nobody =
        ip4_addr1(&source) == 0 || ip4_addr_isloopback(&source) || ip4_addr_islinklocal(&source);
    return tunables.ip_forward && !nobody ? -1 : 0;
}

int hook_ip4_input(struct pbuf *packet, struct netif *netif)
{
    const struct ip_hdr *header = packet->payload;
    if (!tunables.icmp_echo_ignore_all && !tunables.icmp_echo_ignore_broadcasts)
        return GO_ON;
    if (packet->len < IP_HLEN || IPH_PROTO(header) != IP_PROTO_ICMP)
        return GO_ON;
    u16_t size = IPH_HL_BYTES(header);
    if (size < IP_HLEN || packet->len <= size ||
        ((const uint8_t *)packet->payload)[size] != ICMP_ECHO)
        return GO_ON;
    ip4_addr_t destination;
    ip4_addr_copy(destination, header->dest);
    bool group = ip4_addr_ismulticast(&destination) || ip4_addr_isbroadcast(&destination, netif);
    if (!tunables.icmp_echo_ignore_all && !(group && tunables.icmp_echo_ignore_broadcasts))
        return GO_ON;
    pbuf_free(packet);
    return CONSUMED;
}

/* From a wire nothing can come from, or for, the loopback address (RFC 4291 2.5.3), and nothing is
 * for the unspecified one (2.5.2). Nor is there anything in a multicast scope of 0 (2.7). */
static bool is_nobody6(const struct ip6_hdr *header)
{
    ip6_addr_t source, destination;
    ip6_addr_copy_from_packed(source, header->src);
    ip6_addr_copy_from_packed(destination, header->dest);
    return ip6_addr_isloopback(&source) || ip6_addr_isloopback(&destination) ||
           ip6_addr_isany(&destination) ||
           (ip6_addr_ismulticast(&destination) && ip6_addr_multicast_scope(&destination) == 0);
}

/* A packet's extension headers, and whether lwIP is to see it. There may be so many of them (RFC
 * 8504 5.3): each costs as much as a packet. And Neighbor Discovery must have no fragment header
 * (RFC 6980 5): who guards a link does not put fragments together. Of a fragment that is not the
 * first the rest is not known, and it waits for that in vain. */
static bool has_good_headers(const struct pbuf *packet)
{
    enum { MOST = 16, NEXT = 6 };
    const uint8_t *bytes = packet->payload;
    size_t offset = IP6_HLEN;
    uint8_t next = bytes[NEXT];
    bool in_fragments = false;
    for (int count = 0; next == IP6_NEXTH_HOPBYHOP || next == IP6_NEXTH_ROUTING ||
                        next == IP6_NEXTH_DESTOPTS || next == IP6_NEXTH_FRAGMENT;
         count++) {
        if (offset + 8 > packet->len)
            return true; /* lwIP says what there is to say */
        bool is_fragment = next == IP6_NEXTH_FRAGMENT;
        if (is_fragment && (bytes[offset + 2] != 0 || (bytes[offset + 3] & 0xf8) != 0))
            return true;
        if (count == MOST)
            return false;
        in_fragments |= is_fragment;
        next = bytes[offset];
        offset += is_fragment ? 8 : (bytes[offset + 1] + 1u) * 8;
    }
    return !in_fragments || next != IP6_NEXTH_ICMP6 || offset >= packet->len ||
           bytes[offset] < ICMP6_TYPE_RS || bytes[offset] > ICMP6_TYPE_RD;
}

/* Whether a header's options are few, and their padding no longer than it has any use (RFC
 * 8504 5.3; Linux's limits): what has to be read for each packet. */
bool hook_ip6_options(const u8_t *header, u16_t size)
{
    enum { OPTIONS = 2, MOST_OPTIONS = 8, MOST_PADDING = 7 };
    unsigned count = 0, padding = 0;
    for (unsigned at = OPTIONS; at < size;) {
        bool is_pad1 = header[at] == IP6_PAD1_OPTION;
        unsigned length = is_pad1 ? 1 : at + 1 < size ? header[at + 1] + 2u : size;
        if (is_pad1 || header[at] == IP6_PADN_OPTION) {
            padding += length;
        } else {
            padding = 0;
            count++;
        }
        if (count > MOST_OPTIONS || padding > MOST_PADDING)
            return false;
        at += length;
    }
    return true;
}

int hook_ip6_input(struct pbuf *packet, struct netif *netif)
{
    const struct ip6_hdr *header = packet->payload;
    if (packet->len >= IP6_HLEN &&
        ((netif != interface_loopback() && is_nobody6(header)) || !has_good_headers(packet))) {
        pbuf_free(packet);
        return CONSUMED;
    }
    if (!tunables.icmp6_echo_ignore_all || packet->len <= IP6_HLEN ||
        IP6H_NEXTH(header) != IP6_NEXTH_ICMP6 ||
        ((const uint8_t *)packet->payload)[IP6_HLEN] != ICMP6_TYPE_EREQ)
        return GO_ON;
    pbuf_free(packet);
    return CONSUMED;
}

/* --- what no ICMP error may be about ------------------------------------------------------ */

static bool is_icmp4_error(u8_t type)
{
    return type == ICMP_DUR || type == ICMP_SQ || type == ICMP_RD || type == ICMP_TE ||
           type == ICMP_PP;
}

/* RFC 1122 3.2.2, RFC 1812 4.3.2.7. */
bool hook_icmp4_may_answer(const struct pbuf *packet, u8_t type, u8_t code)
{
    const struct ip_hdr *header = packet->payload;
    ip4_addr_t source, destination;
    if (packet->len < IP_HLEN || packet->flags & (PBUF_FLAG_LLBCAST | PBUF_FLAG_LLMCAST) ||
        IPH_OFFSET(header) & PP_HTONS(IP_OFFMASK))
        return false;
    ip4_addr_copy(source, header->src);
    ip4_addr_copy(destination, header->dest);
    /* Of a packet whose fragments have timed out the interface is not known any more. */
    struct netif *from = ip_current_input_netif();
    bool group = ip4_addr_ismulticast(&destination) ||
                 (from != NULL && ip4_addr_isbroadcast(&destination, from));
    bool loops = ip4_addr_isloopback(&source) != ip4_addr_isloopback(&destination);
    /* Sources of class E and above, groups and "this host" are nobody's. */
    bool nobody = ip4_addr_isany_val(source) || ip4_addr1(&source) >= 224;
    if (group || loops || nobody)
        return false;
    u16_t size = IPH_HL_BYTES(header);
    if (IPH_PROTO(header) == IP_PROTO_ICMP &&
        (packet->tot_len <= size || is_icmp4_error(pbuf_get_at(packet, size))))
        return false;
    return icmp4_is_within_rate(&source, type, code);
}

/* Where the upper layer's header is, and which it is; past extension headers. */
static u16_t upper_layer6(const struct pbuf *packet, u8_t *next)
{
    u16_t offset = IP6_HLEN;
    *next = IP6H_NEXTH((const struct ip6_hdr *)packet->payload);
    while (*next == IP6_NEXTH_HOPBYHOP || *next == IP6_NEXTH_ROUTING ||
           *next == IP6_NEXTH_FRAGMENT || *next == IP6_NEXTH_DESTOPTS) {
        u16_t offset_bits = (u16_t)(pbuf_get_at(packet, (u16_t)(offset + 2)) << 8 |
                                    pbuf_get_at(packet, (u16_t)(offset + 3)));
        if (*next == IP6_NEXTH_FRAGMENT && (offset_bits & IP6_FRAG_OFFSET_MASK) != 0) {
            *next = IP6_NEXTH_NONE; /* the header was in another fragment */
            break;
        }
        u16_t size = *next == IP6_NEXTH_FRAGMENT
                         ? 8
                         : (u16_t)(8 * (1 + pbuf_get_at(packet, (u16_t)(offset + 1))));
        if (offset + size >= packet->tot_len)
            break;
        *next = pbuf_get_at(packet, offset);
        offset = (u16_t)(offset + size);
    }
    return offset;
}

/* RFC 4443 2.4 (e): to a group only what path MTU discovery and unknown options need. */
bool hook_icmp6_may_answer(const struct pbuf *packet, u8_t type, u8_t code)
{
    const struct ip6_hdr *header = packet->payload;
    ip6_addr_t source, destination;
    u8_t next;
    if (packet->len < IP6_HLEN)
        return false;
    ip6_addr_copy_from_packed(source, header->src);
    ip6_addr_copy_from_packed(destination, header->dest);
    bool group = ip6_addr_ismulticast(&destination) ||
                 (packet->flags & (PBUF_FLAG_LLBCAST | PBUF_FLAG_LLMCAST)) != 0;
    if (group && type != ICMP6_TYPE_PTB && !(type == ICMP6_TYPE_PP && code == ICMP6_PP_OPTION))
        return false;
    if (ip6_addr_isany(&source) || ip6_addr_ismulticast(&source))
        return false;
    u16_t offset = upper_layer6(packet, &next);
    u8_t inner = pbuf_get_at(packet, offset);
    if (next == IP6_NEXTH_ICMP6 &&
        (packet->tot_len <= offset || inner < 128 || inner == ICMP6_TYPE_RD))
        return false;
    return icmp6_is_within_rate(&source, type);
}
