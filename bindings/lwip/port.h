/*
 * What the files of the lwIP engine share: the instance, its clock and memory, its
 * tunables, and the shape of a socket.
 *
 * lwIP keeps its state in globals, and so does this port: the host loads a private copy of
 * the image for each Stack.
 */
#ifndef PYSTACK_LWIP_PORT_H
#define PYSTACK_LWIP_PORT_H

#include <errno.h>

#include "engine.h"
#include "lwip/ip_addr.h"
#include "lwip/netif.h"
#include "lwip/pbuf.h"
#include "tunables.h"

struct ps_engine {
    struct ps_hypercalls hypercalls;
    bool short_of_memory; /* since the engine was left last */
    uint64_t now_us;      /* read once at each entry */
    bool open;
    bool silent;    /* sends nothing more: it is being closed abruptly */
    bool answering; /* takes a frame: what it sends meanwhile, others have called for */
};

/* The one instance of this image. */
extern struct ps_engine port;

/* --- memory.c: everything comes from the host's arena -------------------------------- */

/* Zeroed memory, or NULL. */
void *port_allocate(size_t size);
void port_free(void *memory);

/* --- counters.c ---------------------------------------------------------------------- */

/* Counts of the whole Stack that lwIP's MIB has no place for. */
struct port_counts {
    uint64_t assertions; /* LWIP_INPUT_CHECKs that failed */
    uint64_t cookies_sent, cookies_received, cookies_failed;
    uint64_t answers_skipped;                /* to unacceptable segments (tcp_answer.c) */
    uint64_t listen_overflows, listen_drops; /* accept queue full; SYNs and last ACKs dropped */
};
extern struct port_counts port_counts;

/* --- errors.c ------------------------------------------------------------------------ */

/* lwIP's err_t as a negative errno (0 for ERR_OK). */
int port_errno(err_t error);
void port_log(enum ps_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* --- address.c ----------------------------------------------------------------------- */

/* -EINVAL for a family that is neither, or a scope that is no interface. */
int address_to_lwip(const struct ps_address *address, ip_addr_t *out);
/* ANY-type addresses become the wildcard of `family`. */
void address_from_lwip(const ip_addr_t *ip, uint16_t port_number, enum ps_family family,
                       struct ps_address *out);
bool address_is_ours(const ip_addr_t *ip);
#define LOOPBACK_BROADCAST PP_HTONL(IPADDR_LOOPBACK | 0x00ffffffUL)
/* To all of a network of ours, or of the loopback's. */
bool address_is_broadcast(const ip_addr_t *ip);
/* The unspecified address as a destination means this host, as in Linux: the address that the socket
 * is bound to, or the loopback's. */
void address_replace_unspecified(const ip_addr_t *local, ip_addr_t *ip);
/* Whether what is bound to `local` can send to `to`; else what Linux says: an IPv6 socket may be bound
 * to an address of one version and be told one of the other. */
int address_may_reach(const ip_addr_t *local, const ip_addr_t *to);

/* --- interface.c --------------------------------------------------------------------- */

/* Kept here and not in lwIP's MIB, which has 32 bits: a busy minute would wrap them. */
struct port_counters {
    uint64_t in_octets, in_unicast_packets, in_group_packets, in_discards, in_errors;
    uint64_t out_octets, out_unicast_packets, out_group_packets, out_discards;
};

/* A netif of ours. A second IPv4 address on an interface is an alias: a netif of its own
 * that shares the owner's wire, because an lwIP netif has room for one. */
struct port_interface {
    struct netif netif;           /* first: a netif pointer is an interface pointer */
    struct port_interface *owner; /* the interface that an alias belongs to, else NULL */
    struct port_interface *next_alias;
    struct port_counters counters; /* the owner's */
    uint32_t services;             /* PS_IF_DHCP ... */
    uint32_t offloads;             /* enum ps_offloads; the owner's */
    uint8_t conflicts;             /* of addresses tried since one was good; the owner's */
    uint8_t layer;
    uint8_t prefix6[LWIP_IPV6_NUM_ADDRESSES]; /* lwIP itself takes every prefix to be /64 */
    char name[PS_NAME_SIZE];
};

/* NULL when there is none; an alias is never found by index. */
struct netif *interface_by_index(uint32_t index);
/* An alias's owner, else the interface itself. */
struct port_interface *interface_owner(struct port_interface *interface);
/* The index that the user knows a netif by: an alias gives its owner's. */
uint32_t interface_index(const struct netif *netif);
struct netif *interface_loopback(void);
/* Ours: every netif but lwIP's own loopback. */
struct port_interface *interface_of(const struct netif *netif);
/* Tells the host that addresses, link or lease of this netif changed. */
void interface_changed(const struct netif *netif);
void interface_init(void);
void interface_close_all(void);

/* --- frames.c: what a netif of ours sends by -------------------------------------------- */

err_t interface_frame_out(struct netif *netif, struct pbuf *p);
err_t interface_packet_out4(struct netif *netif, struct pbuf *p, const ip4_addr_t *next_hop);
err_t interface_packet_out6(struct netif *netif, struct pbuf *p, const ip6_addr_t *next_hop);

/* --- offload.c -------------------------------------------------------------------------- */

/* Sends a frame of which the far end does a part, if it is such a one. *result: 0, it is on its
 * way; 1, it waits to be merged with the next ones, and is counted later; a negative errno. A
 * chain of at most 32 buffers. */
bool offload_frame_out(struct port_interface *owner, struct pbuf *p, int *result);
/* Sends what is being merged. */
void offload_flush(void);
/* lookup.c: a keyed hash of what a connection is found by. */
uint32_t lookup_hash(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port);

/* sequence.c: the same of whatever it may be, and nobody's guess; 64 bits. */
uint64_t keyed_hash(const uint64_t *words, size_t count);
/* The same of a connection's addresses and ports; one to each purpose. */
uint64_t sequence_hash(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                       u16_t remote_port, uint64_t purpose);

/* offload.c, again: between the two, datagrams that leave are merged, too. */
void offload_burst(bool on);

/* --- socket.c: handles, and what all kinds of socket have in common ------------------- */

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
    /* Options that socket.c does not know. */
    int (*option_get)(struct port_socket *socket, enum ps_option option, int64_t *value);
    int (*option_set)(struct port_socket *socket, enum ps_option option, int64_t value);
    /* A field of struct port_socket was set (option.c): put it into effect. NULL: nothing to do. */
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

/* The head of every socket. A kind's own struct begins with it. */
struct port_socket {
    const struct socket_kind *kind;
    int64_t handle;
    uint8_t family, type;
    uint16_t protocol;
    int error;      /* pending errno (positive), as SO_ERROR gives it */
    int soft_error; /* one that need not last: SO_ERROR gives it where there is no other */
    bool shut_read, shut_write;
    /* Options kept here because they mean the same for every kind. */
    bool reuse_address, reuse_port, broadcast, v6only, out_of_band_inline, dont_route;
    bool free_bind, transparent;
    uint8_t least_ttl, least_hops; /* of TCP's segments; 0: any */
    int priority;
    int linger_s; /* -1: off */
    uint32_t send_buffer, receive_buffer, receive_low_water;
    uint32_t bound_interface; /* SO_BINDTODEVICE; 0: none */
    struct error_queue errors;
    struct discovery discovery;
};

extern const struct socket_kind tcp_kind, udp_kind, raw_kind;

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
/* Tells the host that the socket's readiness may have changed. */
void socket_event(struct port_socket *socket);
/* The same when something has come, for those who watch for edges. */
void socket_news(struct port_socket *socket);
/* Notes an error for the next call on the socket, and wakes its waiters. */
void socket_fail(struct port_socket *socket, int error);
/* Takes the pending error: 0 or negative errno. */
int socket_take_error(struct port_socket *socket);
void socket_init(void);
void socket_close_all(void);

/* --- error_queue.c -------------------------------------------------------------------- */

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

/* Whether the socket asked for the queue of errors about packets to such an address. */
bool errors_wanted(const struct port_socket *socket, const ip_addr_t *remote);
/* Queues an error, if there is room. `data`: where in the packet that begins
 * which the user sent. Tells nobody. */
void errors_report(struct port_socket *socket, const struct icmp_report *report, u16_t data,
                   uint16_t remote_port);
/* The same of a datagram that is too large for its path. */
void errors_too_large(struct port_socket *socket, const ip_addr_t *remote, uint16_t remote_port,
                      uint32_t mtu);
void errors_drop(struct port_socket *socket);

size_t pieces_size(const struct ps_piece *pieces, size_t count);
/* Copies `size` bytes of a pbuf chain from `offset` into the pieces. */
void pieces_from_pbuf(const struct ps_piece *pieces, size_t count, const struct pbuf *p,
                      size_t offset, size_t size);

/* --- tcp.c --------------------------------------------------------------------------- */

/* An ICMP error about a segment of ours (RFC 1122 4.2.3.9): `hard` ends a connect. */
void tcp_icmp_error(const struct icmp_report *report);
/* Segments to come respect this interface's new MTU. */
/* TIME-WAIT and embryonic PCBs that no socket holds; position counts them from 0. */
int tcp_orphan_at(size_t position, struct ps_connection *out);

/* --- tcp_handshake.c -------------------------------------------------------------------- */

/* When a SYN-ACK is due to be sent again; UINT64_MAX: never. */
uint64_t handshake_next_us(void);
void handshake_run(void);

/* --- udp.c, raw.c -------------------------------------------------------------------- */

void udp_icmp_error(const struct icmp_report *report);
/* A packet too big about a segment or datagram of these addresses and ports: whether it can be. */
bool tcp_may_have_sent(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                       uint16_t remote_port, uint32_t sequence);
bool udp_may_have_sent(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                       uint16_t remote_port, bool believes);
/* --- path_mtu.c ------------------------------------------------------------------------- */

/* How the datagram goes that is being handed to lwIP, where its socket says so. */
struct output_rules {
    bool on, dont_fragment; /* the latter: IPv4's flag */
    uint16_t mtu;           /* what is larger is cut */
};
extern struct output_rules output_rules;

uint16_t path_mtu(const ip_addr_t *destination, uint16_t link_mtu);
/* Whether routers are to cut what goes there: one has said less than every path has. */
bool path_mtu_cuts(const ip_addr_t *destination);
/* IP_MTU and IPV6_MTU; `remote` is NULL where the socket isn't connected: -ENOTCONN. */
int path_mtu_get(const struct port_socket *socket, const ip_addr_t *remote, const ip_addr_t *local,
                 int64_t *value);
/* Takes a router's report. */
void path_mtu_reduce(const ip_addr_t *destination, uint32_t mtu);

/* icmp_limit.c: whether an error may be sent now, besides those that were; it counts. */
bool icmp4_is_within_rate(const ip4_addr_t *to, u8_t type, u8_t code);
bool icmp6_is_within_rate(const ip6_addr_t *to, u8_t type);
/* Listens for ICMP errors and passes them to tcp_icmp_error and udp_icmp_error. */
int icmp_error_init(void);
void icmp_error_close(void);

/* --- tables, services: called from open and close ------------------------------------- */

void route_init(void);
/* The next hop to a destination by way of a netif, redirects apart; NULL: none. */
const ip4_addr_t *route_next_hop(struct netif *netif, const ip4_addr_t *destination);
/* Whether an address is on a network of a netif's interface. */
bool route_on_link(const struct netif *netif, const ip4_addr_t *ip);
/* Whether two are on one and the same of them. */
bool route_share_network(const struct netif *netif, const ip4_addr_t *a, const ip4_addr_t *b);

/* --- neighbour.c ------------------------------------------------------------------------ */

struct tcp_pcb;
/* A connection has been without an answer for more than one timeout: its next hop is asked whether
 * it is there (RFC 1122 2.3.2.1). */
void neighbour_doubt(const struct tcp_pcb *pcb);
/* A netif is about to go: so do its entries, those too that were set while it was down. */
void neighbours_forget(struct netif *netif);

/* --- redirect.c ------------------------------------------------------------------------- */

void redirect_init(void);
/* Where a packet to `destination` goes instead of to `next_hop`; that itself if nowhere else. */
const ip4_addr_t *redirect_of(const ip4_addr_t *destination, const ip4_addr_t *next_hop);
/* A redirect has come in by a netif, its checksum right. */
void redirect_follow(struct netif *netif, const ip4_addr_t *from, const ip4_addr_t *destination,
                     const ip4_addr_t *gateway);

/* --- tables, services, again ------------------------------------------------------------- */

void route_interface_removed(const struct netif *netif);
void sysctl_init(void);
void services_init(void);
/* After the sockets and interfaces: ends lookups, gives back what DNS and mDNS hold. */
void services_close(void);
void services_interface_removed(struct netif *netif);

/* --- entries of the engine's table that live in other files ---------------------------- */

int engine_interface_add(ps_engine *, const struct ps_interface *spec);
int engine_interface_remove(ps_engine *, uint32_t index);
int engine_interface_at(ps_engine *, size_t position, struct ps_interface *out);
int engine_interface_set_up(ps_engine *, uint32_t index, bool up);
int engine_interface_set_link(ps_engine *, uint32_t index, bool up);
int engine_interface_set_mtu(ps_engine *, uint32_t index, uint32_t mtu);
int engine_interface_set_mac(ps_engine *, uint32_t index, const uint8_t mac[6]);
int engine_frame_in(ps_engine *, uint32_t index, const uint8_t *frame, size_t size);
int engine_frame_in_offload(ps_engine *, uint32_t index, uint8_t *frame, size_t size,
                            const struct ps_offload *offload, bool given);
bool engine_flow_is_wanted(ps_engine *, uint32_t index, const struct ps_flow *flow);
int engine_address_add(ps_engine *, uint32_t index, const struct ps_address *, bool detect);
int engine_address_remove(ps_engine *, uint32_t index, const struct ps_address *);
int engine_address_at(ps_engine *, size_t position, struct ps_interface_address *out);
int engine_neighbour_add(ps_engine *, const struct ps_neighbour *);
int engine_neighbour_remove(ps_engine *, uint32_t index, const struct ps_address *);
int engine_neighbour_flush(ps_engine *, uint32_t index, enum ps_family family, bool all);
int engine_neighbour_at(ps_engine *, size_t position, struct ps_neighbour *out);
int engine_route_add(ps_engine *, const struct ps_route *);
int engine_route_remove(ps_engine *, const struct ps_route *);
int engine_route_at(ps_engine *, size_t position, struct ps_route *out);
int engine_route_lookup(ps_engine *, const struct ps_address *, struct ps_route *out);
int engine_connection_at(ps_engine *, size_t position, struct ps_connection *out);
int engine_counter_at(ps_engine *, uint32_t index, size_t position, struct ps_counter *out);
int engine_tunable_at(ps_engine *, size_t position, struct ps_tunable *out);
int engine_tunable_set(ps_engine *, const char *name, int64_t value);
int64_t engine_socket_open(ps_engine *, enum ps_family, enum ps_type, int protocol);
int engine_socket_close(ps_engine *, int64_t handle);
int engine_socket_bind(ps_engine *, int64_t handle, const struct ps_address *);
int engine_socket_listen(ps_engine *, int64_t handle, int backlog);
int64_t engine_socket_accept(ps_engine *, int64_t handle, struct ps_address *remote);
int engine_socket_connect(ps_engine *, int64_t handle, const struct ps_address *);
int64_t engine_socket_send(ps_engine *, int64_t handle, const struct ps_piece *, size_t count,
                           uint32_t flags, const struct ps_address *to,
                           const struct ps_send_control *control);
int64_t engine_socket_receive(ps_engine *, int64_t handle, const struct ps_piece *, size_t count,
                              uint32_t flags, struct ps_message *message);
int64_t engine_socket_receive_error(ps_engine *, int64_t handle, const struct ps_piece *pieces,
                                    size_t count, struct ps_message *message,
                                    struct ps_socket_error *error);
int engine_socket_shutdown(ps_engine *, int64_t handle, uint32_t how);
int engine_socket_name(ps_engine *, int64_t handle, enum ps_name which, struct ps_address *out);
int engine_socket_ready(ps_engine *, int64_t handle, uint32_t *mask);
int engine_option_get(ps_engine *, int64_t handle, enum ps_option, int64_t *value);
int engine_option_set(ps_engine *, int64_t handle, enum ps_option, int64_t value);
int engine_membership(ps_engine *, int64_t handle, bool join, const struct ps_membership *);
int engine_tcp_info(ps_engine *, int64_t handle, struct ps_tcp_info *out);
int engine_service_set(ps_engine *, uint32_t index, enum ps_service, bool on, const char *name);
int engine_lease_get(ps_engine *, uint32_t index, struct ps_lease *out);
int engine_nameserver_set(ps_engine *, size_t position, const struct ps_address *);
int engine_nameserver_at(ps_engine *, size_t position, struct ps_nameserver *out);
int64_t engine_resolve_start(ps_engine *, const char *name, enum ps_family);
int engine_resolve_result(ps_engine *, int64_t request, struct ps_address *out, size_t room);
int engine_resolve_cancel(ps_engine *, int64_t request);

#endif
