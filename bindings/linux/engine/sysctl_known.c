// SPDX-License-Identifier: GPL-2.0
/*
 * What the kernel doesn't say about its settings: bounds and meaning, for the most used ones. The
 * rest is in the kernel's Documentation/networking/ip-sysctl.
 */
#include "engine/sysctl_known.h"

#include <stdbool.h>
#include <stddef.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define LEAST_BUFFER_IN 2304
#define LEAST_BUFFER_OUT 4608

/* Some take any value of their type. */
#define BYTE 0, UINT8_MAX
#define INT INT32_MIN, INT32_MAX
#define COUNTER 0, INT32_MAX
#define NOT_A_NUMBER INT64_MIN, INT64_MAX

static const struct sysctl_known known[] = {
    {"net.core.default_qdisc", NOT_A_NUMBER, "The queueing discipline of new interfaces"},
    {"net.core.optmem_max", COUNTER, "Memory for a socket's options and control messages, bytes"},
    {"net.core.rmem_default", LEAST_BUFFER_IN, INT32_MAX, "Receive buffer of a new socket, bytes"},
    {"net.core.rmem_max", LEAST_BUFFER_IN, INT32_MAX, "Largest SO_RCVBUF, bytes"},
    {"net.core.somaxconn", COUNTER, "Largest backlog of listen()"},
    {"net.core.wmem_default", LEAST_BUFFER_OUT, INT32_MAX, "Send buffer of a new socket, bytes"},
    {"net.core.wmem_max", LEAST_BUFFER_OUT, INT32_MAX, "Largest SO_SNDBUF, bytes"},
    {"net.ipv4.conf.*.accept_redirects", INT,
     "Follow a router's ICMP redirects, unless forwarding (RFC 1122 3.2.2.2)"},
    {"net.ipv4.conf.*.accept_source_route", INT,
     "Accept packets with a source route (RFC 7126 4.3)"},
    {"net.ipv4.conf.*.arp_ignore", INT,
     "Which ARP requests are answered: 0 for any address of the host's, 1 the interface's own"},
    {"net.ipv4.conf.*.arp_announce", INT,
     "Which sender's address ARP requests have: 0 any, 2 the best for the target"},
    {"net.ipv4.conf.*.forwarding", INT, "Forward IPv4 packets between interfaces (RFC 1812)"},
    {"net.ipv4.conf.*.rp_filter", INT,
     "Drop packets whose source is reached otherwise (RFC 3704): 0 never, 1 by another interface, "
     "2 not at all"},
    {"net.ipv4.conf.*.send_redirects", INT,
     "Send ICMP redirects when forwarding (RFC 1812 5.2.7.2)"},
    {"net.ipv4.icmp_echo_ignore_all", 0, 1, "Leave ICMP echo requests unanswered"},
    {"net.ipv4.icmp_echo_ignore_broadcasts", 0, 1,
     "Leave echo requests to broadcast and multicast addresses unanswered (RFC 1122 3.2.2.6)"},
    {"net.ipv4.icmp_msgs_burst", COUNTER, "ICMP errors that may be sent at once, about"},
    {"net.ipv4.icmp_msgs_per_sec", COUNTER,
     "ICMP errors a second, to all destinations together, about"},
    {"net.ipv4.icmp_ratelimit", INT,
     "Milliseconds between ICMP errors to one destination; 0: no limit"},
    {"net.ipv4.icmp_ratemask", INT,
     "ICMP types that are limited, as bits: the errors (RFC 1812 4.3.2.8)"},
    {"net.ipv4.ip_default_ttl", 1, 255, "Time to live of new sockets' packets"},
    {"net.ipv4.ip_forward", INT, "Forward IPv4 packets between interfaces (RFC 1812)"},
    {"net.ipv4.ip_local_port_range", NOT_A_NUMBER,
     "First and last port that the stack chooses by itself"},
    {"net.ipv4.ip_local_reserved_ports", NOT_A_NUMBER,
     "Ports that are never chosen automatically, such as 8080,9000-9010"},
    {"net.ipv4.ip_no_pmtu_disc", BYTE,
     "Path MTU discovery of new sockets (RFC 1191): 0 on, 1 off, 2 and 3 see ip-sysctl"},
    {"net.ipv4.ipfrag_time", INT,
     "Seconds to wait for a datagram's other fragments (RFC 1122 3.3.2)"},
    {"net.ipv4.tcp_abort_on_overflow", BYTE,
     "Reset connections that exceed a listener's backlog, instead of leaving them waiting"},
    {"net.ipv4.tcp_allowed_congestion_control", NOT_A_NUMBER,
     "What TCP_CONGESTION may choose without privileges"},
    {"net.ipv4.tcp_available_congestion_control", NOT_A_NUMBER, "What TCP_CONGESTION may choose"},
    {"net.ipv4.tcp_challenge_ack_limit", INT,
     "Answers per second to unacceptable segments, all connections together (RFC 5961 7)"},
    {"net.ipv4.tcp_congestion_control", NOT_A_NUMBER, "TCP_CONGESTION of new sockets"},
    {"net.ipv4.tcp_early_retrans", 0, 4, "Tail loss probes (RFC 8985 7): 0 off, 3 or 4 on"},
    {"net.ipv4.tcp_ecn", 0, 2,
     "Explicit congestion notification (RFC 3168): 0 no, 1 asked for, 2 if a peer asks"},
    {"net.ipv4.tcp_fastopen", INT,
     "TCP Fast Open (RFC 7413), as bits: 1 clients, 2 servers, 4 without cookies"},
    {"net.ipv4.tcp_fin_timeout", INT, "Seconds that a closed socket waits in FIN-WAIT-2"},
    {"net.ipv4.tcp_frto", BYTE, "Detect spurious timeouts (RFC 5682)"},
    {"net.ipv4.tcp_invalid_ratelimit", INT,
     "Milliseconds between answers to unacceptable segments of a connection (RFC 5961 7)"},
    {"net.ipv4.tcp_keepalive_intvl", INT, "Seconds between keepalive probes"},
    {"net.ipv4.tcp_keepalive_probes", BYTE, "Unanswered probes that end a connection"},
    {"net.ipv4.tcp_keepalive_time", INT,
     "Idle seconds before the first keepalive probe (RFC 9293 3.8.4)"},
    {"net.ipv4.tcp_max_orphans", INT, "Closed sockets with undelivered data at most"},
    {"net.ipv4.tcp_max_syn_backlog", INT, "Handshakes in progress at one listener"},
    {"net.ipv4.tcp_max_tw_buckets", INT, "Connections in TIME-WAIT at most"},
    {"net.ipv4.tcp_min_snd_mss", 48, 65535, "Least maximum segment size accepted from a peer"},
    {"net.ipv4.tcp_moderate_rcvbuf", BYTE,
     "Let receive buffers grow with the path, unless SO_RCVBUF was set"},
    {"net.ipv4.tcp_no_metrics_save", BYTE,
     "Don't remember a path's round trip and threshold for the next connection"},
    {"net.ipv4.tcp_notsent_lowat", 0, UINT32_MAX, "TCP_NOTSENT_LOWAT of new sockets, bytes"},
    {"net.ipv4.tcp_orphan_retries", BYTE,
     "Retransmissions before a closed socket is given up; 0: 8"},
    {"net.ipv4.tcp_recovery", BYTE, "Find losses by time (RFC 8985), as bits; 0: never"},
    {"net.ipv4.tcp_retries1", 0, 255,
     "Retransmissions before the network is asked for another way (RFC 1122 4.2.3.5)"},
    {"net.ipv4.tcp_retries2", BYTE, "Retransmissions before a connection is given up"},
    {"net.ipv4.tcp_rmem", NOT_A_NUMBER,
     "Receive buffer of a TCP socket, bytes: least, initial, what it grows to"},
    {"net.ipv4.tcp_rfc1337", BYTE, "Ignore resets in TIME-WAIT (RFC 1337 3)"},
    {"net.ipv4.tcp_sack", BYTE, "Offer and accept selective acknowledgements (RFC 2018)"},
    {"net.ipv4.tcp_slow_start_after_idle", BYTE,
     "Begin anew after a timeout's idleness (RFC 5681 4.1)"},
    {"net.ipv4.tcp_syn_retries", 1, 127, "SYNs sent again before connect fails"},
    {"net.ipv4.tcp_synack_retries", BYTE, "SYN-ACKs sent again before a handshake is given up"},
    {"net.ipv4.tcp_syncookies", BYTE,
     "SYN cookies (RFC 4987): 0 never, 1 when there is no room for a handshake, 2 always"},
    {"net.ipv4.tcp_timestamps", BYTE,
     "Offer and accept timestamps (RFC 7323 3): 1 from a random offset, 2 without"},
    {"net.ipv4.tcp_tw_reuse", 0, 2,
     "New connections may take a TIME-WAIT's port: 0 never, 1 always, 2 on the loopback"},
    {"net.ipv4.tcp_window_scaling", BYTE, "Offer and accept window scaling (RFC 7323 2)"},
    {"net.ipv4.tcp_wmem", NOT_A_NUMBER,
     "Send buffer of a TCP socket, bytes: least, initial, what it grows to"},
    {"net.ipv6.conf.*.accept_ra", INT,
     "Listen to routers' advertisements: 0 no, 1 unless forwarding, 2 always (RFC 4861 6.3)"},
    {"net.ipv6.conf.*.disable_ipv6", INT, "No IPv6 on the interface"},
    {"net.ipv6.conf.*.forwarding", INT, "Forward IPv6 packets between interfaces"},
    {"net.ipv6.conf.*.hop_limit", 1, 255, "Hop limit of new sockets' packets"},
    {"net.ipv6.conf.*.max_addresses", INT,
     "Addresses an interface forms from routers' advertisements (RFC 4862 5.5.3); 0: no limit"},
    {"net.ipv6.conf.*.use_tempaddr", INT,
     "Temporary addresses (RFC 8981): 0 none, 1 beside the stable one, 2 preferred to it"},
    {"net.ipv6.icmp.echo_ignore_all", BYTE, "Leave ICMPv6 echo requests unanswered"},
    {"net.ipv6.icmp.ratelimit", INT,
     "Milliseconds between ICMPv6 errors to one destination; 0: no limit"},
    {"net.ipv6.ip6frag_time", INT, "Seconds to wait for a packet's other fragments (RFC 8200 4.5)"},
};

/* Whether a name matches a pattern; `*` is one part between dots. */
static bool fits(const char *kind, const char *name)
{
    for (; *kind != 0; kind++) {
        if (*kind == '*')
            while (*name != 0 && *name != '.')
                name++;
        else if (*kind != *name++)
            return false;
    }
    return *name == 0;
}

const struct sysctl_known *sysctl_known(const char *name)
{
    for (size_t i = 0; i < COUNT(known); i++)
        if (fits(known[i].name, name))
            return &known[i];
    return NULL;
}
