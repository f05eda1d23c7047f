/*
 * What UDP and raw sockets share: the queue of received datagrams, the way a datagram goes
 * out, the IP-level options, and multicast memberships.
 */
#ifndef PYSTACK_LWIP_DATAGRAM_H
#define PYSTACK_LWIP_DATAGRAM_H

#include "ip/icmp_error.h"
#include "lwip/ip.h"
#include "sockets/socket.h"

struct datagram;
struct membership;

/* The head of udp's and raw's own structs. */
struct datagram_socket {
    struct port_socket head; /* first: a port_socket pointer is one of these */

    struct datagram *first, *last; /* received, oldest first */
    uint64_t charged;              /* bytes that the queue holds, its own overhead included */

    /* How datagrams go out. -1: the stack's default. The IPv4 ones also serve an IPv6
     * socket that sends to a v4-mapped address. */
    int16_t ttl, hop_limit;
    uint8_t multicast_ttl, multicast_hop_limit;
    uint8_t tos, traffic_class;
    bool multicast_loop4, multicast_loop6;
    uint32_t multicast_interface4, multicast_interface6; /* index; 0: by the route */
    uint32_t unicast_interface4, unicast_interface6;
    bool multicast_all4, multicast_all6; /* hears groups that others have joined */
    bool keep_alive;                     /* without a meaning here, and kept, as in Linux */
    bool coalesces;                      /* UDP_GRO */
    uint32_t drops;                      /* datagrams that had no room */

    struct membership *memberships;
};

/* Where a datagram leaves, and what it says of its origin. */
struct datagram_path {
    struct netif *netif;
    ip_addr_t source;
};

/* --- datagram.c ---------------------------------------------------------------------- */

void datagram_open(struct datagram_socket *socket);
/* Leaves the groups and frees the queue. */
void datagram_close(struct datagram_socket *socket);

/* Queues a datagram that lwIP is delivering right now (the ip_current_* values describe
 * it). Takes the pbuf: dropped, with false, when the receive buffer or memory is full. */
bool datagram_enqueue(struct datagram_socket *socket, struct pbuf *p, const ip_addr_t *from,
                      uint16_t port_number, uint16_t local_port);

int64_t datagram_receive(struct port_socket *socket, const struct ps_piece *pieces, size_t count,
                         uint32_t flags, struct ps_message *message);
uint32_t datagram_ready(struct port_socket *socket);
/* Notes the directions; the kind says whether that is an error, being unconnected. */
void datagram_shut(struct port_socket *socket, uint32_t how);
/* FIONREAD: the next datagram's length. */
uint32_t datagram_next_size(const struct datagram_socket *socket);
uint32_t datagram_queued(const struct datagram_socket *socket);

int datagram_option_get(struct port_socket *socket, enum ps_option option, int64_t *value);
int datagram_option_set(struct port_socket *socket, enum ps_option option, int64_t value);

/* --- datagram_send.c ------------------------------------------------------------------- */

/* Reads a destination given by the user of a socket that is bound to `local`. */
int datagram_destination(const struct port_socket *socket, const struct ps_address *to,
                         const ip_addr_t *local, const struct ps_send_control *control,
                         ip_addr_t *ip);

/* Chooses interface and source address for `to`, and gives `to` the interface's zone where
 * its scope needs one. `local` is the address that the socket is bound to. -EACCES for a
 * broadcast that the socket may not send. */
int datagram_route(const struct datagram_socket *socket, const ip_addr_t *local, ip_addr_t *to,
                   const struct ps_send_control *control, uint32_t flags,
                   struct datagram_path *out);

/* Whether an address that is to be connected to is on a link that is known: -EINVAL. */
int datagram_check_link(const struct datagram_socket *socket, const ip_addr_t *to);

/* The checks of the address that a socket is to be bound to. */
int datagram_check_bind(const struct port_socket *socket, const ip_addr_t *ip);

/* TTL or hop limit, and TOS or traffic class, of a datagram to `to`; -EINVAL. */
int datagram_ttl(const struct datagram_socket *socket, const ip_addr_t *to,
                 const struct ps_send_control *control);
int datagram_tos(const struct datagram_socket *socket, const ip_addr_t *to,
                 const struct ps_send_control *control);
/* Whether lwIP is to loop a copy of a multicast back. */
bool datagram_loops(const struct datagram_socket *socket, const ip_addr_t *to,
                    const struct netif *netif);

/* A contiguous copy of the pieces with room for headers in front, or NULL. */
struct pbuf *datagram_payload(pbuf_layer layer, const struct ps_piece *pieces, size_t count,
                              size_t size);

/* How many frames the wire behind `netif` had no room for. */
uint64_t datagram_discards(const struct netif *netif);
/* The result of sending a datagram by `netif`: one that the wire had no room for counts as sent and
 * is lost, as on Linux (send(2), ENOBUFS). `discards`: the count before it. */
int datagram_sent(err_t error, const struct netif *netif, uint64_t discards);

/* Whether a message of this size may go out at all, whatever its destination: 0, or why not. */
int datagram_may_send(size_t size, uint32_t flags);
/* The same of one whose way is known: what the socket itself has against it, as Linux asks late. */
int datagram_may_go(struct port_socket *head);

/* --- multicast.c ----------------------------------------------------------------------- */

int multicast_membership(struct port_socket *socket, bool join,
                         const struct ps_membership *membership);
void multicast_leave_all(struct datagram_socket *socket);
/* Whether the socket wants what `from` sent to this group: what it joined itself, and any
 * group of the host's that it said nothing about (Linux's IP_MULTICAST_ALL). */
bool multicast_accepts(const struct datagram_socket *socket, const ip_addr_t *group,
                       const ip_addr_t *from, uint32_t interface);

/* --- datagram_mtu.c --------------------------------------------------------------------- */

/* The largest packet that goes to `to` in one piece, or in pieces of that size. `size`: of the one
 * that is to go. */
uint16_t datagram_mtu(const struct port_socket *socket, const ip_addr_t *to,
                      const struct netif *netif, size_t size);
/* Whether a packet of so many bytes, IP header included, may go; then `output_rules` are set for
 * it, until datagram_sent(). -EMSGSIZE: it may not be cut, and the queue of errors has it. */
int datagram_fit(struct port_socket *socket, const ip_addr_t *to, uint16_t port_number,
                 const struct netif *netif, const struct ps_send_control *control, size_t size);
/* -EMSGSIZE for a datagram that no packet could hold; the queue of errors has the path's MTU. */
int datagram_too_large(struct datagram_socket *socket, const ip_addr_t *local, const ip_addr_t *to,
                       uint16_t port_number, const struct ps_send_control *control);
/* Whether a socket believes reports that its packets to `remote` are too large. */
bool datagram_believes(const struct port_socket *socket, const ip_addr_t *remote);
/* Whether an error is for the socket at all, and whether it is told without the queue of errors,
 * where the socket is connected: both depend on how it finds the MTU, and are as Linux has them. */
bool datagram_hears(const struct port_socket *socket, const struct icmp_report *report);
bool datagram_is_hard(const struct port_socket *socket, const struct icmp_report *report);

#endif
