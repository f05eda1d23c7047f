/*
 * A UDP socket, as udp.c, udp_port.c and udp_error.c see it.
 */
#ifndef PYSTACK_LWIP_UDP_SOCKET_H
#define PYSTACK_LWIP_UDP_SOCKET_H

#include "lwip/udp.h"
#include "sockets/datagram.h"

struct udp_socket {
    struct datagram_socket base;
    struct udp_pcb *pcb;
    bool port_is_bound, address_is_bound; /* by the user, so they outlive a disconnect */
    bool v4_is_bound;                     /* ::ffff:0.0.0.0 was */
    uint16_t segment_size;                /* what a long send is cut into; 0: it isn't */
    bool cork;                            /* sends are gathered as by MSG_MORE */
    /* What MSG_MORE has gathered, and where it goes. */
    struct pbuf *pending;
    ip_addr_t pending_to;
    uint16_t pending_port;
};

static inline struct udp_socket *udp_of(struct port_socket *head)
{
    return (struct udp_socket *)head;
}

/* udp_receive.c: lwIP's callback, by which a PCB of ours is known. */
void udp_on_datagram(void *argument, struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *from,
                     u16_t port_number);

/* NULL: it is one of lwIP's own. */
static inline struct udp_socket *udp_socket_of_pcb(const struct udp_pcb *pcb)
{
    return pcb->recv == udp_on_datagram ? pcb->recv_arg : NULL;
}

static inline bool udp_is_connected(const struct udp_socket *udp)
{
    return (udp->pcb->flags & UDP_FLAGS_CONNECTED) != 0;
}

/* udp_port.c */
/* Enters the PCB in lwIP's list; port 0: an ephemeral one. */
int udp_take_port(struct udp_socket *udp, const ip_addr_t *ip, uint16_t port_number);
/* The same where it has no port yet. -EAGAIN: all are in use. */
int udp_take_any_port(struct udp_socket *udp);
/* Takes the PCB out of lwIP's list, where an unbound one would match port 0. */
void udp_give_port_back(struct udp_socket *udp);
void udp_set_wildcard(const struct udp_socket *udp, ip_addr_t *ip);

/* udp_error.c */
void udp_icmp_error(const struct icmp_report *report);
/* A packet too big about a datagram of these addresses and ports: whether it can be. `believes`:
 * and of a socket that believes such reports. */
bool udp_may_have_sent(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                       uint16_t remote_port, bool believes);

#endif
