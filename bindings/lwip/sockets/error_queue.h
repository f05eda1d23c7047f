/*
 * The errors that a socket asked to be told one by one.
 */
#ifndef PYSTACK_LWIP_ERROR_QUEUE_H
#define PYSTACK_LWIP_ERROR_QUEUE_H

#include "ip/icmp_error.h"
#include "sockets/socket.h"

struct queued_error {
    struct queued_error *next;
    struct ps_message message;
    struct ps_socket_error error;
    uint32_t charge;
    u16_t size;
    uint8_t data[];
};

/* error_queue.c */
/* A new error at the end of the queue; NULL: there is no room. */
struct queued_error *error_queue_add(struct port_socket *socket, const ip_addr_t *remote,
                                     uint16_t remote_port, u16_t size);
/* The oldest, which is the caller's to free. */
struct queued_error *error_queue_take(struct error_queue *queue);
void errors_drop(struct port_socket *socket);
/* Whether the socket asked for the queue of errors about packets to such an address. */
bool errors_wanted(const struct port_socket *socket, const ip_addr_t *remote);

/* error_report.c */
/* Queues an error, if there is room. `data`: where in the packet that begins
 * which the user sent. Tells nobody. */
void errors_report(struct port_socket *socket, const struct icmp_report *report, u16_t data,
                   uint16_t remote_port);
/* The same of a datagram that is too large for its path. */
void errors_too_large(struct port_socket *socket, const ip_addr_t *remote, uint16_t remote_port,
                      uint32_t mtu);

#endif
