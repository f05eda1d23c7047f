/*
 * Flows to other hosts' addresses, as the files of this room share them.
 */
#ifndef PYSTACK_LWIP_FLOWS_H
#define PYSTACK_LWIP_FLOWS_H

#include "engine.h"
#include "lwip/pbuf.h"
#include "tcp/tcp_handshake.h"

/* A packet that waits for what is decided: whole, in one piece. */
struct held {
    struct held *next;
    struct pbuf *packet;
    u16_t headers; /* bytes of its IP headers */
};

/* One that nobody has decided on, or that was met with silence and is remembered for that. */
struct flow {
    struct flow *same_bucket;
    struct flow *older, *newer; /* in its queue */
    u64_t id;
    u64_t due_us; /* when it is forgotten */
    u32_t place;  /* flow_place() */
    ip_addr_t local, remote;
    u16_t local_port, remote_port; /* ICMP: identifier and sequence number of the request */
    u8_t protocol;
    u8_t netif; /* lwIP's index of the interface that it came by */
    bool is_dropped;
    struct handshake_segment syn; /* TCP: the SYN that came last */
    struct held *first, *last;
    u32_t held, bytes; /* packets, and what they take */
};

/* What asks for them; see struct ps_intercept. */
struct flow_limits {
    uint32_t most_undecided, most_open, decide_ms;
};

/* flows.c */
/* Where in the table one is, to be worked out once: a flood pays for it with each SYN. */
u32_t flow_place(u8_t protocol, const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                 u16_t remote_port);
struct flow *flow_find(u32_t place, u8_t protocol, const ip_addr_t *local, u16_t local_port,
                       const ip_addr_t *remote, u16_t remote_port);
/* The next one, by whether it was given out: flow_next() marks it so. NULL: all were. */
struct flow *flow_waiting(void);
struct flow *flow_next(void);
struct flow *flow_by_id(u64_t id);
/* Enters one that the packet being taken in begins; the oldest makes room for it. NULL: no memory.
 */
struct flow *flow_add(const struct flow *made, const struct flow_limits *limits);
/* Keeps a packet, its IP header in front, as long as there is room for it. */
bool flow_hold(struct flow *flow, const struct pbuf *packet, u16_t headers);
/* From now on it is silent, as long as it goes on. */
void flow_silence(struct flow *flow, const struct flow_limits *limits);
/* Something came for a silent one. */
void flow_stays_silent(struct flow *flow);
void flow_forget(struct flow *flow);
void flow_forget_all(void);
/* When the first of them is due; UINT64_MAX: never. */
u64_t flow_next_us(void);
void flow_expire(void);
void flow_figures(struct ps_intercept_figures *out);

/* flow_owner.c */
/* Whether the packet that is being taken in is of a socket, or of what is left of one; its
 * transport header stands after `headers` bytes. */
bool flow_is_of_socket(const struct pbuf *packet, u8_t protocol, u16_t headers);
/* Whether an ICMP message is an error about a packet of such a socket's, which it quotes. */
bool flow_is_error_of_socket(const struct pbuf *packet, bool is_v6, u16_t headers);

/* flow_answers.c */
/* An ICMP error about its first packet. -EINVAL: none says that. */
int flow_tell(const struct flow *flow, int error);
/* Answers the echo request that it is. */
void flow_echo(const struct flow *flow);

/* flow_sockets.c: a socket for it, entered in the table; negative: why not. */
int64_t flow_tcp_socket(struct tcp_socket *listener, const struct flow *flow);
int64_t flow_udp_socket(const struct flow *flow);

#endif
