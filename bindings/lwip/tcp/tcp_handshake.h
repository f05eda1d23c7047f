/*
 * Passive handshakes, as tcp_handshake.c, tcp_syn_cookie.c and tcp_listen.c share them.
 */
#ifndef PYSTACK_LWIP_TCP_HANDSHAKE_H
#define PYSTACK_LWIP_TCP_HANDSHAKE_H

#include "tcp/tcp_socket.h"

#define NO_SCALE 0xff

/* What a segment that came for a listener says. */
struct handshake_segment {
    ip_addr_t local, remote;
    u16_t local_port, remote_port;
    u32_t seqno, ackno;
    u16_t length; /* of its text, and one for a SYN, one for a FIN */
    u16_t window;
    u8_t flags;
    /* Its options. */
    bool has_sack, has_timestamp;
    u8_t scale; /* NO_SCALE: none */
    u16_t mss;  /* 0: none */
    u32_t tsval, tsecr;
};

/* A handshake under way: its SYN has come, the ACK of our SYN-ACK has not. */
struct handshake {
    struct handshake *same_bucket;
    struct handshake *earlier, *later; /* among those that were answered as often */
    struct tcp_socket *listener;
    struct tcp_socket *child; /* a socket that it opens; NULL: the listener makes one in the end */
    ip_addr_t local, remote;
    u16_t local_port, remote_port;
    u32_t ours, theirs; /* initial sequence numbers */
    u32_t window;       /* what the SYN-ACK offers */
    u32_t tsrecent;
    u32_t answered_us; /* for the round trip */
    u64_t due_us;      /* when the SYN-ACK is sent again, or given up */
    u32_t refused_ms;  /* when something unacceptable was last answered */
    u16_t mss, peer_window;
    u8_t scale, own_scale; /* NO_SCALE: none was agreed on */
    u8_t retries;
    u8_t refused; /* whether anything was */
    bool has_sack, has_timestamp;
    bool has_ack;  /* its last ACK was there, and its listener waits for data */
    bool is_timed; /* the SYN-ACK was sent once (Karn), and by us as we are (no cookie) */
};

/* tcp_handshake.c */
/* Resets the handshakes of a listener that closes. Their last ACKs would be reset, too, but for a
 * Stack that ends with its listener. */
void handshake_reset_all(struct tcp_socket *listener);
/* Answers a SYN that `listener` took: what comes of it is `child`'s. -ENOMEM. */
int handshake_answer(struct tcp_socket *listener, struct tcp_socket *child,
                     const struct handshake_segment *segment);
/* Resets the handshake of a socket that closes. */
void handshake_abandon(struct tcp_socket *child);
/* A reset in answer to a segment, whether or not it is being taken in. */
void handshake_refuse(const struct handshake_segment *segment);
bool handshake_exists(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                      u16_t remote_port);
/* When a SYN-ACK is due to be sent again; UINT64_MAX: never. */
uint64_t handshake_next_us(void);
void handshake_run(void);
/* The handshake at this position, counted from 0. */
int handshake_at(size_t position, struct ps_connection *out);

/* tcp_handshake_send.c */
/* NULL: there is no way to the peer. */
struct netif *handshake_way(const struct handshake *one);
/* SYN and ACK, or, without the SYN, the ACK that answers what is unacceptable. */
void handshake_send(const struct handshake *one, bool syn, u32_t clock);

/* Whether no more connections may wait for accept(). */
static inline bool tcp_listener_is_full(const struct tcp_socket *listener)
{
    return listener->waiting >= listener->backlog;
}

/* tcp_syn_cookie.c */
#define COOKIE_TSVAL_BITS 0x1f
/* The initial sequence number that keeps the handshake, for which there is no room; and the bits of
 * TSval that keep the rest of it. */
u32_t cookie_make(struct handshake *handshake, u32_t *timestamp_bits);
/* The handshake that the ACK of a cookie completes; false: it is not one of ours. */
bool cookie_check(const struct handshake_segment *segment, struct handshake *out);
/* Whether cookies were sent that may still come back. */
bool cookie_is_awaited(void);

#endif
