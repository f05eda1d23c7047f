/*
 * Where lwIP asks this port (lwIP's LWIP_HOOK_FILENAME, included by its core).
 */
#ifndef PYSTACK_LWIP_HOOKS_H
#define PYSTACK_LWIP_HOOKS_H

#include <stdbool.h>

#include "lwip/ip_addr.h"

struct ip_hdr;
struct dhcp;
struct dhcp_msg;
struct netif;
struct pbuf;
struct tcp_hdr;
struct tcp_pcb;
struct tcp_pcb_listen;
struct udp_pcb;

/* route.c: the routing table, both families. NULL: lwIP's own choice, then unreachable. */
struct netif *hook_ip4_route(const ip4_addr_t *source, const ip4_addr_t *destination);
struct netif *hook_ip6_route(const ip6_addr_t *source, const ip6_addr_t *destination);
const ip6_addr_t *hook_nd_gateway(struct netif *netif, const ip6_addr_t *destination, int on_link);
#define LWIP_HOOK_IP6_ROUTE(source, destination) hook_ip6_route(source, destination)
/* `on_link` is how long the prefix is by which it is on the link; -1: it is not. */
#define LWIP_HOOK_ND6_GET_GW(netif, destination, on_link) \
    hook_nd_gateway(netif, destination, on_link)
/* route.c: how long the prefix of an IPv6 address is that a netif has. */
u8_t hook_ip6_prefix_length(const struct netif *netif, s8_t position);
#define LWIP_IP6_PREFIX_LENGTH(netif, position) hook_ip6_prefix_length(netif, (s8_t)(position))

/* icmp_redirect.c: the next hop by way of a netif; NULL: none. */
const ip4_addr_t *hook_arp_gateway(struct netif *netif, const ip4_addr_t *destination);

/* route.c: the hop limit that a router advertises (RFC 4861 6.3.4). */
void hook_nd_hop_limit(struct netif *netif, u8_t limit);
#define LWIP_HOOK_ND6_HOP_LIMIT(netif, limit) hook_nd_hop_limit(netif, limit)

/* filter.c: 0: may not be forwarded; negative: lwIP decides. */
int hook_ip4_can_forward(struct pbuf *packet, u32_t destination);
#define LWIP_HOOK_IP4_CANFORWARD(packet, destination) hook_ip4_can_forward(packet, destination)

/* forward.c: whether a packet, one hop less in it, may leave; else its sender was told. */
bool hook_ip4_forward(struct pbuf *packet, struct netif *in, struct netif *out);
bool hook_ip6_forward(struct pbuf *packet, struct netif *in, struct netif *out);
#define LWIP_HOOK_IP4_FORWARD(packet, in, out) hook_ip4_forward(packet, in, out)
#define LWIP_HOOK_IP6_FORWARD(packet, in, out) hook_ip6_forward(packet, in, out)

/* forward.c: the next hop of a waiting packet did not resolve. */
void hook_arp_unanswered(struct pbuf *packet);

/* neighbour.c: a connection has got an answer to what it sent: its next hop is there. */
void hook_tcp_progress(const struct tcp_pcb *pcb);
#define LWIP_HOOK_TCP_PROGRESS(pcb) hook_tcp_progress(pcb)

/* filter.c: 1 when the packet was consumed (echo requests that a tunable ignores). */
int hook_ip4_input(struct pbuf *packet, struct netif *netif);
int hook_ip6_input(struct pbuf *packet, struct netif *netif);
#define LWIP_HOOK_IP4_INPUT(packet, netif) hook_ip4_input(packet, netif)
#define LWIP_HOOK_IP6_INPUT(packet, netif) hook_ip6_input(packet, netif)

/* filter.c: whether the options of a header, hop-by-hop or for the destination, are to be read. */
bool hook_ip6_options(const u8_t *header, u16_t size);
#define LWIP_HOOK_IP6_OPTIONS(header, size) hook_ip6_options(header, size)

/* ip4_options.c: whether a packet for us is to be dropped for its options, an error sent; and the
 * header of an echo reply, with the request's options. */
bool hook_ip4_options(struct pbuf *packet);
void hook_icmp4_echo_options(struct ip_hdr *reply);
#define LWIP_HOOK_IP4_OPTIONS(packet) hook_ip4_options(packet)
#define LWIP_HOOK_ICMP_ECHO_OPTIONS(reply) hook_icmp4_echo_options(reply)

/* filter.c: whether an ICMP error may be sent about a packet, its IP header in front. */
bool hook_icmp4_may_answer(const struct pbuf *packet, u8_t type, u8_t code);
bool hook_icmp6_may_answer(const struct pbuf *packet, u8_t type, u8_t code);

/* identification.c: the identification of a packet, complete but for it and the checksum. */
void hook_ip4_identification(struct ip_hdr *header, const struct pbuf *packet);
#define LWIP_HOOK_IP4_IDENTIFICATION(header, packet) hook_ip4_identification(header, packet)

/* path_mtu.c: how large a packet to a destination may be, and whether it carries DF. */
u16_t hook_ip6_path_mtu(const ip6_addr_t *destination, u16_t link_mtu);
u16_t hook_ip4_path_mtu(const ip4_addr_t *destination, u16_t link_mtu);
u16_t hook_ip4_flags(const struct pbuf *packet);
#define LWIP_HOOK_IP6_PATH_MTU(destination, link_mtu) hook_ip6_path_mtu(destination, link_mtu)
#define LWIP_HOOK_IP4_PATH_MTU(destination, link_mtu) hook_ip4_path_mtu(destination, link_mtu)
#define LWIP_HOOK_IP4_FLAGS(header, packet) hook_ip4_flags(packet)

/* flow_label.c: the flow label of a packet whose header is complete but for it (RFC 6437). */
u32_t hook_ip6_flow_label(const struct pbuf *packet);
#define LWIP_HOOK_IP6_FLOW_LABEL(packet) hook_ip6_flow_label(packet)

/* tcp_isn.c: initial sequence numbers as RFC 6528 has them. */
u32_t hook_tcp_sequence(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                        u16_t remote_port);
#define LWIP_HOOK_TCP_ISN(local, local_port, remote, remote_port) \
    hook_tcp_sequence(local, local_port, remote, remote_port)

/* tcp_isn.c: what is added to the clock in the timestamps between two addresses. */
u32_t hook_tcp_timestamp_offset(const ip_addr_t *local, const ip_addr_t *remote);

/* tcp_challenge_ack.c: whether an unacceptable segment may be answered, or there was such an answer
 * just now; what is kept of that stands with the connection. */
bool hook_tcp_may_refuse(u32_t *refused_ms, u8_t *refused);
#define LWIP_HOOK_TCP_MAY_REFUSE(pcb) hook_tcp_may_refuse(&(pcb)->refused_ms, &(pcb)->refused)

/* tcp_handshake.c: a segment came for a listener, its options in two parts. The connection that it
 * opens and that is to have it; NULL: there is none, it is done with. */
struct tcp_pcb *hook_tcp_handshake(struct tcp_pcb_listen *listening, const struct tcp_hdr *header,
                                   u16_t length, const u8_t *options, u16_t size,
                                   const u8_t *options2, u16_t size2);
#define LWIP_HOOK_TCP_HANDSHAKE(listening, header, length, options, size, options2, size2) \
    hook_tcp_handshake(listening, header, length, options, size, options2, size2)

/* tcp_owner.c: whether a segment has come further than its socket lets any; asked while one minds
 * (socket_option.c). */
extern bool hook_tcp_minds_hops;
bool hook_tcp_too_far(const struct tcp_pcb *pcb);
/* tcp_figures.c: something has come from the peer; a listener's PCB has no more than any PCB begins
 * with. */
void hook_tcp_came(struct tcp_pcb *pcb, u32_t acknowledged, const struct pbuf *segment);
#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, header, length, length1, options2, p) \
    (hook_tcp_minds_hops && hook_tcp_too_far(pcb) \
         ? ERR_ABRT \
         : ((pcb)->state > LISTEN ? hook_tcp_came(pcb, (header)->ackno, p) : (void)0, ERR_OK))

/* tcp_hash.c: the connection of these addresses and ports, perhaps in TIME-WAIT; NULL: none. */
struct tcp_pcb *hook_tcp_lookup(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                                u16_t remote_port);
bool hook_tcp_port_is_active(u16_t port_number);
#define LWIP_HOOK_TCP_LOOKUP(local, local_port, remote, remote_port) \
    hook_tcp_lookup(local, local_port, remote, remote_port)
#define LWIP_HOOK_TCP_PORT_IS_ACTIVE(port_number) hook_tcp_port_is_active(port_number)

/* tcp_pcb.c: a PCB has its addresses and ports; and it is about to be freed. */
void hook_tcp_active(struct tcp_pcb *pcb);
void hook_tcp_free(struct tcp_pcb *pcb);

/* udp_hash.c: the first of those among which they are that have a local port (`port_next` is the
 * next), and that are connected to a peer (`peer_next`). */
struct udp_pcb *hook_udp_port(u16_t number);
struct udp_pcb *hook_udp_peer(u16_t local_port, const ip_addr_t *remote, u16_t remote_port);
void hook_udp_active(struct udp_pcb *pcb);
void hook_udp_free(struct udp_pcb *pcb);
#define LWIP_HOOK_UDP_PORT(number) hook_udp_port(number)
#define LWIP_HOOK_UDP_PEER(local_port, remote, remote_port) \
    hook_udp_peer(local_port, remote, remote_port)
#define LWIP_HOOK_UDP_ACTIVE(pcb) hook_udp_active(pcb)
#define LWIP_HOOK_UDP_FREE(pcb) hook_udp_free(pcb)

/* address.c */
bool hook_ip_is_ours(const ip_addr_t *address);
#define LWIP_HOOK_IP_IS_OURS(address) hook_ip_is_ours(address)

/* offload.c: a packet that is about to be cut into fragments, or that is to ourselves, and whose
 * checksum was left to the wire's far end: it will never see this one. */
void hook_finish_checksum(const struct netif *netif, struct pbuf *packet);
#define LWIP_HOOK_FINISH_CHECKSUM(netif, packet) hook_finish_checksum(netif, packet)

/* intercept.c: whether a packet that is not for this host is taken in another's place; whether that
 * was the end of one that was, whose transport header is in front; and the listener for its
 * segments, which nobody can bind. NULL: the segment is for this host. */
bool hook_ip_intercept(const struct pbuf *packet, struct netif *netif, bool is_ours);
bool hook_ip_intercepted(struct pbuf *packet, u8_t protocol);
struct tcp_pcb_listen *hook_tcp_intercepted(void);
#define LWIP_HOOK_IP_INTERCEPT(packet, netif, is_ours) hook_ip_intercept(packet, netif, is_ours)
#define LWIP_HOOK_IP_INTERCEPTED(packet, protocol) hook_ip_intercepted(packet, protocol)
#define LWIP_HOOK_TCP_INTERCEPTED() hook_tcp_intercepted()

/* resolver.c: what a message from a name server that was asked for `name` is worth. */
enum dns_response {
    DNS_RESPONSE_NONE, /* it answers something else, or nothing */
    DNS_RESPONSE_ADDRESS,
    DNS_RESPONSE_NO_ADDRESS, /* and no other server has one */
    DNS_RESPONSE_FAILURE,    /* another server may do better */
};
enum dns_response hook_dns_response(const struct pbuf *message, const char *name, bool mdns,
                                    bool is_v6, ip_addr_t *first);
#define LWIP_HOOK_DNS_RESPONSE(message, name, mdns, is_v6, first) \
    hook_dns_response(message, name, mdns, is_v6, first)

/* icmp_error.c: whether the packet that a redirect quotes, if any, can be one of ours. */
bool hook_nd_redirect(const struct pbuf *message, const ip6_addr_t *destination);
#define LWIP_HOOK_ND6_REDIRECT(message, destination) hook_nd_redirect(message, destination)

/* nameservers.c: a name server that a router or a DHCP server told, the position'th of its message;
 * and that a router is none any more. */
void hook_nd_nameserver(const struct netif *netif, const ip6_addr_t *router,
                        const ip_addr_t *server, u32_t lifetime_s);
void hook_dhcp_nameserver(const struct netif *netif, u8_t position, const ip_addr_t *server);
void hook_nd_router_gone(const struct netif *netif, const ip6_addr_t *router);
#define LWIP_HOOK_ND6_RDNSS(netif, router, server, lifetime) \
    hook_nd_nameserver(netif, router, server, lifetime)
#define LWIP_HOOK_DHCP_DNS_SERVER(netif, position, server) \
    hook_dhcp_nameserver(netif, position, server)
#define LWIP_HOOK_ND6_ROUTER_GONE(netif, router) hook_nd_router_gone(netif, router)

/* services.c: the next address that AutoIP is to try. */
u32_t hook_autoip_address(const struct netif *netif);

/* dhcp_lease.c: how long to wait for the answer to the message that was sent so often. */
u16_t hook_dhcp_backoff_ms(u8_t tries);

/* dhcp_lease.c: what is to stand in a DHCP message besides what lwIP puts there. */
void hook_dhcp_message(const struct netif *netif, const struct dhcp *dhcp, struct dhcp_msg *message,
                       u8_t type, u16_t *options_length);
#define LWIP_HOOK_DHCP_APPEND_OPTIONS(netif, dhcp, state, message, type, length) \
    hook_dhcp_message(netif, dhcp, message, type, length)

/* dhcp_lease.c: whether a reply is from the server that was asked, and about what it was asked for.
 * `server` and `type` are its identifier and its type, 0: none. */
bool hook_dhcp_believe(const struct netif *netif, const struct dhcp *dhcp,
                       const struct dhcp_msg *message, u8_t type, u32_t server);
#define LWIP_HOOK_DHCP_BELIEVE(netif, dhcp, message, type, server) \
    hook_dhcp_believe(netif, dhcp, message, type, server)

/* dhcp_lease.c: whether a host may have an address, in host byte order. */
bool hook_dhcp_is_host(u32_t address);
#define LWIP_HOOK_DHCP_IS_HOST(address) hook_dhcp_is_host(address)

/* dhcp_lease.c: a DHCP option that lwIP itself does not read. */
void hook_dhcp_option(u8_t option, u8_t length, const struct pbuf *packet, u16_t offset);
#define LWIP_HOOK_DHCP_PARSE_OPTION(netif, dhcp, state, message, type, option, length, packet, \
                                    offset) \
    ((void)(message), hook_dhcp_option(option, length, packet, offset))

#endif
