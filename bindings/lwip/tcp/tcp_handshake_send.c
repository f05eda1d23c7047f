/*
 * The segments of a handshake that has no PCB: SYN-ACKs, and answers to what is unacceptable.
 */
#include "base/hooks.h"
#include "lwip/inet_chksum.h"
#include "lwip/stats.h"
#include "tcp/tcp_handshake.h"

struct netif *handshake_way(const struct handshake *one)
{
    u8_t index = one->listener->pcb->netif_idx;
    return index != NETIF_NO_INDEX ? netif_get_by_index(index)
                                   : ip_route(&one->local, &one->remote);
}

/* The largest segment that can come in, whatever the path on which we send. */
static u16_t own_mss(const struct handshake *one, struct netif *netif)
{
    u16_t mss = tcp_eff_send_mss_netif(TCP_MSS, netif, &one->remote);
    if (IP_IS_V6(&one->remote) && netif_mtu6(netif) > IP6_HLEN + TCP_HLEN)
        mss = (u16_t)LWIP_MIN(TCP_MSS, netif_mtu6(netif) - (IP6_HLEN + TCP_HLEN));
    u16_t wanted = one->listener->options.largest_segment;
    return wanted != 0 ? LWIP_MIN(mss, wanted) : mss;
}

static u8_t *put(u8_t *out, u32_t value)
{
    value = lwip_htonl(value);
    memcpy(out, &value, sizeof value);
    return out + sizeof value;
}

void handshake_send(const struct handshake *one, bool syn, u32_t clock)
{
    u8_t options[24], *end = options;
    struct netif *netif = handshake_way(one);
    if (netif == NULL)
        return;
    if (syn)
        end = put(end, 0x02040000 | own_mss(one, netif));
    if (one->has_timestamp) {
        end = put(end, 0x0101080a);
        end = put(end, clock + hook_tcp_timestamp_offset(&one->local, &one->remote));
        end = put(end, one->tsrecent);
    }
    if (syn && one->scale != NO_SCALE)
        end = put(end, 0x01030300 | one->own_scale);
    if (syn && one->has_sack)
        end = put(end, 0x01010402);
    u16_t size = (u16_t)(TCP_HLEN + (end - options));
    struct pbuf *p = pbuf_alloc(PBUF_IP, size, PBUF_RAM);
    if (p == NULL)
        return;
    u32_t window = syn || one->scale == NO_SCALE ? one->window : one->window >> one->own_scale;
    struct tcp_hdr *header = p->payload;
    header->src = lwip_htons(one->local_port);
    header->dest = lwip_htons(one->remote_port);
    header->seqno = lwip_htonl(one->ours + !syn);
    header->ackno = lwip_htonl(one->theirs + 1);
    TCPH_HDRLEN_FLAGS_SET(header, size / 4, syn ? TCP_SYN | TCP_ACK : TCP_ACK);
    header->wnd = lwip_htons((u16_t)LWIP_MIN(window, 0xffff));
    header->chksum = 0;
    header->urgp = 0;
    memcpy(header + 1, options, (size_t)(end - options));
    IF__NETIF_CHECKSUM_ENABLED(netif, NETIF_CHECKSUM_GEN_TCP)
    {
        header->chksum = ip_chksum_pseudo(p, IP_PROTO_TCP, size, &one->local, &one->remote);
    }
    TCP_STATS_INC(tcp.xmit);
    MIB2_STATS_INC(mib2.tcpoutsegs);
    bool is_v6 = IP_IS_V6(&one->remote);
    ip_output_if(p, &one->local, &one->remote, tcp_ttl(one->listener, is_v6),
                 tcp_tos(one->listener, is_v6), IP_PROTO_TCP, netif);
    pbuf_free(p);
}
