/*
 * Whose a packet for another host is: of a socket that was given for its flow, or of none yet.
 */
#include "base/hooks.h"
#include "intercept/flows.h"
#include "lwip/icmp.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp6.h"
#include "lwip/udp.h"

static bool is_udp_flow(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                        u16_t remote_port)
{
    const struct udp_pcb *pcb = hook_udp_peer(local_port, remote, remote_port);
    for (; pcb != NULL; pcb = pcb->peer_next)
        if (pcb->local_port == local_port && pcb->remote_port == remote_port &&
            ip_addr_eq(&pcb->remote_ip, remote) && ip_addr_eq(&pcb->local_ip, local))
            return true;
    return false;
}

/* Whether a socket, or what is left of one, has these addresses, and ports as they stand in a
 * packet. */
static bool is_of_ends(u8_t protocol, const ip_addr_t *local, u16_t local_port,
                       const ip_addr_t *remote, u16_t remote_port)
{
    local_port = lwip_ntohs(local_port);
    remote_port = lwip_ntohs(remote_port);
    if (protocol == IP_PROTO_UDP)
        return is_udp_flow(local, local_port, remote, remote_port);
    return protocol == IP_PROTO_TCP &&
           (hook_tcp_lookup(local, local_port, remote, remote_port) != NULL ||
            handshake_exists(local, local_port, remote, remote_port));
}

bool flow_is_of_socket(const struct pbuf *packet, u8_t protocol, u16_t headers)
{
    u16_t ports[2];
    return pbuf_copy_partial(packet, ports, sizeof ports, headers) == sizeof ports &&
           is_of_ends(protocol, ip_current_dest_addr(), ports[1], ip_current_src_addr(), ports[0]);
}

bool flow_is_error_of_socket(const struct pbuf *packet, bool is_v6, u16_t headers)
{
    enum { ICMP_HEADER = 8 };
    u8_t type, first[IP6_HLEN];
    u16_t ports[2], quoted = (u16_t)(headers + ICMP_HEADER);
    ip_addr_t local, remote;
    if (pbuf_copy_partial(packet, &type, 1, headers) != 1 ||
        (is_v6 ? type >= ICMP6_TYPE_EREQ : type != ICMP_DUR && type != ICMP_TE && type != ICMP_PP))
        return false;
    u16_t size = is_v6 ? (u16_t)IP6_HLEN : (u16_t)IP_HLEN;
    if (pbuf_copy_partial(packet, first, size, quoted) != size)
        return false;
    u8_t protocol = is_v6 ? first[6] : first[9];
    if (is_v6) {
        ip_addr_set_zero_ip6(&local);
        ip_addr_set_zero_ip6(&remote);
        memcpy(ip_2_ip6(&local)->addr, first + 8, 16);
        memcpy(ip_2_ip6(&remote)->addr, first + 24, 16);
    } else {
        u32_t words[2];
        memcpy(words, first + 12, sizeof words);
        ip_addr_set_ip4_u32_val(local, words[0]);
        ip_addr_set_ip4_u32_val(remote, words[1]);
        size = (u16_t)((first[0] & 0xf) * 4);
    }
    return pbuf_copy_partial(packet, ports, sizeof ports, (u16_t)(quoted + size)) == sizeof ports &&
           is_of_ends(protocol, &local, ports[0], &remote, ports[1]);
}
