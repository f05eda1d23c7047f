/*
 * ICMP errors about packets of ours.
 */
#ifndef PYSTACK_LWIP_ICMP_ERROR_H
#define PYSTACK_LWIP_ICMP_ERROR_H

#include "lwip/ip_addr.h"
#include "lwip/pbuf.h"

/* An ICMP error that is being taken in (the ip_current_* values describe its packet), about a
 * packet of ours. */
struct icmp_report {
    int error; /* errno, positive */
    bool hard; /* ends a connect, and is told to a connected datagram socket */
    uint8_t type, code;
    uint32_t info; /* as in struct ps_socket_error */
    struct pbuf *packet;
    u16_t message, quoted, transport; /* where in it the ICMP message and the packet begin, and
                                         what follows that one's IP header */
    ip_addr_t local, remote;
    uint8_t protocol;
    uint16_t local_port, remote_port;
    uint32_t sequence; /* TCP's */
};

/* Senders of packets, told of errors about them: they are in rooms above this one. */
struct icmp_error_users {
    void (*raw)(const struct icmp_report *report);
    void (*tcp)(const struct icmp_report *report);
    void (*udp)(const struct icmp_report *report);
    void (*dns)(uint16_t local_port, const ip_addr_t *server);
    /* Whether there may have been such a packet. */
    bool (*raw_may_have_sent)(uint8_t protocol);
    bool (*tcp_may_have_sent)(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                              uint16_t remote_port, uint32_t sequence);
    bool (*udp_may_have_sent)(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                              uint16_t remote_port, bool believes);
    /* Whether packets may be sent in the name of other hosts. */
    bool (*speaks_for_others)(void);
};

/* Listens for ICMP errors. -ENOMEM. */
int icmp_error_init(const struct icmp_error_users *users);
void icmp_error_close(void);

#endif
