/*
 * UDP datagrams that come in: which socket gets one, and whether it is whole.
 */
#include "base/hooks.h"
#include "link/interface.h"
#include "lwip/inet_chksum.h"
#include "lwip/prot/udp.h"
#include "sockets/udp_socket.h"

/* lwIP has matched port and address; what it ignores is checked here. */
static bool wants(const struct udp_socket *udp, const struct udp_hdr *header, const ip_addr_t *from,
                  uint16_t port_number)
{
    const struct udp_pcb *pcb = udp->pcb;
    const ip_addr_t *to = ip_current_dest_addr();
    uint8_t protocol = ip_current_header_proto();
    bool is_lite = udp->base.head.protocol == IP_PROTO_UDPLITE;
    if ((protocol == IP_PROTO_UDPLITE && !is_lite) || (protocol == IP_PROTO_UDP && is_lite))
        return false;
    /* RFC 8200 8.1: over IPv6 the checksum is not optional. */
    IF__NETIF_CHECKSUM_ENABLED(ip_current_input_netif(), NETIF_CHECKSUM_CHECK_UDP)
    {
        if (ip_current_is_v6() && header->chksum == 0)
            return false;
    }
    if (udp_is_connected(udp) &&
        (pcb->remote_port != port_number || !ip_addr_eq(&pcb->remote_ip, from)))
        return false;
    if (ip_addr_ismulticast(to))
        return multicast_accepts(&udp->base, to, from, interface_index(ip_current_input_netif()));
    /* A socket bound to a unicast address gets no broadcasts. */
    if (ip_addr_isbroadcast(to, ip_current_netif()) && !IP_IS_ANY_TYPE_VAL(pcb->local_ip) &&
        !ip_addr_isany(&pcb->local_ip) && !ip_addr_eq(&pcb->local_ip, to))
        return false;
    return true;
}

/* Cuts what lies beyond UDP's own length, which lwIP ignores. */
static bool trim(const struct udp_socket *udp, const struct udp_hdr *header, struct pbuf *p)
{
    if (udp->base.head.protocol == IP_PROTO_UDPLITE)
        return true; /* there the field is the checksum's coverage */
    uint16_t size = lwip_ntohs(header->len);
    if (size < UDP_HLEN || size - UDP_HLEN > p->tot_len)
        return false;
    if (size - UDP_HLEN < p->tot_len)
        pbuf_realloc(p, (u16_t)(size - UDP_HLEN));
    return true;
}

/* Sockets that all set SO_REUSEPORT share a port's flows by a hash of the sender. */
static struct udp_socket *choose_of_group(struct udp_socket *udp, const ip_addr_t *from,
                                          uint16_t port_number)
{
    uint32_t members = 0, hash = 2166136261u ^ port_number;
    struct udp_pcb *pcb;
    for (int pass = 0; pass < 2; pass++) {
        for (pcb = hook_udp_port(udp->pcb->local_port); pcb != NULL; pcb = pcb->port_next) {
            struct udp_socket *other = udp_socket_of_pcb(pcb);
            if (other == NULL || !other->base.head.options.reuse_port || udp_is_connected(other) ||
                pcb->local_port != udp->pcb->local_port || pcb->netif_idx != udp->pcb->netif_idx ||
                IP_GET_TYPE(&pcb->local_ip) != IP_GET_TYPE(&udp->pcb->local_ip) ||
                !ip_addr_eq(&pcb->local_ip, &udp->pcb->local_ip))
                continue;
            if (pass == 0)
                members++;
            else if (members-- == 0)
                return other;
        }
        if (pass == 0) {
            const uint8_t *bytes = (const uint8_t *)from;
            size_t size = IP_IS_V6(from) ? 16 : 4;
            for (size_t i = 0; i < size; i++)
                hash = (hash ^ bytes[i]) * 16777619u;
            members = members == 0 ? 0 : (hash ^ hash >> 16) % members;
        }
    }
    return udp;
}

void udp_on_datagram(void *argument, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *from,
                     u16_t port_number)
{
    struct udp_socket *udp = argument;
    /* Not in front of p's payload: p may be lwIP's copy of the data alone. */
    const struct udp_hdr *header = ip_next_header_ptr();
    uint16_t local_port = pcb->local_port;
    if (!wants(udp, header, from, port_number)) {
        pbuf_free(p);
        return;
    }
    if (!trim(udp, header, p)) {
        UDP_STATS_INC(udp.lenerr);
        UDP_STATS_INC(udp.drop);
        pbuf_free(p);
        return;
    }
    if (udp->base.head.options.reuse_port && !udp_is_connected(udp) &&
        !ip_addr_ismulticast(ip_current_dest_addr()) &&
        !ip_addr_isbroadcast(ip_current_dest_addr(), ip_current_netif()))
        udp = choose_of_group(udp, from, port_number);
    if (!datagram_enqueue(&udp->base, p, from, port_number, local_port)) {
        UDP_STATS_INC(udp.memerr);
        UDP_STATS_INC(udp.drop);
    }
}
