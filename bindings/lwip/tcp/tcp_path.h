/*
 * How long a connection's segments may be: what the peer takes, and what the path carries now.
 * lwIP's configuration includes this, for lwIP's PCB holds it: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_PATH_H
#define PYSTACK_LWIP_TCP_PATH_H

#include <stdbool.h>
#include <stdint.h>

struct ip_addr;
struct netif;
struct tcp_pcb;

struct tcp_path {
    uint16_t peer_mss; /* as the peer's SYN said; 0: it said none */
    uint16_t mtu;      /* that the PCB's mss is made for; 0: not known yet */
};

/* The peer's SYN says what it takes. Returns what that makes of the maximum segment size. */
uint16_t hook_tcp_peer_mss(struct tcp_pcb *pcb, uint16_t said);
/* Something is about to be sent by this interface, or NULL: the maximum segment size follows.
 * Whether it is another one now. */
bool hook_tcp_path(struct tcp_pcb *pcb, struct netif *netif);

#define LWIP_HOOK_TCP_PEER_MSS(pcb, said) hook_tcp_peer_mss(pcb, said)
#define LWIP_HOOK_TCP_PATH(pcb, netif) hook_tcp_path(pcb, netif)

/* The interface that the connection's packets leave by; NULL: none. */
struct netif *tcp_path_route(const struct tcp_pcb *pcb);

/* The MSS of a peer that sent no MSS option (RFC 9293 3.7.1). */
uint16_t tcp_path_unsaid_mss(const struct ip_addr *remote);

#endif
