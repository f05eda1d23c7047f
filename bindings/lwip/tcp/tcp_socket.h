/*
 * A TCP socket, as the files of this room see it.
 */
#ifndef PYSTACK_LWIP_TCP_SOCKET_H
#define PYSTACK_LWIP_TCP_SOCKET_H

#include "ip/icmp_error.h"
#include "lwip/priv/tcp_priv.h"
#include "sockets/socket.h"

/* The slot among a PCB's extension arguments that holds its socket. */
#define OWNER 0

/* What tcp_buffer.c goes by. */
struct tcp_buffer_flow {
    uint32_t since_us;
    uint64_t passed, before, most; /* bytes since then, in the round trip before, the most in two */
};
struct tcp_buffer_tuning {
    bool receive_is_fixed, send_is_fixed; /* the user has set the size */
    uint32_t window_end, window_at_us, rtt_us, send_rtt_us;
    struct tcp_buffer_flow received, sent;
};

/* Urgent data that came (tcp_urgent.c). */
struct tcp_urgent {
    bool announced, awaited; /* the peer has sent an urgent pointer; its byte is still to come */
    bool has_byte, has_mark; /* the byte is unread; so is what follows it */
    uint8_t byte;
    uint64_t position, mark; /* of the byte in the stream as it came, and as it is read */
    uint64_t removed;        /* bytes that were taken out of the stream */
};

/* TCP's own options. A connection has its listener's. */
struct tcp_options {
    bool no_delay, cork, keep_alive;
    bool slow_acks;           /* TCP_QUICKACK was set to 0 */
    s16_t ttl, hop_limit;     /* -1: the stack's default */
    u8_t tos, traffic_class;  /* without the bits of ECN */
    u8_t syn_retries;         /* 0: as the sysctl says */
    s32_t linger2_s;          /* -1: FIN-WAIT-2 ends at once; 0: as the sysctl says */
    u32_t not_sent_low_water; /* 0: none */
    u32_t window_clamp;       /* 0: none */
    u32_t keep_idle_ms, keep_interval_ms, keep_count;
    u32_t user_timeout_ms; /* 0: none */
    u16_t largest_segment; /* TCP_MAXSEG; 0: not set */
};

struct handshake;
struct handshake_segment;

struct tcp_socket {
    struct port_socket head;
    /* NULL when there is none: not yet, or lwIP freed it (an error, or TIME-WAIT is over). */
    struct tcp_pcb *pcb;
    enum { TCP_FRESH, TCP_LISTENING, TCP_CONNECTING, TCP_CONNECTED, TCP_OVER } phase;
    bool connect_told;       /* a call to connect has heard that it succeeded */
    bool is_spent;           /* shut down when its connect had failed: it connects no more */
    ip_addr_t local, remote; /* kept for after the PCB has gone */
    ip_addr_t bound_to;      /* what bind() was given, else the wildcard */
    u16_t local_port, remote_port;
    bool bound, port_is_bound; /* it has a port, and one that bind() was given */
    bool end_of_stream;
    struct tcp_options options;
    u8_t defer_retries; /* a listener's TCP_DEFER_ACCEPT, as SYN-ACKs that time out; 0: off */
    u32_t fast_open;

    /* Received and not yet read: single buffers linked by `next`, `tot_len` meaningless. */
    struct pbuf *first, *last;
    u16_t first_offset; /* bytes of `first` already read */
    u16_t last_room;    /* bytes that may be put behind those of `last` */
    size_t queued;      /* bytes */
    u64_t received, sent;
    u64_t received_us; /* when the last of it came */
    bool pushed;       /* and it was the end of what its sender had (PSH) */
    u32_t send_limit;  /* the PCB's snd_buf when nothing waits */
    struct tcp_buffer_tuning tuning;
    struct tcp_urgent urgent;

    /* A listener: connections that wait for accept(), and those still shaking hands. */
    struct tcp_socket *waiting_first, *waiting_last, *waiting_next;
    u32_t waiting, embryos, backlog;
    /* One that is for other hosts' addresses: gets what no handshake is under way for. */
    void (*take)(const struct handshake_segment *segment);

    /* The handshake that is under way for it, and opens it; NULL: none. */
    struct handshake *shaking;
};

static inline struct tcp_socket *tcp_socket_of(struct port_socket *socket)
{
    return (struct tcp_socket *)socket;
}

extern const struct socket_kind tcp_kind;

/* tcp_owner.c */
void tcp_own(struct tcp_socket *socket, struct tcp_pcb *pcb);
/* After this lwIP calls nothing of the socket's any more. */
void tcp_disown(struct tcp_socket *socket);
/* Whether the segment that comes in has made more hops than the socket lets any. */
bool tcp_comes_too_far(const struct tcp_socket *socket);

u8_t tcp_ttl(const struct tcp_socket *socket, bool is_v6);
u8_t tcp_tos(const struct tcp_socket *socket, bool is_v6);
/* Bytes handed to send and not yet acknowledged. */
u32_t tcp_unacknowledged(const struct tcp_socket *socket);
u32_t tcp_send_room(const struct tcp_socket *socket);
/* Bytes handed to send that have never left. */
u32_t tcp_not_sent(const struct tcp_socket *socket);
/* Whether there is room to send, and few enough bytes wait for that. */
bool tcp_is_writable(const struct tcp_socket *socket);

/* tcp_events.c */
void tcp_callbacks(struct tcp_socket *socket);
/* A PCB for a socket that has none. -ENOBUFS. */
int tcp_need_pcb(struct tcp_socket *socket);
/* Its connection has ended, or never came to be. */
void tcp_socket_over(struct tcp_socket *socket);

/* tcp_socket.c */
/* What a new socket has before it has a PCB. */
void tcp_socket_init(struct tcp_socket *socket);
u32_t tcp_socket_ready(struct port_socket *head);
/* An ICMP error about a segment of ours (RFC 1122 4.2.3.9): `hard` ends a connect. */
void tcp_icmp_error(const struct icmp_report *report);
/* A packet too big about a segment of these addresses and ports: whether it can be. */
bool tcp_may_have_sent(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                       uint16_t remote_port, uint32_t sequence);

/* tcp_port.c */
/* Binds to a free port. -EADDRNOTAVAIL: there is none. */
int tcp_bind_ephemeral(struct tcp_pcb *pcb);
/* Binds to a port with no connection to the remote end, or -EADDRNOTAVAIL. */
int tcp_bind_toward(struct tcp_pcb *pcb, const ip_addr_t *remote, uint16_t remote_port);
/* Whether another socket keeps this one from binding or listening there. */
bool tcp_port_is_taken(const struct tcp_socket *self, const ip_addr_t *ip, uint16_t port_number);

/* tcp_listen.c */
/* The PCB is the socket's, and its handshake is done. */
void tcp_socket_connected(struct tcp_socket *socket, struct tcp_pcb *pcb);
int tcp_socket_listen(struct port_socket *head, int backlog);
int64_t tcp_socket_accept(struct port_socket *head, struct ps_address *remote);
void tcp_listener_close(struct tcp_socket *socket);

/* tcp_data.c */
err_t tcp_on_receive(void *argument, struct tcp_pcb *pcb, struct pbuf *p, err_t error);
err_t tcp_on_sent(void *argument, struct tcp_pcb *pcb, u16_t size);
int64_t tcp_socket_send(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                        uint32_t flags, const struct ps_address *to,
                        const struct ps_send_control *control);
int64_t tcp_socket_receive(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                           uint32_t flags, struct ps_message *message);
void tcp_drop_received(struct tcp_socket *socket);

/* tcp_urgent.c */
/* Takes the urgent byte out of what has come, if it is there and not for the stream: how many. */
size_t tcp_urgent_received(struct tcp_socket *socket, struct pbuf *p, size_t size);
int64_t tcp_urgent_receive(struct tcp_socket *socket, const struct ps_piece *pieces, size_t count,
                           bool peek);
/* How many bytes may be read at once: up to the mark. */
size_t tcp_urgent_limit(struct tcp_socket *socket);
/* Whether the next byte is the one after urgent data. */
bool tcp_urgent_is_next(const struct tcp_socket *socket);
/* Whether MSG_OOB would give it, or it is among what recv gives. */
bool tcp_urgent_is_unread(const struct tcp_socket *socket);
/* The last byte that was written is urgent. */
void tcp_urgent_sent(struct tcp_pcb *pcb);

/* tcp_buffer.c */
/* Makes the window what the buffer has room for, and tells the peer, if that is worth it. */
void tcp_open_window(struct tcp_socket *socket);
/* `size` bytes are being read; the window has not grown by them yet. */
void tcp_tune_receive_buffer(struct tcp_socket *socket, size_t size);
/* An acknowledgement came. */
void tcp_tune_send_buffer(struct tcp_socket *socket, size_t size);

/* tcp_option.c */
/* What the receive buffer lets the window be. */
static inline u32_t tcp_window_most(const struct tcp_socket *socket)
{
    return socket->options.window_clamp != 0
               ? LWIP_MIN(socket->options.window_clamp, socket->head.options.receive_buffer)
               : socket->head.options.receive_buffer;
}
int tcp_option_get(struct port_socket *head, enum ps_option option, int64_t *value);
int tcp_option_set(struct port_socket *head, enum ps_option option, int64_t value);
int tcp_option_changed(struct port_socket *head, enum ps_option option);
void tcp_apply_options(struct tcp_socket *socket);

/* tcp_listing.c */
u8_t tcp_state_number(enum tcp_state state);
void tcp_socket_describe(struct port_socket *head, struct ps_connection *out);
/* What no socket holds (orphans, TIME-WAIT, handshakes); position counts from 0. */
int tcp_orphan_at(size_t position, struct ps_connection *out);

#endif
