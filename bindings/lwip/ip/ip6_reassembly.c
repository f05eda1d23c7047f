/*
 * IPv6 reassembly (RFC 8200 4.5). lwIP calls it instead of its own. A packet with overlapping
 * fragments is dropped as a whole (RFC 5722 4); an exact copy of a fragment is ignored.
 */
#include "base/tunables.h"
#include "ip/reassembly.h"
#include "lwip/icmp6.h"
#include "lwip/ip.h"
#include "lwip/ip6_frag.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/ip6.h"
#include "lwip/stats.h"

/* What an error quotes: what fits into the least MTU (RFC 4443 2.4 c). */
#define QUOTED 1280

static void read_address(const uint64_t words[2], uint8_t zone, ip6_addr_t *out)
{
    memcpy(out->addr, words, sizeof out->addr);
    ip6_addr_set_zone(out, zone);
}

static void timed_out(const struct datagram *datagram)
{
    struct pbuf *first = datagram_first(datagram, QUOTED);
    if (first == NULL)
        return;
    ip6_addr_t source, destination;
    const uint64_t *key = datagram_key(datagram);
    read_address(key, (uint8_t)(key[4] >> 8), &source);
    read_address(key + 2, (uint8_t)key[4], &destination);
    icmp6_time_exceeded_with_addrs(first, ICMP6_TE_FRAG, &source, &destination);
    pbuf_free(first);
}

static struct reassembly packets = {
    .limit_bytes = &tunables.ip6_reassembly_max_bytes,
    .limit_fragments = &tunables.ip_reassembly_max_fragments,
    .time_s = &tunables.ip6_reassembly_time_s,
    .timed_out = timed_out,
};

void ip6_reass_tmr(void)
{
    reassembly_expire(&packets);
}

uint64_t ip6_reassembly_work_ms(uint64_t next_ms)
{
    (void)next_ms;
    return reassembly_expires_ms(&packets);
}

void ip6_reassembly_shed(void)
{
    reassembly_shed(&packets);
}

/* Whether a first fragment has all headers up to the upper layer's (RFC 7112 5). */
static bool has_headers(const struct pbuf *p)
{
    uint16_t offset = IP6_FRAG_HLEN, needed;
    uint8_t next = pbuf_get_at(p, 0);
    while (next == IP6_NEXTH_HOPBYHOP || next == IP6_NEXTH_ROUTING || next == IP6_NEXTH_DESTOPTS) {
        uint16_t size = (uint16_t)(8 * (1 + pbuf_get_at(p, (u16_t)(offset + 1))));
        next = pbuf_get_at(p, offset);
        if (size >= p->tot_len - offset)
            return false;
        offset = (uint16_t)(offset + size);
    }
    switch (next) {
    case IP6_NEXTH_TCP:
        needed = 20;
        break;
    case IP6_NEXTH_UDP:
    case IP6_NEXTH_UDPLITE:
    case IP6_NEXTH_ICMP6:
        needed = 8;
        break;
    default:
        needed = 0;
        break;
    }
    return p->tot_len - offset >= needed;
}

/* The packet without its Fragment header: its next header, the first fragment's, goes to the header
 * in front of it. */
static struct pbuf *take(struct datagram *datagram)
{
    size_t size;
    const uint8_t *first = datagram_header(datagram, &size);
    size -= IP6_FRAG_HLEN;
    uint8_t next = first[size];
    struct pbuf *p = reassembly_take(&packets, datagram, size);
    if (p == NULL) {
        IP6_FRAG_STATS_INC(ip6_frag.memerr);
        return NULL;
    }
    struct ip6_hdr *header = p->payload;
    IP6H_PLEN_SET(header, (u16_t)(p->tot_len - IP6_HLEN));
    uint8_t *link = &IP6H_NEXTH(header);
    for (uint8_t *at = (uint8_t *)header + IP6_HLEN; *link != IP6_NEXTH_FRAGMENT;
         at += 8 * (1 + at[1]))
        link = at; /* they were all walked on the way in */
    *link = next;
    MIB2_STATS_INC(mib2.ip6reasmoks);
    return p;
}

/* False: it is no fragment that any packet could have; its sender was told. */
static bool parse(const struct pbuf *p, struct fragment *out)
{
    const struct ip6_frag_hdr *header = p->payload;
    uint16_t field = lwip_ntohs(header->_fragment_offset);
    out->packet = p;
    out->data = IP6_FRAG_HLEN;
    out->more = (field & IP6_FRAG_MORE_FLAG) != 0;
    out->start = field & IP6_FRAG_OFFSET_MASK;
    out->end = out->start + p->tot_len - IP6_FRAG_HLEN;
    memcpy(out->key, ip6_current_src_addr()->addr, 16);
    memcpy(out->key + 2, ip6_current_dest_addr()->addr, 16);
    out->key[4] = (uint64_t)header->_identification << 32 |
                  (uint64_t)ip6_addr_zone(ip6_current_src_addr()) << 8 |
                  ip6_addr_zone(ip6_current_dest_addr());
    if (out->end > REASSEMBLY_LONGEST) {
        icmp6_param_problem((struct pbuf *)(uintptr_t)p, ICMP6_PP_FIELD, &header->_fragment_offset);
        return false;
    }
    if (out->start == 0 && !has_headers(p)) {
        icmp6_param_problem((struct pbuf *)(uintptr_t)p, ICMP6_PP_CHAIN, ip6_current_header());
        return false;
    }
    return out->end != out->start;
}

struct pbuf *ip6_reass(struct pbuf *p)
{
    IP6_FRAG_STATS_INC(ip6_frag.recv);
    struct fragment fragment = {0};
    struct datagram *datagram = NULL;
    struct pbuf *all = NULL;
    if (!parse(p, &fragment)) {
        IP6_FRAG_STATS_INC(ip6_frag.proterr);
        IP6_FRAG_STATS_INC(ip6_frag.drop);
        pbuf_free(p);
        return NULL;
    }
    /* Everything in front of the data is in one piece: lwIP has read it. */
    const uint8_t *headers = (const uint8_t *)ip6_current_header();
    size_t size = (size_t)((const uint8_t *)p->payload - headers) + IP6_FRAG_HLEN;
    switch (reassembly_add(&packets, &fragment, headers, size, &datagram)) {
    case FRAGMENT_TAKEN:
        break;
    case FRAGMENT_COMPLETES:
        all = take(datagram);
        if (all != NULL)
            all->if_idx = p->if_idx;
        break;
    case FRAGMENT_IS_COPY:
        IP6_FRAG_STATS_INC(ip6_frag.drop);
        break;
    case FRAGMENT_CONTRADICTS:
        IP6_FRAG_STATS_INC(ip6_frag.proterr);
        IP6_FRAG_STATS_INC(ip6_frag.drop);
        if (datagram != NULL)
            reassembly_drop(&packets, datagram);
        break;
    case FRAGMENT_WITHOUT_ROOM:
        IP6_FRAG_STATS_INC(ip6_frag.memerr);
        IP6_FRAG_STATS_INC(ip6_frag.drop);
        break;
    }
    pbuf_free(p);
    return all;
}
