/*
 * Packets that a tunable keeps from lwIP: forwarding that is off, echo requests that are to
 * be ignored.
 */
#include "hooks.h"
#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "port.h"

enum { CONSUMED = 1, GO_ON = 0 };

int hook_ip4_can_forward(struct pbuf *packet, u32_t destination)
{
    (void)packet, (void)destination;
    return tunables.ip_forward ? -1 : 0; /* -1: lwIP looks at the addresses */
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

int hook_ip6_input(struct pbuf *packet, struct netif *netif)
{
    (void)netif;
    const struct ip6_hdr *header = packet->payload;
    if (!tunables.icmp6_echo_ignore_all || packet->len <= IP6_HLEN ||
        IP6H_NEXTH(header) != IP6_NEXTH_ICMP6 ||
        ((const uint8_t *)packet->payload)[IP6_HLEN] != ICMP6_TYPE_EREQ)
        return GO_ON;
    pbuf_free(packet);
    return CONSUMED;
}
