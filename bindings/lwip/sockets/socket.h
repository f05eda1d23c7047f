/*
 * Handles, and what all kinds of socket have in common.
 */
#ifndef PYSTACK_LWIP_SOCKET_H
#define PYSTACK_LWIP_SOCKET_H

#include "engine.h"
#include "lwip/ip_addr.h"

struct port_socket;

/* One for each kind of socket. NULL: -EOPNOTSUPP (for the options: -ENOPROTOOPT). */
struct socket_kind {
    size_t size; /* of the kind's own struct */
    int (*open)(struct port_socket *socket);
    /* Gives up the socket's hold on lwIP's PCB; the caller frees the struct. */
    void (*close)(struct port_socket *socket);
    int (*bind)(struct port_socket *socket, const ip_addr_t *ip, uint16_t port_number);
    int (*listen)(struct port_socket *socket, int backlog);
    int64_t (*accept)(struct port_socket *socket, struct ps_address *remote);
    /* What connect() looks at before the address. 0: go on; 1: it is connected already. */
    int (*may_connect)(struct port_socket *socket);
    /* ip NULL: dissolve the association. */
    int (*connect)(struct port_socket *socket, const ip_addr_t *ip, uint16_t port_number);
    int64_t (*send)(struct port_socket *socket, const struct ps_piece *pieces, size_t count,
                    uint32_t flags, const struct ps_address *to,
                    const struct ps_send_control *control);
    int64_t (*receive)(struct port_socket *socket, const struct ps_piece *pieces, size_t count,
                       uint32_t flags, struct ps_message *message);
    int (*shutdown)(struct port_socket *socket, uint32_t how);
    int (*name)(struct port_socket *socket, enum ps_name which, struct ps_address *out);
    uint32_t (*ready)(struct port_socket *socket);
    /* Options that socket_option.c does not know. */
    int (*option_get)(struct port_socket *socket, enum ps_option option, int64_t *value);
    int (*option_set)(struct port_socket *socket, enum ps_option option, int64_t value);
    /* A field of struct port_socket was set (socket_option.c): apply it. NULL: nothing to do. */
    int (*option_changed)(struct port_socket *socket, enum ps_option option);
    int (*membership)(struct port_socket *socket, bool join,
                      const struct ps_membership *membership);
    void (*describe)(struct port_socket *socket, struct ps_connection *out);
};

struct queued_error;

/* Errors that were told to a socket, oldest first (error_queue.c). */
struct error_queue {
    struct queued_error *first, *last;
    uint64_t charged; /* bytes, besides what else the receive buffer holds */
    /* IP_RECVERR, IPV6_RECVERR and their RFC 4884: what is queued at all. */
    bool on4, on6, extensions4, extensions6;
};

/* IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, with Linux's numbers. */
enum pmtu_mode {
    PMTU_DONT,      /* packets may be cut anywhere */
    PMTU_WANT,      /* here, to the path's MTU, and those that need no cutting nowhere else */
    PMTU_DO,        /* nowhere: EMSGSIZE */
    PMTU_PROBE,     /* nowhere, and reports don't count */
    PMTU_INTERFACE, /* not here; reports aren't believed */
    PMTU_OMIT,      /* anywhere; reports aren't believed */
};

/* How large a socket's packets may be, by their version. */
struct discovery {
    uint8_t mode4, mode6; /* enum pmtu_mode */
    bool dont_fragment6;  /* IPV6_DONTFRAG */
    uint32_t least6;      /* IPV6_MTU: what is larger is cut; 0: not set */
};

/* Options that mean the same for every kind. A connection has its listener's. */
struct socket_options {
    bool reuse_address, reuse_port, broadcast, v6only, out_of_band_inline, dont_route;
    bool free_bind, transparent;
    uint8_t least_ttl, least_hops; /* of TCP's segments; 0: any */
    int linger_s;                  /* -1: off */
    uint32_t send_buffer, receive_buffer, receive_low_water;
    uint32_t bound_interface; /* SO_BINDTODEVICE; 0: none */
};

/* The head of every socket. A kind's own struct begins with it. */
struct port_socket {
    const struct socket_kind *kind;
    int64_t handle;
    uint8_t family, type;
    uint16_t protocol;
    int error;      /* pending errno (positive), as SO_ERROR gives it */
    int soft_error; /* one that need not last: SO_ERROR gives it where there is no other */
    bool shut_read, shut_write;
    bool is_intercepted; /* of a flow to another host's address; see socket_intercepted() */
    struct socket_options options;
    int priority;
    struct error_queue errors;
    struct discovery discovery;
};

extern const struct socket_kind udp_kind, raw_kind;

/* Room for a kind's struct (zeroed, head filled in), entered in the table of handles.
 * `size` is that of the kind's struct. NULL: no memory. */
struct port_socket *socket_create(const struct socket_kind *kind, size_t size, uint8_t family,
                                  uint8_t type, uint16_t protocol);
/* Undoes socket_create. */
void socket_discard(struct port_socket *socket);
/* NULL for a stale or foreign handle. */
struct port_socket *socket_find(int64_t handle);
/* The next socket at or after *position in the table, which moves past it; NULL: no more. */
struct port_socket *socket_next(size_t *position);
/* Counts a socket among those of accepted flows, until it is discarded. */
void socket_intercepted(struct port_socket *socket);
uint32_t socket_intercepted_count(void);
/* Tells the host that the socket's readiness may have changed. */
void socket_event(struct port_socket *socket);
/* The same when something has arrived, for edge-triggered polling. */
void socket_news(struct port_socket *socket);
/* Notes an error for the next call on the socket, and wakes its waiters. */
void socket_fail(struct port_socket *socket, int error);
/* Takes the pending error: 0 or negative errno. */
int socket_take_error(struct port_socket *socket);
void socket_init(void);
void socket_close_all(void);

/* socket_option.c */
/* IP_MTU and IPV6_MTU; `remote` is NULL where the socket isn't connected: -ENOTCONN. */
int socket_path_mtu(const struct port_socket *socket, const ip_addr_t *remote,
                    const ip_addr_t *local, int64_t *value);

#endif
