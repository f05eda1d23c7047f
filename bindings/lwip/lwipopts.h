/*
 * How lwIP is configured here: everything on, nothing of a fixed size, and whatever a user
 * of Linux would expect to change at run time read from `tunables`.
 */
#ifndef PYSTACK_LWIPOPTS_H
#define PYSTACK_LWIPOPTS_H

#include "base/tunables.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_reassembly.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_timer.h"

/* --- platform ------------------------------------------------------------------------ */

#define NO_SYS 1               /* the host owns threads and time */
#define SYS_LIGHTWEIGHT_PROT 0 /* the host serialises all entries */
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_TIMERS 1
#define LWIP_PROVIDE_ERRNO 0
#define LWIP_ERRNO_STDINCLUDE 1
/* lwIP's init.c is not compiled: it compares options in the preprocessor, and many are
 * fields of `tunables` here. sysctl.c makes the same checks when a value is set, and
 * engine.c initialises the modules. */
#define LWIP_HOOK_FILENAME "base/hooks.h"
/* These are asked for in headers of lwIP's, which come before hooks.h. */
#define LWIP_HOOK_IP4_ROUTE_SRC(source, destination) hook_ip4_route(source, destination)
#define LWIP_HOOK_TCP_ACTIVE(pcb) hook_tcp_active(pcb)
#define LWIP_HOOK_TCP_FREE(pcb) hook_tcp_free(pcb)

/* --- memory: the Stack's arena, no pools (memory.c) ----------------------------------- */

#define MEM_CUSTOM_ALLOCATOR 1
#define MEM_CUSTOM_MALLOC port_lwip_malloc
#define MEM_CUSTOM_CALLOC port_lwip_calloc
#define MEM_CUSTOM_FREE port_lwip_free
#define MEM_ALIGNMENT 8
#define MEMP_MEM_MALLOC 1
#define MEM_STATS 0
#define MEMP_STATS 0
#define SYS_STATS 0
void *port_lwip_malloc(__SIZE_TYPE__ size);
void *port_lwip_calloc(__SIZE_TYPE__ count, __SIZE_TYPE__ size);
void port_lwip_free(void *memory);

/* A reference count of 8 bits would limit how many segments may point into one buffer. */
#define LWIP_PBUF_REF_T unsigned short

/* --- interfaces ----------------------------------------------------------------------- */

#define LWIP_ARP 1
#define LWIP_ETHERNET 1
#define LWIP_HAVE_LOOPIF 1
#define LWIP_NETIF_LOOPBACK 1
#define LWIP_LOOPIF_MULTICAST 1
#define LWIP_LOOPBACK_MAX_PBUFS 0 /* bounded by the arena and the senders' buffers */
#define LWIP_NETIF_HOSTNAME 1
#define LWIP_NETIF_EXT_STATUS_CALLBACK 1
#define LWIP_NETIF_HWADDRHINT 1 /* a PCB remembers its place in the ARP table */
#define LWIP_CHECKSUM_CTRL_PER_NETIF 1
#define LWIP_NUM_NETIF_CLIENT_DATA 2 /* mDNS, and our per-interface counters */

/* --- IPv4 ------------------------------------------------------------------------------ */

#define LWIP_IPV4 1
#define IP_FORWARD_ALLOW_TX_ON_RX_NETIF 1 /* a router with one leg (RFC 1812 5.3.1) */
#define IP_FORWARD 1                      /* switched by tunables.ip_forward: hooks.h */
#define IP_REASSEMBLY 1
#define IP_FRAG 1
#define LWIP_PORT_REASSEMBLY 1 /* ours: ip4_reassembly.c, ip6_reassembly.c */
#define IP_DEFAULT_TTL ((u8_t)tunables.ip_ttl)
#define IP_SOF_BROADCAST 1      /* sending to a broadcast address needs SO_BROADCAST, as in Linux */
#define IP_SOF_BROADCAST_RECV 0 /* receiving does not */
#define LWIP_ICMP 1
#define LWIP_BROADCAST_PING 1 /* hooks.h filters by tunables.icmp_echo_ignore_broadcasts */
#define LWIP_MULTICAST_PING 1
#define LWIP_IGMP 1
#define LWIP_MULTICAST_TX_OPTIONS 1
#define LWIP_RAW 1
#define RAW_TTL IP_DEFAULT_TTL

#define ARP_TABLE_SIZE 1024 /* arp.c, as Linux's gc_thresh3 */
#define ETHARP_SUPPORT_STATIC_ENTRIES 0

#define LWIP_DHCP 1
#define LWIP_DHCP_DOES_ACD_CHECK 1 /* switched at run time: vendor/patches */
#define LWIP_DHCP_ACD_CHECK_ENABLED(netif) (tunables.dhcp_conflict_check != 0)
#define LWIP_DHCP_BOOTP_FILE 0
#define DHCP_OPTIONS_LEN 312                /* RFC 2131 2; lwIP asserts that a host name fits */
#define DHCP_ADD_EXTRA_REQUEST_OPTIONS , 15 /* the domain name (RFC 2132 3.17) */
/* Leases are counted in seconds; stock lwIP counts minutes. A time of 0, or one that the
 * server left out, is taken as that part of a minute. */
#define DHCP_COARSE_TIMER_SECS 1
#define DHCP_TIMEOUT_SIZE_T u32_t
#define DHCP_DEFINE_CUSTOM_TIMEOUTS 1
#define DHCP_SET_TIMEOUT_FROM_OFFERED_T0_LEASE(result, dhcp) \
    ((result) = (dhcp)->offered_t0_lease ? (dhcp)->offered_t0_lease : 60)
#define DHCP_SET_TIMEOUT_FROM_OFFERED_T1_RENEW(result, dhcp) \
    ((result) = (dhcp)->offered_t1_renew ? (dhcp)->offered_t1_renew : 30)
#define DHCP_SET_TIMEOUT_FROM_OFFERED_T2_REBIND(result, dhcp) \
    ((result) = (dhcp)->offered_t2_rebind ? (dhcp)->offered_t2_rebind : 52)
#define DHCP_NEXT_TIMEOUT_THRESHOLD 60 /* no retransmission sooner (RFC 2131 4.4.5) */
#define DHCP_REQUEST_BACKOFF_SEQUENCE(tries) hook_dhcp_backoff_ms(tries)
#define LWIP_AUTOIP 1
#define LWIP_AUTOIP_CREATE_SEED_ADDR(netif) hook_autoip_address(netif)
#define LWIP_ACD 1
#define LWIP_DHCP_AUTOIP_COOP 0 /* each is asked for by name; a user may ask for both */

/* --- IPv6 ------------------------------------------------------------------------------ */

#define LWIP_IPV6 1
#define LWIP_IPV6_NUM_ADDRESSES 32
#define LWIP_IPV6_SCOPES 1
#define LWIP_IPV6_FORWARD 1 /* switched by tunables.ip6_forward: vendor/patches */
#define LWIP_IPV6_FRAG 1
#define LWIP_IPV6_REASS 1
#define IPV6_FRAG_COPYHEADER 1 /* needed where pointers have 64 bits */
#define LWIP_ICMP6 1
#define LWIP_ICMP6_DATASIZE 1232 /* as much of the packet as fits (RFC 4443 2.4 c) */
#define LWIP_ICMP6_HL ((u8_t)tunables.ip6_hop_limit)
#define LWIP_IPV6_MLD 1
#define LWIP_IPV6_AUTOCONFIG 1
#define LWIP_IPV6_ADDRESS_LIFETIMES 1
#define LWIP_IPV6_SEND_ROUTER_SOLICIT 1
#define LWIP_IPV6_DHCP6 0 /* lwIP's is stateless: pystack/serving has all of it */
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS 1
#define LWIP_ND6_QUEUEING 1
#define MEMP_NUM_ND6_QUEUE 65535      /* LWIP_ND6_QUEUE_BYTES is the bound */
#define LWIP_ND6_NUM_NEIGHBORS 127    /* lwIP counts these in a signed 8-bit number */
#define LWIP_ND6_NUM_DESTINATIONS 127 /* and loops over these with one */
#define LWIP_ND6_QUEUE_BYTES ((u32_t)tunables.nd_queue_bytes)
#define LWIP_ND6_QUEUE_BYTES_OF_ALL (16 * LWIP_ND6_QUEUE_BYTES)
#define LWIP_ND6_MAX_ADDRESSES tunables.ip6_max_addresses
#define LWIP_ND6_NUM_PREFIXES 32
#define LWIP_ND6_NUM_ROUTERS 16
#define LWIP_ND6_ALLOW_RA_UPDATES 1
#define LWIP_ND6_RDNSS_MAX_DNS_SERVERS 4

/* --- TCP ------------------------------------------------------------------------------- */

#define LWIP_TCP 1
#define LWIP_WND_SCALE 1
#define TCP_RCV_SCALE ((u8_t)tunables.tcp_window_shift)
#define LWIP_TCP_TIMESTAMPS 1
#define LWIP_TCP_SACK_OUT 1
#define LWIP_TCP_MAX_SACK_NUM 4
#define TCP_QUEUE_OOSEQ 0 /* ours: tcp_reassembly.c */
#define TCP_LISTEN_BACKLOG 1
#define LWIP_TCP_KEEPALIVE 1
/* RFC 6928 2 */
#define LWIP_TCP_CALC_INITIAL_CWND(mss) \
    ((tcpwnd_size_t)LWIP_MIN(10U * (mss), LWIP_MAX(2U * (mss), 14600U)))
#define TCP_KEEPIDLE_DEFAULT ((u32_t)tunables.tcp_keepalive_time_s * 1000)
#define TCP_KEEPINTVL_DEFAULT ((u32_t)tunables.tcp_keepalive_interval_s * 1000)
#define TCP_KEEPCNT_DEFAULT ((u32_t)tunables.tcp_keepalive_probes)
#define LWIP_TCP_PCB_NUM_EXT_ARGS 1 /* tells a socket when its PCB goes (tcp_owner.c) */
#define SO_REUSE 1
#define SO_REUSE_RXTOALL 1

/* The largest segment of any interface; each connection's is cut to its interface's MTU. */
#define TCP_MSS 65495
/* What tcp_write sets aside beyond a short write, so that the next one needs no buffer;
 * never past the end of the segment. */
#define TCP_OVERSIZE 1460

/* Windows are per socket (SO_RCVBUF). Wherever lwIP names TCP_WND a variable `pcb` is in
 * scope; NULL and PCBs without a socket get the default. */
struct tcp_pcb;
uint32_t port_tcp_window(const struct tcp_pcb *pcb);
uint32_t port_tcp_window_update_threshold(const struct tcp_pcb *pcb);
#define TCP_WND port_tcp_window(pcb)
#define TCP_WND_UPDATE_THRESHOLD port_tcp_window_update_threshold(pcb)
/* lwIP's own account is the upper bound; the socket's SO_SNDBUF is enforced in tcp_owner.c. */
#define TCP_SND_BUF ((uint32_t)tunables.tcp_send_buffer_max)
#define TCP_SND_QUEUELEN 0xfff0
#define TCP_SNDLOWAT 1
#define TCP_SNDQUEUELOWAT 1

#define TCP_TMR_INTERVAL TCP_DELAYED_ACK_MS
#define TCP_SLOW_INTERVAL 1 /* the timers have no ticks (tcp_timer.c): all is in milliseconds */
#define LWIP_TCP_RTO_TIME ((s16_t)tunables.tcp_rto_initial_ms)
uint16_t port_tcp_mss(const struct tcp_pcb *pcb, uint16_t mss);
#define TCP_SYNMAXRTX ((u8_t)tunables.tcp_syn_retries)
#define LWIP_HOOK_TCP_MSS(pcb, mss) port_tcp_mss(pcb, mss)
struct tcp_hdr;
void port_tcp_urgent_in(struct tcp_pcb *pcb, uint32_t end);
void port_tcp_urgent_out(struct tcp_pcb *pcb, struct tcp_hdr *header);
#define LWIP_HOOK_TCP_URGENT_IN(pcb, end) port_tcp_urgent_in(pcb, end)
#define LWIP_HOOK_TCP_URGENT_OUT(pcb, header) port_tcp_urgent_out(pcb, header)
#define TCP_MSL ((u32_t)tunables.tcp_msl_ms)
#define TCP_FIN_WAIT_TIMEOUT ((u32_t)tunables.tcp_fin_timeout_ms)
/* Of SYNs that crossed; what a listener answers waits in tcp_handshake.c. */

/* --- UDP, DNS, mDNS --------------------------------------------------------------------- */

#define LWIP_UDP 1
#define LWIP_UDPLITE 1
#define LWIP_NETBUF_RECVINFO 0
#define LWIP_DNS 1
#define DNS_MAX_SERVERS 8  /* four of the user's, and what was learnt */
#define DNS_TABLE_SIZE 255 /* lookups under way: lwIP counts them in 8 bits */
#define DNS_MAX_REQUESTS 255
#define DNS_MAX_TTL 0 /* no cache, as in the C library: lwIP's has one address a name */
#define LWIP_DNS_SUPPORT_MDNS_QUERIES 1
#define LWIP_DNS_SECURE \
    (LWIP_DNS_SECURE_RAND_XID | LWIP_DNS_SECURE_NO_MULTIPLE_OUTSTANDING | \
     LWIP_DNS_SECURE_RAND_SRC_PORT)
#define LWIP_MDNS_RESPONDER 1
#define MDNS_RESP_USENETIF_EXTCALLBACK 1
#define MDNS_MAX_SERVICES 8

/* --- counters ---------------------------------------------------------------------------- */

#define LWIP_STATS 1
#define LWIP_STATS_LARGE 1 /* 32-bit counters */
#define MIB2_STATS 1
#define ETHARP_STATS 1
#define ND6_STATS 1
#define IP6_STATS 1
#define ICMP6_STATS 1
#define IP6_FRAG_STATS 1
#define MLD6_STATS 1
#define IGMP_STATS 1

#endif
