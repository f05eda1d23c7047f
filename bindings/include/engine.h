/*
 * What a host asks of a protocol stack.
 *
 * An engine is a loadable module that exports one symbol, `ps_engine_table`. One image
 * holds one instance, and the host loads a private copy of the file for each Stack; or it
 * says PS_ENGINE_SHARED and serves them all. Calls into one instance are serialised by the
 * host, those into several of a shared image are not. Each returns a value >= 0 or a negative
 * errno, and may end in the hypercall `panic` instead. No pointer of the engine's crosses this
 * border: sockets are handles with generations, so that a stale one is -EBADF and never
 * another socket's.
 */
#ifndef PYSTACK_ENGINE_H
#define PYSTACK_ENGINE_H

#include <stdbool.h>

#include "addresses.h"
#include "hypercalls.h"
#include "intercept.h"
#include "qdisc.h"

#define PS_ENGINE_VERSION 10
#define PS_ENGINE_SYMBOL "ps_engine_table"

#define PS_NAME_SIZE 16    /* an interface's name, terminator included */
#define PS_LABEL_SIZE 64   /* a counter's name, terminator included */
#define PS_TUNABLE_SIZE 80 /* a tunable's */
#define PS_HOST_SIZE 256   /* a DNS name, terminator included */
#define PS_ANCILLARY_SIZE 256

/* --- interfaces --------------------------------------------------------------------- */

enum ps_layer { PS_LAYER_ETHERNET = 2, PS_LAYER_IP = 3 };

enum ps_interface_flag {
    PS_IF_UP = 1,
    PS_IF_LINK = 2,
    PS_IF_LOOPBACK = 4,
    PS_IF_BROADCAST = 8,
    PS_IF_DHCP = 16,
    PS_IF_DHCP6 = 32,
    PS_IF_SLAAC = 64,
    PS_IF_AUTOIP = 128,
    PS_IF_MDNS = 256,
};

struct ps_interface {
    uint32_t index;    /* > 0, as if_nametoindex gives it; the loopback interface has 1 */
    uint32_t mtu;      /* bytes of IP packet */
    uint32_t flags;    /* enum ps_interface_flag */
    uint32_t offloads; /* enum ps_offloads: what may be left undone in frames that go out */
    uint8_t layer;     /* enum ps_layer */
    uint8_t mac[6];
    char name[PS_NAME_SIZE];
};

enum ps_address_state {
    PS_ADDRESS_TENTATIVE,
    PS_ADDRESS_PREFERRED,
    PS_ADDRESS_DEPRECATED,
    PS_ADDRESS_DUPLICATE
};
enum ps_address_origin {
    PS_ORIGIN_STATIC,
    PS_ORIGIN_DHCP,
    PS_ORIGIN_SLAAC,
    PS_ORIGIN_AUTOIP,
    PS_ORIGIN_LINK_LOCAL
};

/* The user's own have the origin PS_ORIGIN_STATIC and no interface. */
struct ps_nameserver {
    struct ps_address address;
    uint32_t interface; /* on which it was learnt */
    uint8_t origin;     /* enum ps_address_origin */
};

struct ps_interface_address {
    uint32_t interface;
    struct ps_address address;
    uint8_t state;    /* enum ps_address_state */
    uint8_t origin;   /* enum ps_address_origin */
    uint32_t valid_s; /* 0xffffffff: for ever */
    uint32_t preferred_s;
};

struct ps_lease {
    struct ps_address address, server, gateway, dns[4];
    uint32_t obtained_s; /* seconds ago */
    uint32_t lease_s, renew_s, rebind_s;
    uint8_t state; /* enum ps_lease_state */
    char hostname[PS_LABEL_SIZE], domain[PS_HOST_SIZE];
};
enum ps_lease_state {
    PS_LEASE_OFF,
    PS_LEASE_SEARCHING,
    PS_LEASE_CHECKING,
    PS_LEASE_BOUND,
    PS_LEASE_RENEWING,
    PS_LEASE_REBINDING
};

/* --- tables ------------------------------------------------------------------------- */

enum ps_neighbour_state {
    PS_NEIGHBOUR_INCOMPLETE,
    PS_NEIGHBOUR_REACHABLE,
    PS_NEIGHBOUR_STALE,
    PS_NEIGHBOUR_DELAY,
    PS_NEIGHBOUR_PROBE,
    PS_NEIGHBOUR_PERMANENT,
};

struct ps_neighbour {
    uint32_t interface;
    struct ps_address address;
    uint8_t mac[6];
    uint8_t state; /* enum ps_neighbour_state */
    uint8_t router;
    uint32_t age_s; /* IPv4: since last confirmed */
};

enum ps_route_origin { PS_ROUTE_STATIC, PS_ROUTE_CONNECTED, PS_ROUTE_DHCP, PS_ROUTE_RA };

struct ps_route {
    struct ps_address destination; /* with prefix; 0.0.0.0/0 or ::/0 is the default */
    struct ps_address gateway;     /* family 0: on link */
    struct ps_address source;      /* preferred source; family 0: the interface's */
    uint32_t interface;
    uint32_t metric; /* lower wins among equal prefixes */
    uint8_t origin;  /* enum ps_route_origin */
};

enum ps_tcp_state { /* the numbers of Linux's TCP_INFO */
                    PS_TCP_ESTABLISHED = 1,
                    PS_TCP_SYN_SENT,
                    PS_TCP_SYN_RECEIVED,
                    PS_TCP_FIN_WAIT_1,
                    PS_TCP_FIN_WAIT_2,
                    PS_TCP_TIME_WAIT,
                    PS_TCP_CLOSED,
                    PS_TCP_CLOSE_WAIT,
                    PS_TCP_LAST_ACK,
                    PS_TCP_LISTEN,
                    PS_TCP_CLOSING,
};

/* One row of netstat. */
struct ps_connection {
    int64_t handle; /* -1: no socket holds it (TIME-WAIT, not yet accepted, closed by its owner) */
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP, or a raw socket's own */
    uint8_t type;     /* enum ps_type */
    uint8_t state;    /* enum ps_tcp_state; 0 where it has none */
    struct ps_address local, remote;
    uint32_t receive_queue, send_queue; /* bytes; a listener: waiting connections, backlog */
};

struct ps_counter {
    char name[PS_LABEL_SIZE]; /* MIB-2 style, such as "tcp.in_segments" */
    uint64_t value;
};

enum ps_tunable_flag {
    PS_TUNABLE_TEXT = 1, /* is not one number: tunable_text has its value, and its initial one */
    PS_TUNABLE_UNBOUNDED = 2, /* the engine can't say from where to where it goes */
    PS_TUNABLE_READ_ONLY = 4,
    PS_TUNABLE_WRITE_ONLY = 8, /* has no value; isn't listed */
};

struct ps_tunable {
    char name[PS_TUNABLE_SIZE];
    uint32_t flags; /* enum ps_tunable_flag */
    int64_t value, minimum, maximum, initial;
    char description[200]; /* one line: what, unit, RFC */
};

/* What a TCP segment or a datagram that comes in belongs to. `local` is where it goes. */
struct ps_flow {
    struct ps_address local, remote;
    uint8_t protocol; /* IPPROTO_TCP, IPPROTO_UDP or IPPROTO_UDPLITE */
    bool opens;       /* the segment opens a connection: a listener may want it */
};

/* --- sockets ------------------------------------------------------------------------ */

enum ps_type { PS_STREAM = 1, PS_DATAGRAM = 2, PS_RAW = 3, PS_SEQPACKET = 5 };

enum ps_ready {
    PS_READY_READ = 1,     /* data, a connection, or end of stream */
    PS_READY_WRITE = 2,    /* room to send, or a connect that has ended */
    PS_READY_ERROR = 4,    /* an error is pending */
    PS_READY_HANGUP = 8,   /* both directions are over, or there never was a connection */
    PS_READY_DRAINED = 16, /* all that was sent has been acknowledged (for linger) */
    PS_READY_URGENT = 32,  /* urgent data that nobody has read */
    PS_READY_ENDED = 64,   /* nothing more will come, or is wanted: also PS_READY_READ */
    PS_READY_NEWS = 128,   /* in events: something came, whether or not the rest has changed */
};

enum ps_message_flag {
    PS_MSG_PEEK = 1,
    PS_MSG_TRUNC = 2, /* in: return a datagram's whole length; out: it was cut */
    PS_MSG_MORE = 4,  /* more comes at once: don't send a short segment yet */
    PS_MSG_OOB = 8,
    PS_MSG_DONTROUTE = 16,
    PS_MSG_CTRUNC = 32,
    PS_MSG_WHOLE = 64, /* with PS_MSG_PEEK on a stream: as much as is asked for, if it may come */
    PS_MSG_REST = 128, /* on a stream, where bytes have come before: what ends them is left to the
                          next call */
    PS_MSG_EOR = 256,  /* in and out: here a record ends (SCTP) */
    PS_MSG_NOTIFICATION = 512, /* out: it is no data but news of the connection (SCTP) */
};

/* What comes with a received datagram. */
struct ps_message {
    struct ps_address from;
    struct ps_address to;     /* the destination it was sent to */
    uint32_t interface;       /* the one that it arrived on */
    uint32_t flags;           /* out: PS_MSG_TRUNC, PS_MSG_EOR, PS_MSG_NOTIFICATION */
    uint8_t ttl;              /* or hop limit */
    uint8_t tos;              /* or traffic class */
    uint64_t time_us;         /* when it came, by the clock that `enter` reads */
    uint32_t drops;           /* datagrams that the socket had no room for, before this one */
    uint16_t segment_size;    /* it is several, each but the last of so many bytes; 0: it is one */
    uint16_t ancillary_bytes; /* what option_set_raw has asked for: Linux's struct cmsghdr */
    uint8_t ancillary[PS_ANCILLARY_SIZE];
};

enum ps_error_origin { /* the numbers of Linux's SO_EE_ORIGIN_* */
                       PS_ERROR_LOCAL = 1,
                       PS_ERROR_ICMP,
                       PS_ERROR_ICMP6,
};

/* An error of a socket's queue (Linux's ip(7), IP_RECVERR). */
struct ps_socket_error {
    uint32_t error;     /* errno, positive */
    uint8_t origin;     /* enum ps_error_origin */
    uint8_t type, code; /* of the ICMP message */
    uint32_t info;      /* EMSGSIZE: the path's MTU; EPROTO: where the fault is */
    /* RFC 4884: where in the data the message's extensions begin, 0: nowhere; whether they are
     * broken. */
    uint16_t extensions;
    bool extensions_broken;
    struct ps_address offender; /* the ICMP message's sender; family 0: none */
};

/* How one datagram goes out, where it is to differ from the socket's own settings. */
struct ps_send_control {
    struct ps_address source; /* family 0: chosen by the stack */
    uint32_t interface;       /* 0: chosen by the route */
    int16_t ttl;              /* -1: the socket's */
    int16_t tos;              /* -1: the socket's */
    int32_t segment_size;     /* UDP, as PS_OPT_UDP_SEGMENT; -1: the socket's */
    int8_t dont_fragment;     /* IPv6, as PS_OPT_IPV6_DONTFRAG; -1: the socket's */
    uint16_t ancillary_bytes; /* for an engine with option_set_raw, as in struct ps_message */
    uint8_t ancillary[PS_ANCILLARY_SIZE];
};

enum ps_option {               /* values are ints (seconds, bytes, 0/1) unless said otherwise */
                 PS_OPT_ERROR, /* read: the pending errno, then cleared */
                 PS_OPT_TYPE,
                 PS_OPT_PROTOCOL,
                 PS_OPT_FAMILY,
                 PS_OPT_LISTENING,
                 PS_OPT_REUSEADDR,
                 PS_OPT_REUSEPORT,
                 PS_OPT_BROADCAST,
                 PS_OPT_KEEPALIVE,
                 PS_OPT_SNDBUF,
                 PS_OPT_RCVBUF,
                 PS_OPT_RCVLOWAT,
                 PS_OPT_LINGER,       /* seconds; -1: off */
                 PS_OPT_BINDTODEVICE, /* interface index; 0: none */
                 PS_OPT_OOBINLINE,
                 PS_OPT_DONTROUTE,
                 PS_OPT_PRIORITY,
                 PS_OPT_TCP_NODELAY,
                 PS_OPT_TCP_MAXSEG,
                 PS_OPT_TCP_KEEPIDLE,  /* seconds */
                 PS_OPT_TCP_KEEPINTVL, /* seconds */
                 PS_OPT_TCP_KEEPCNT,
                 PS_OPT_TCP_USER_TIMEOUT, /* milliseconds */
                 PS_OPT_TCP_QUICKACK,
                 PS_OPT_TCP_CORK,
                 PS_OPT_TCP_DEFER_ACCEPT, /* seconds */
                 PS_OPT_IP_TTL,
                 PS_OPT_IP_TOS,
                 PS_OPT_IP_HDRINCL,
                 PS_OPT_IP_MULTICAST_TTL,
                 PS_OPT_IP_MULTICAST_LOOP,
                 PS_OPT_IP_MULTICAST_IF, /* interface index */
                 PS_OPT_IPV6_V6ONLY,
                 PS_OPT_IPV6_UNICAST_HOPS,
                 PS_OPT_IPV6_MULTICAST_HOPS,
                 PS_OPT_IPV6_MULTICAST_LOOP,
                 PS_OPT_IPV6_MULTICAST_IF,
                 PS_OPT_IPV6_TCLASS,
                 PS_OPT_IPV6_CHECKSUM, /* raw: the checksum's offset; -1: none */
                 PS_OPT_IP_RECVERR,    /* errors of IPv4 are queued: see socket_receive_error */
                 PS_OPT_IP_RECVERR_RFC4884,
                 PS_OPT_IPV6_RECVERR,
                 PS_OPT_IPV6_RECVERR_RFC4884,
                 PS_OPT_IP_MTU_DISCOVER, /* IP_PMTUDISC_*, Linux's numbers, as the next one's */
                 PS_OPT_IPV6_MTU_DISCOVER,
                 PS_OPT_IPV6_DONTFRAG,
                 PS_OPT_IP_MTU,      /* read: the MTU of the path to the peer */
                 PS_OPT_FREEBIND,    /* an address may be bound that isn't the host's (yet), */
                 PS_OPT_TRANSPARENT, /* and be a source, too */
                 PS_OPT_IP_MINTTL,   /* TCP: what comes with less is dropped (RFC 5082) */
                 PS_OPT_IPV6_MINHOPCOUNT,
                 PS_OPT_IP_MULTICAST_ALL, /* hears groups that others have joined */
                 PS_OPT_IPV6_MULTICAST_ALL,
                 PS_OPT_IP_UNICAST_IF, /* interface index */
                 PS_OPT_IPV6_UNICAST_IF,
                 PS_OPT_UDP_GRO,           /* datagrams of one size that wait are received as one */
                 PS_OPT_UDP_CORK,          /* sends are gathered into one datagram */
                 PS_OPT_IPV6_MTU,          /* what is larger is cut; read: as PS_OPT_IP_MTU */
                 PS_OPT_TCP_SYNCNT,        /* how often a SYN is sent again */
                 PS_OPT_TCP_LINGER2,       /* seconds in FIN-WAIT-2 once closed; -1: none */
                 PS_OPT_TCP_NOTSENT_LOWAT, /* bytes that may wait to be sent; 0: SO_SNDBUF's */
                 PS_OPT_TCP_WINDOW_CLAMP,  /* bytes; 0: SO_RCVBUF's */
                 PS_OPT_TCP_FASTOPEN,      /* kept: there is no Fast Open */
                 PS_OPT_BYTES_NOT_SENT,    /* SIOCOUTQNSD: bytes that never left */
                 PS_OPT_AT_MARK,           /* SIOCATMARK: what is read next is urgent */
                 PS_OPT_BYTES_QUEUED,      /* FIONREAD: bytes that recv would give now */
                 PS_OPT_BYTES_UNSENT,      /* SIOCOUTQ: bytes not yet acknowledged */
                 PS_OPT_UDP_SEGMENT, /* bytes of each datagram that a long one is cut into; 0 */
                 PS_OPT_COUNT,
};

struct ps_membership {
    struct ps_address group;
    struct ps_address source; /* family 0: any */
    uint32_t interface;       /* 0: by the route to the group */
};

struct ps_tcp_info {
    uint8_t state; /* enum ps_tcp_state */
    uint8_t retransmits, backoff, options, send_wscale, receive_wscale, probes;
    uint32_t rto_us, rtt_us, rttvar_us, send_mss, receive_mss, unacked_segments;
    uint32_t send_ssthresh, send_cwnd_bytes, send_window, receive_window, pmtu;
    uint64_t bytes_acked, bytes_received;
    uint32_t total_retransmits;
    uint8_t congestion_state; /* TCP_CA_*, Linux's numbers */
    uint32_t ato_us, min_rtt_us, receive_rtt_us;
    uint32_t sacked_segments, lost_segments, again_segments;  /* the last: sent again, on the way */
    uint32_t data_sent_ms, data_received_ms, ack_received_ms; /* ago */
    uint32_t reordering; /* segments that one was overtaken by at most */
    uint32_t receive_threshold, receive_space, not_sent_bytes;
    uint32_t segments_out, segments_in, data_segments_out, data_segments_in;
    uint32_t delivered, came_twice, overtaken, out_of_order, timeouts, timeout_series;
    uint64_t bytes_sent, bytes_again;
    uint64_t busy_us, window_limited_us, buffer_limited_us; /* the first includes the others */
};

enum ps_name { PS_NAME_LOCAL, PS_NAME_REMOTE };
enum ps_shutdown { PS_SHUT_READ = 1, PS_SHUT_WRITE = 2 };

/* --- services ----------------------------------------------------------------------- */

enum ps_service {
    PS_SERVICE_DHCP,
    PS_SERVICE_DHCP6,
    PS_SERVICE_SLAAC,
    PS_SERVICE_AUTOIP,
    PS_SERVICE_MDNS
};

#ifndef PYSTACK_FOR_PYTHON
/* --- the table ---------------------------------------------------------------------- */

typedef struct ps_engine ps_engine;

enum ps_engine_flag {
    /* `open` makes any number of instances. The host loads the image once and never unloads it,
     * since it may have started threads. A process forked after that can't use it. */
    PS_ENGINE_SHARED = 1,
};

/*
 * The calls of an engine, once: CALL(result, name, (parameters), (arguments)). Each has the engine
 * as its first parameter, which is not in the list. From here come the table below, an engine's own
 * table, the prototypes of what fills it, and the host's check that nothing is missing.
 *
 * Listings: `*_at(engine, position, out)` gives the entry at `position` (from 0) and
 * returns 1, or 0 past the end. One listing is read under one hold of the host's lock, so
 * it is a snapshot.
 */
#define PS_UNPACK(...) __VA_ARGS__
/* clang-format off */

/* Interfaces. `add` reads name, layer, mtu, mac and flags and returns the index. */
#define PS_ENGINE_INTERFACES(CALL) \
    CALL(int, interface_add, (const struct ps_interface *spec), (spec)) \
    CALL(int, interface_remove, (uint32_t index), (index)) \
    CALL(int, interface_at, (size_t position, struct ps_interface *out), (position, out)) \
    CALL(int, interface_set_up, (uint32_t index, bool up), (index, up)) \
    CALL(int, interface_set_link, (uint32_t index, bool up), (index, up)) \
    CALL(int, interface_set_mtu, (uint32_t index, uint32_t mtu), (index, mtu)) \
    CALL(int, interface_set_mac, (uint32_t index, const uint8_t mac[6]), (index, mac))

/* One frame from the wire, borrowed for the call. */
#define PS_ENGINE_FRAMES(CALL) \
    CALL(int, frame_in, (uint32_t index, const uint8_t *frame, size_t size), (index, frame, size))

#define PS_ENGINE_TABLES(CALL) \
    /* `detect`: make sure first that nobody else has it (RFC 4862 5.4, RFC 5227 2.1). */ \
    CALL(int, address_add, (uint32_t index, const struct ps_address *address, bool detect), \
         (index, address, detect)) \
    CALL(int, address_remove, (uint32_t index, const struct ps_address *address), \
         (index, address)) \
    CALL(int, address_at, (size_t position, struct ps_interface_address *out), (position, out)) \
    CALL(int, neighbour_add, (const struct ps_neighbour *neighbour), (neighbour)) \
    CALL(int, neighbour_remove, (uint32_t index, const struct ps_address *address), \
         (index, address)) \
    /* index 0: all interfaces; family 0: both. Permanent entries stay unless `all`. */ \
    CALL(int, neighbour_flush, (uint32_t index, enum ps_family family, bool all), \
         (index, family, all)) \
    CALL(int, neighbour_at, (size_t position, struct ps_neighbour *out), (position, out)) \
    CALL(int, route_add, (const struct ps_route *route), (route)) \
    CALL(int, route_remove, (const struct ps_route *route), (route)) \
    CALL(int, route_at, (size_t position, struct ps_route *out), (position, out)) \
    /* Which route a packet to `destination` would take. */ \
    CALL(int, route_lookup, (const struct ps_address *destination, struct ps_route *out), \
         (destination, out)) \
    CALL(int, connection_at, (size_t position, struct ps_connection *out), (position, out)) \
    /* index 0: the whole stack's protocol counters; else one interface's. */ \
    CALL(int, counter_at, (uint32_t index, size_t position, struct ps_counter *out), \
         (index, position, out)) \
    CALL(int, tunable_at, (size_t position, struct ps_tunable *out), (position, out)) \
    CALL(int, tunable_get, (const char *name, struct ps_tunable *out), (name, out)) \
    CALL(int, tunable_set, (const char *name, int64_t value), (name, value))

/* A handle is >= 0. None of these waits: -EAGAIN, -EINPROGRESS. */
#define PS_ENGINE_SOCKETS(CALL) \
    CALL(int64_t, socket_open, (enum ps_family family, enum ps_type type, int protocol), \
         (family, type, protocol)) \
    CALL(int, socket_close, (int64_t handle), (handle)) \
    CALL(int, socket_bind, (int64_t handle, const struct ps_address *address), (handle, address)) \
    CALL(int, socket_listen, (int64_t handle, int backlog), (handle, backlog)) \
    CALL(int64_t, socket_accept, (int64_t handle, struct ps_address *remote), (handle, remote)) \
    /* address->family 0 dissolves a datagram socket's association. */ \
    CALL(int, socket_connect, (int64_t handle, const struct ps_address *address), \
         (handle, address)) \
    /* to and control may be NULL. Returns the bytes taken, copied. */ \
    CALL(int64_t, socket_send, \
         (int64_t handle, const struct ps_piece *pieces, size_t count, uint32_t flags, \
          const struct ps_address *to, const struct ps_send_control *control), \
         (handle, pieces, count, flags, to, control)) \
    /* message may be NULL. Returns the bytes copied (or a datagram's length, PS_MSG_TRUNC). \
     * -ESHUTDOWN: no datagram, and the direction was shut down. */ \
    CALL(int64_t, socket_receive, \
         (int64_t handle, const struct ps_piece *pieces, size_t count, uint32_t flags, \
          struct ps_message *message), \
         (handle, pieces, count, flags, message)) \
    CALL(int, socket_shutdown, (int64_t handle, uint32_t how), (handle, how)) \
    CALL(int, socket_name, (int64_t handle, enum ps_name which, struct ps_address *out), \
         (handle, which, out)) \
    CALL(int, socket_ready, (int64_t handle, uint32_t *mask), (handle, mask)) \
    CALL(int, option_get, (int64_t handle, enum ps_option option, int64_t *value), \
         (handle, option, value)) \
    CALL(int, option_set, (int64_t handle, enum ps_option option, int64_t value), \
         (handle, option, value)) \
    CALL(int, membership, (int64_t handle, bool join, const struct ps_membership *membership), \
         (handle, join, membership)) \
    CALL(int, tcp_info, (int64_t handle, struct ps_tcp_info *out), (handle, out))

/* Sets one of the user's own; the list has them first, and then what was learnt. */
#define PS_ENGINE_NAMESERVERS(CALL) \
    CALL(int, nameserver_set, (size_t position, const struct ps_address *address), \
         (position, address)) \
    CALL(int, nameserver_at, (size_t position, struct ps_nameserver *out), (position, out))

/* `name` is a DHCP or mDNS host name, or NULL. */
#define PS_ENGINE_SERVICES(CALL) \
    CALL(int, service_set, \
         (uint32_t index, enum ps_service service, bool on, const char *name), \
         (index, service, on, name)) \
    CALL(int, lease_get, (uint32_t index, struct ps_lease *out), (index, out))

/* Starts a lookup of A (PS_INET), AAAA (PS_INET6) or both (PS_UNSPECIFIED) and returns a
 * request id; its end is the event PS_EVENT_RESOLVE. From resolve_result: -EAGAIN, not
 * yet; else the request is forgotten, and it is the count of addresses (only `room` of
 * them written) or -ENOENT, no such name; -ENETUNREACH, no name server; -ETIMEDOUT, none
 * answered; -EREMOTEIO, it failed; -EMSGSIZE, its answer was cut. */
#define PS_ENGINE_RESOLVER(CALL) \
    CALL(int64_t, resolve_start, (const char *name, enum ps_family family), (name, family)) \
    CALL(int, resolve_result, (int64_t request, struct ps_address *out, size_t room), \
         (request, out, room)) \
    CALL(int, resolve_cancel, (int64_t request), (request))

/* All that an engine has to have. */
#define PS_ENGINE_CALLS(CALL) \
    PS_ENGINE_INTERFACES(CALL) \
    PS_ENGINE_FRAMES(CALL) \
    PS_ENGINE_TABLES(CALL) \
    PS_ENGINE_SOCKETS(CALL) \
    PS_ENGINE_NAMESERVERS(CALL) \
    PS_ENGINE_SERVICES(CALL) \
    PS_ENGINE_RESOLVER(CALL)

/* Optional entries: NULL where an engine lacks them. */
#define PS_ENGINE_OPTIONAL_CALLS(CALL) \
    /* A frame of which something may be left undone. `given`: the memory, which begins \
     * PS_FRAME_HEADROOM bytes before the frame and is in the account of memory_allocate, is the \
     * engine's from now on. -EOPNOTSUPP: nothing was done or taken, the engine wants this one in \
     * ordinary frames. NULL: the engine wants all in ordinary frames. */ \
    CALL(int, frame_in_offload, \
         (uint32_t index, uint8_t *frame, size_t size, const struct ps_offload *offload, \
          bool given), \
         (index, frame, size, offload, given)) \
    /* The engine's own memory for the next frame, PS_FRAME_SIZE bytes at least, until frame_in_room \
     * takes what was read there, or `leave`. The pieces' number, or -ENOMEM. NULL: it has none. */ \
    CALL(int, frame_room, (struct ps_piece pieces[PS_ROOM_PIECES]), (pieces)) \
    CALL(int, frame_in_room, (uint32_t index, size_t size, const struct ps_offload *offload), \
         (index, size, offload)) \
    /* Whether somebody is there for it: a connection, a listener, a socket. NULL: the engine \
     * can't say, and the host takes it that there is. */ \
    CALL(bool, flow_is_wanted, (uint32_t index, const struct ps_flow *flow), (index, flow)) \
    /* A tunable's value as text, or its initial one. Returns its length in bytes, of which all but \
     * a terminator's place in `room` were written. NULL: all of the engine's are numbers. */ \
    CALL(int64_t, tunable_text, (const char *name, bool initial, char *out, size_t room), \
         (name, initial, out, room)) \
    CALL(int, tunable_set_text, (const char *name, const char *text), (name, text)) \
    /* Takes the oldest error of the socket's queue: `from` in the message is the destination of \
     * the packet that it is about, and the data what that carried. -EAGAIN: there is none. NULL: \
     * the engine has no such queues. */ \
    CALL(int64_t, socket_receive_error, \
         (int64_t handle, const struct ps_piece *pieces, size_t count, \
          struct ps_message *message, struct ps_socket_error *error), \
         (handle, pieces, count, message, error)) \
    /* Any option, by its level and name in Linux's numbers and layout; what Linux takes by a \
     * pointer (a filter) as the bytes there. An engine that has these needs of enum ps_option the \
     * first, to PS_OPT_LISTENING, PS_OPT_LINGER and what waits (PS_OPT_BYTES_*, _AT_MARK). \
     * `size`: in, the room; out, how much there is. NULL: the engine has no others. */ \
    CALL(int, option_set_raw, (int64_t handle, int level, int name, const void *value, \
         size_t size), (handle, level, name, value, size)) \
    CALL(int, option_get_raw, (int64_t handle, int level, int name, void *value, \
         size_t *size), (handle, level, name, value, size)) \
    /* Whether an IPv6 address may begin connections where there is another, or is deprecated (RFC \
     * 4862 5.5.4). NULL: the engine can't say it of one. */ \
    CALL(int, address_prefer, (uint32_t index, const struct ps_address *address, bool preferred), \
         (index, address, preferred)) \
    /* All name servers that the host has learnt there. NULL: the engine resolves no names. */ \
    CALL(int, nameservers_learnt, (uint32_t index, const struct ps_address *all, size_t count), \
         (index, all, count)) \
    /* NULL: the engine has no queueing disciplines. */ \
    CALL(int, qdisc_set, (uint32_t index, const struct ps_qdisc *qdisc), (index, qdisc)) \
    CALL(int, qdisc_get, (uint32_t index, struct ps_qdisc *out), (index, out)) \
    /* Takes what comes for addresses that are not the stack's. The result is a socket's handle: it \
     * is readable while flows wait, and is closed as a socket is; then flows that wait are dropped, \
     * and accepted ones go on. -EADDRINUSE: another has one of the protocols. */ \
    CALL(int64_t, intercept_open, (const struct ps_intercept *spec), (spec)) \
    /* The oldest flow that was not given out yet, and the beginning of its data. -EAGAIN. */ \
    CALL(int, intercept_next, (int64_t handle, struct ps_intercepted *out, void *data, \
         size_t room), (handle, out, data, room)) \
    /* TCP: a socket whose handshake goes on from here; UDP: one that has what came; ICMP: the \
     * reply is sent, and the result is 0. -ECONNABORTED: the flow is gone. */ \
    CALL(int64_t, intercept_accept, (int64_t handle, uint64_t id), (handle, id)) \
    /* An errno, positive, is told to the source; 0: the flow is met with silence from now on. \
     * -EINVAL: no answer says that. A flow that is gone is none to refuse: 0. */ \
    CALL(int, intercept_refuse, (int64_t handle, uint64_t id, int error), (handle, id, error)) \
    CALL(int, intercept_figures, (int64_t handle, struct ps_intercept_figures *out), \
         (handle, out))

/* clang-format on */

struct ps_engine_table {
    uint32_t version;           /* PS_ENGINE_VERSION */
    uint32_t size;              /* sizeof(struct ps_engine_table) */
    const char *name, *release; /* "lwip", "2.2.1" */
    uint32_t flags;             /* enum ps_engine_flag */

    int (*open)(const struct ps_hypercalls *hypercalls, ps_engine **out);
    /* Gives back all memory, without a packet to peers that still have connections if
     * `abrupt`, else with a reset for each that has not got all. Not called after
     * a panic. The last call after an `enter`: the instance is gone, and there is no `leave`. */
    int (*close)(ps_engine *engine, bool abrupt);
    /* Instead of `close` after a panic, for a shared image alone: forget the instance, without
     * running any of it. NULL where unloading the private copy does that. */
    void (*abandon)(ps_engine *engine);
    /* Any use of what follows stands between these two; one pair may hold many calls.
     * `enter` reads the clock. `leave` does what the calls left to be done at once (such as
     * packets to itself) and says when `run` is wanted; UINT64_MAX: not on its own. */
    int (*enter)(ps_engine *engine);
    int (*leave)(ps_engine *engine, uint64_t *deadline_us);
    /* Runs the timers that are due. */
    int (*run)(ps_engine *engine);
    /* Fails an assertion on purpose, to see that a host survives it. */
    int (*fail)(ps_engine *engine, const char *text);

#define PS_ENTRY(result, name, parameters, arguments) \
    result (*name)(ps_engine * engine, PS_UNPACK parameters);
    PS_ENGINE_CALLS(PS_ENTRY)
    PS_ENGINE_OPTIONAL_CALLS(PS_ENTRY)
#undef PS_ENTRY
};
#endif

#endif
