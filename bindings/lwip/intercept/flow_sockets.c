/*
 * The sockets of flows that were accepted. Each is bound to the other host's address and connected
 * to the source, and is found by both ends alone: what its owner binds meanwhile is not in its way.
 */
#include <errno.h>

#include "intercept/flows.h"
#include "lwip/ip.h"
#include "lwip/udp.h"
#include "sockets/udp_socket.h"

static uint8_t family_of(const struct flow *flow)
{
    return IP_IS_V6_VAL(flow->local) ? PS_INET6 : PS_INET;
}

int64_t flow_tcp_socket(struct tcp_socket *listener, const struct flow *flow)
{
    struct port_socket *head =
        socket_create(&tcp_kind, tcp_kind.size, family_of(flow), PS_STREAM, IP_PROTO_TCP);
    if (head == NULL)
        return -ENOMEM;
    struct tcp_socket *socket = tcp_socket_of(head);
    tcp_socket_init(socket);
    head->options.transparent = true;
    head->options.v6only = head->family == PS_INET6;
    ip_addr_copy(socket->bound_to, flow->local);
    ip_addr_copy(socket->local, flow->local);
    ip_addr_copy(socket->remote, flow->remote);
    socket->local_port = flow->local_port;
    socket->remote_port = flow->remote_port;
    socket->phase = TCP_CONNECTING;
    int result = handshake_answer(listener, socket, &flow->syn);
    if (result < 0) {
        socket_discard(head);
        return result;
    }
    socket_intercepted(head);
    return head->handle;
}

/* Hands over a datagram that came before the socket was there, as if it came now. */
static void deliver(struct udp_socket *udp, const struct flow *flow, struct held *held)
{
    struct netif *netif = netif_get_by_index(flow->netif);
    struct pbuf *packet = held->packet;
    struct ip_globals now = ip_data;
    if (netif == NULL)
        return; /* it was detached */
    memset(&ip_data, 0, sizeof ip_data);
    ip_data.current_netif = ip_data.current_input_netif = netif;
    if (IP_IS_V6_VAL(flow->local))
        ip_data.current_ip6_header = packet->payload;
    else
        ip_data.current_ip4_header = packet->payload;
    ip_data.current_ip_header_tot_len = held->headers;
    ip_addr_copy(ip_data.current_iphdr_dest, flow->local);
    ip_addr_copy(ip_data.current_iphdr_src, flow->remote);
    pbuf_ref(packet);
    pbuf_remove_header(packet, held->headers + (size_t)UDP_HLEN);
    udp_on_datagram(udp, udp->pcb, packet, &flow->remote, flow->remote_port);
    ip_data = now;
}

int64_t flow_udp_socket(const struct flow *flow)
{
    struct port_socket *head =
        socket_create(&udp_kind, udp_kind.size, family_of(flow), PS_DATAGRAM, IP_PROTO_UDP);
    if (head == NULL)
        return -ENOMEM;
    int result = udp_kind.open(head);
    if (result < 0) {
        socket_discard(head);
        return result;
    }
    struct udp_socket *udp = udp_of(head);
    head->options.transparent = true;
    head->options.v6only = head->family == PS_INET6;
    udp->port_is_bound = udp->address_is_bound = true;
    ip_addr_copy(udp->pcb->local_ip, flow->local);
    udp->pcb->local_port = flow->local_port;
    udp_connect(udp->pcb, &flow->remote, flow->remote_port);
    socket_intercepted(head);
    for (struct held *held = flow->first; held != NULL; held = held->next)
        deliver(udp, flow, held);
    return head->handle;
}
