/*
 * IPv4 reassembly (RFC 791 3.2, RFC 1122 3.3.2). lwIP calls it instead of its own.
 */
#include "base/tunables.h"
#include "ip/reassembly.h"
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip4_frag.h"
#include "lwip/prot/ip4.h"
#include "lwip/stats.h"

/* What an error quotes: lwIP's has the header and 8 octets. */
#define QUOTED 8

static void timed_out(const struct datagram *datagram)
{
    MIB2_STATS_INC(mib2.ipreasmfails);
    struct pbuf *first = datagram_first(datagram, QUOTED);
    if (first == NULL)
        return; /* RFC 1122 3.3.2: without the first fragment nothing is said */
    icmp_time_exceeded(first, ICMP_TE_FRAG);
    pbuf_free(first);
}

static struct reassembly datagrams = {
    .limit_bytes = &tunables.ip_reassembly_max_bytes,
    .limit_fragments = &tunables.ip_reassembly_max_fragments,
    .time_s = &tunables.ip_reassembly_time_s,
    .timed_out = timed_out,
};

void ip_reass_tmr(void)
{
    reassembly_expire(&datagrams);
}

uint64_t ip4_reassembly_work_ms(uint64_t next_ms)
{
    (void)next_ms;
    return reassembly_expires_ms(&datagrams);
}

void ip4_reassembly_shed(void)
{
    reassembly_shed(&datagrams);
}

/* The datagram, and its first fragment's header; later ones have other options, or none. */
static struct pbuf *take(struct datagram *datagram)
{
    size_t size;
    datagram_header(datagram, &size);
    struct pbuf *p = reassembly_take(&datagrams, datagram, size);
    if (p == NULL) {
        MIB2_STATS_INC(mib2.ipreasmfails);
        IPFRAG_STATS_INC(ip_frag.memerr);
        return NULL;
    }
    struct ip_hdr *header = p->payload;
    IPH_LEN_SET(header, lwip_htons(p->tot_len));
    IPH_OFFSET_SET(header, 0);
    IPH_CHKSUM_SET(header, 0);
    IPH_CHKSUM_SET(header, inet_chksum(header, (u16_t)size));
    MIB2_STATS_INC(mib2.ipreasmoks);
    return p;
}

/* False: it is no fragment that any datagram could have. */
static bool parse(const struct pbuf *p, struct fragment *out)
{
    const struct ip_hdr *header = p->payload;
    uint16_t size = IPH_HL_BYTES(header), data = (uint16_t)(p->tot_len - size);
    out->more = (IPH_OFFSET(header) & PP_HTONS(IP_MF)) != 0;
    if (out->more)
        data &= (uint16_t)~7; /* the next one begins at a multiple of 8 (RFC 791 3.2) */
    out->packet = p;
    out->data = size;
    out->start = (lwip_ntohs(IPH_OFFSET(header)) & IP_OFFMASK) * 8u;
    out->end = out->start + data;
    out->key[0] = (uint64_t)header->src.addr << 32 | header->dest.addr;
    out->key[1] = (uint64_t)IPH_ID(header) << 8 | IPH_PROTO(header);
    return data != 0 && out->end + size <= REASSEMBLY_LONGEST;
}

struct pbuf *ip4_reass(struct pbuf *p)
{
    IPFRAG_STATS_INC(ip_frag.recv);
    MIB2_STATS_INC(mib2.ipreasmreqds);
    struct fragment fragment = {0};
    struct datagram *datagram;
    struct pbuf *all = NULL;
    if (!parse(p, &fragment)) {
        IPFRAG_STATS_INC(ip_frag.lenerr);
        IPFRAG_STATS_INC(ip_frag.drop);
        pbuf_free(p);
        return NULL;
    }
    switch (reassembly_add(&datagrams, &fragment, p->payload, fragment.data, &datagram)) {
    case FRAGMENT_TAKEN:
        break;
    case FRAGMENT_COMPLETES:
        all = take(datagram);
        if (all != NULL)
            all->if_idx = p->if_idx;
        break;
    case FRAGMENT_WITHOUT_ROOM:
        IPFRAG_STATS_INC(ip_frag.memerr);
        IPFRAG_STATS_INC(ip_frag.drop);
        break;
    case FRAGMENT_IS_COPY:
    case FRAGMENT_CONTRADICTS: /* what came first counts */
        IPFRAG_STATS_INC(ip_frag.drop);
        break;
    }
    pbuf_free(p);
    return all;
}
