/*
 * The tunables under their sysctl names, with their bounds and meaning.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/entries.h"
#include "base/tunables.h"
#include "lwip/priv/nd6_priv.h"
#include "tables/tables.h"
#include "tcp/tcp_ack.h"

#define MIB (1 << 20)
/* A Stack in a World asks for it by this name (host/stack/acts.c); no setting, so in no list. */
#define ACTS_ALONE "pystack.acts_alone"
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

struct tunable {
    const char *name;
    size_t offset;
    int64_t minimum, maximum, initial;
    const char *description;
};

#define TUNABLE(name, field, minimum, maximum, initial, description) \
    { \
        name, offsetof(struct port_tunables, field), minimum, maximum, initial, description \
    }

static const struct tunable table[] = {
    TUNABLE("net.ipv4.ip_default_ttl", ip_ttl, 1, 255, 64, "Time to live of new sockets' packets"),
    TUNABLE("net.ipv4.ip_forward", ip_forward, 0, 1, 0,
            "Forward IPv4 packets between interfaces (RFC 1812)"),
    TUNABLE("net.ipv4.conf.all.accept_redirects", ip_accept_redirects, 0, 1, 1,
            "Follow a router's ICMP redirects, unless forwarding (RFC 1122 3.2.2.2)"),
    TUNABLE("net.ipv4.conf.all.send_redirects", ip_send_redirects, 0, 1, 1,
            "Send ICMP redirects when forwarding (RFC 1812 5.2.7.2)"),
    TUNABLE("net.ipv6.conf.all.hop_limit", ip6_hop_limit, 1, 255, 64,
            "Hop limit of new sockets' packets"),
    TUNABLE("net.ipv6.conf.all.forwarding", ip6_forward, 0, 1, 0,
            "Forward IPv6 packets between interfaces"),
    TUNABLE("net.ipv6.conf.all.max_addresses", ip6_max_addresses, 1, 16, 16,
            "Addresses an interface forms from router advertisements (RFC 4862 5.5.3)"),
    TUNABLE("net.ipv4.ipfrag_time", ip_reassembly_time_s, 1, 255, 60,
            "Seconds to wait for a datagram's other fragments (RFC 1122 3.3.2)"),
    TUNABLE("net.ipv6.ip6frag_time", ip6_reassembly_time_s, 1, 255, 60,
            "Seconds to wait for a packet's other fragments (RFC 8200 4.5)"),
    TUNABLE("net.ipv4.ipfrag_max_fragments", ip_reassembly_max_fragments, 2, 65535, 4096,
            "Fragments that may wait at once, per family"),
    TUNABLE("net.ipv4.ipfrag_high_thresh", ip_reassembly_max_bytes, 4096, 1023 * MIB, 4 * MIB,
            "Memory for waiting IPv4 fragments, bytes; the datagram idle longest makes room"),
    TUNABLE("net.ipv6.ip6frag_high_thresh", ip6_reassembly_max_bytes, 4096, 1023 * MIB, 4 * MIB,
            "Memory for waiting IPv6 fragments, bytes"),
    TUNABLE("net.ipv4.ip_local_port_first", local_port_first, 1, 65535, 32768,
            "First port the stack chooses by itself"),
    TUNABLE("net.ipv4.ip_local_port_last", local_port_last, 1, 65535, 60999,
            "Last port the stack chooses by itself"),
    TUNABLE("net.ipv4.icmp_echo_ignore_all", icmp_echo_ignore_all, 0, 1, 0,
            "Leave ICMP echo requests unanswered"),
    TUNABLE(
        "net.ipv4.icmp_echo_ignore_broadcasts", icmp_echo_ignore_broadcasts, 0, 1, 1,
        "Leave echo requests to broadcast and multicast addresses unanswered (RFC 1122 3.2.2.6)"),
    TUNABLE("net.ipv6.icmp.echo_ignore_all", icmp6_echo_ignore_all, 0, 1, 0,
            "Leave ICMPv6 echo requests unanswered"),
    TUNABLE("net.ipv4.icmp_ratelimit", icmp_rate_limit_ms, 0, 3600000, 1000,
            "Milliseconds between ICMP errors to one destination, after six at once; 0: no limit"),
    TUNABLE("net.ipv4.icmp_ratemask", icmp_rate_mask, 0, 0xffffffff, 0x1818,
            "ICMP types that are limited, as bits: the errors (RFC 1812 4.3.2.8)"),
    TUNABLE("net.ipv4.icmp_msgs_per_sec", icmp_messages_per_s, 0, 1000000, 1000,
            "ICMP and ICMPv6 errors a second, to all destinations together"),
    TUNABLE("net.ipv4.icmp_msgs_burst", icmp_burst, 1, 1000000, 50,
            "ICMP and ICMPv6 errors that may be sent at once"),
    TUNABLE(
        "net.ipv6.icmp.ratelimit", icmp6_rate_limit_ms, 0, 3600000, 100,
        "Milliseconds between ICMPv6 errors to one destination, after six at once; 0: no limit"),
    TUNABLE("net.ipv4.neigh.max_age", arp_max_age_s, 60, 65535, 300,
            "Seconds an ARP entry is kept without being used or confirmed"),
    TUNABLE("net.ipv4.neigh.base_reachable_time_ms", arp_reachable_ms, 1000, 3600000, 30000,
            "Milliseconds that a neighbour counts as reachable (RFC 1122 2.3.2.1)"),
    TUNABLE("net.ipv4.neigh.retrans_time_ms", arp_retransmit_ms, 100, 60000, 1000,
            "Milliseconds between ARP requests for one address"),
    TUNABLE("net.ipv4.neigh.unres_qlen_bytes", arp_queue_bytes, 2048, 64 * MIB, 212992,
            "Bytes that may wait for a neighbour's address (RFC 1122 2.3.2.2)"),
    TUNABLE("net.ipv6.neigh.base_reachable_time_ms", nd_reachable_time_ms, 1000, 3600000, 30000,
            "Milliseconds that a neighbour counts as reachable (RFC 4861 10)"),
    TUNABLE("net.ipv6.neigh.retrans_time_ms", nd_retransmit_ms, 100, 60000, 1000,
            "Milliseconds between neighbour solicitations (RFC 4861 10)"),
    TUNABLE("net.ipv6.neigh.unres_qlen_bytes", nd_queue_bytes, 2048, 64 * MIB, 212992,
            "Bytes that may wait for a neighbour's address (RFC 4861 7.2.2)"),
    TUNABLE("net.ipv4.tcp_rto_initial_ms", tcp_rto_initial_ms, 50, 32000, 1000,
            "Retransmission timeout before a round trip is measured (RFC 6298 2.1)"),
    TUNABLE(
        "net.ipv4.tcp_rto_min_ms", tcp_rto_min_ms, 50, 60000, 200,
        "Least margin of the retransmission timeout over the smoothed round trip (RFC 6298 2.4)"),
    TUNABLE("net.ipv4.tcp_keepalive_time", tcp_keepalive_time_s, 1, 32767, 7200,
            "Idle seconds before the first keepalive probe (RFC 9293 3.8.4)"),
    TUNABLE("net.ipv4.tcp_keepalive_intvl", tcp_keepalive_interval_s, 1, 32767, 75,
            "Seconds between keepalive probes"),
    TUNABLE("net.ipv4.tcp_keepalive_probes", tcp_keepalive_probes, 1, 127, 9,
            "Unanswered probes that end a connection"),
    TUNABLE("net.ipv4.tcp_syn_retries", tcp_syn_retries, 1, 127, 8,
            "SYNs sent again before connect fails"),
    TUNABLE("net.ipv4.tcp_retries2", tcp_retries, 1, 127, 15,
            "Retransmissions before a connection is given up"),
    TUNABLE("net.ipv4.tcp_orphan_retries", tcp_orphan_retries, 0, 127, 0,
            "Retransmissions and window probes before a closed socket is given up; 0: 8"),
    TUNABLE("net.ipv4.tcp_max_orphans", tcp_max_orphans, 0, 1000000, 65536,
            "Closed sockets with undelivered data; beyond that the one stuck longest is reset"),
    TUNABLE("net.ipv4.tcp_msl_ms", tcp_msl_ms, 50, 600000, 30000,
            "Maximum segment lifetime; TIME-WAIT lasts two of them (RFC 9293 3.4.1)"),
    TUNABLE("net.ipv4.tcp_fin_timeout_ms", tcp_fin_timeout_ms, 50, 600000, 60000,
            "How long a closed socket waits in FIN-WAIT-2"),
    TUNABLE("net.ipv4.tcp_synack_retries", tcp_syn_ack_retries, 0, 12, 5,
            "SYN-ACKs sent again before a handshake is given up"),
    TUNABLE("net.ipv4.tcp_syncookies", tcp_syn_cookies, 0, 2, 1,
            "SYN cookies (RFC 4987): never, when there is no room for a handshake, always"),
    TUNABLE("net.ipv4.tcp_max_syn_backlog", tcp_syn_backlog, 1, 1 << 20, 4096,
            "Handshakes in progress at one listener, 168 bytes each"),
    TUNABLE("net.ipv4.tcp_abort_on_overflow", tcp_abort_on_overflow, 0, 1, 0,
            "Reset connections that exceed a listener's backlog, instead of leaving them waiting"),
    TUNABLE("net.ipv4.tcp_invalid_ratelimit", tcp_invalid_ratelimit_ms, 0, 60000, 500,
            "Milliseconds between answers to unacceptable segments of a connection (RFC 5961 7)"),
    TUNABLE("net.ipv4.tcp_challenge_ack_limit", tcp_challenge_ack_limit, 0, INT32_MAX, INT32_MAX,
            "Answers per second to unacceptable segments, all connections together (RFC 5961 7)"),
    TUNABLE("net.ipv4.tcp_rfc1337", tcp_rfc1337, 0, 1, 0,
            "Ignore resets in TIME-WAIT (RFC 1337 3)"),
    TUNABLE("net.core.somaxconn", tcp_max_backlog, 1, 65535, 4096, "Largest backlog of listen()"),
    TUNABLE("net.ipv4.tcp_rmem_default", tcp_receive_buffer, 2048, 1023 * MIB, MIB,
            "Receive buffer and window of a new TCP socket, bytes"),
    TUNABLE("net.ipv4.tcp_rmem_max", tcp_receive_buffer_max, 2048, 1023 * MIB, 32 * MIB,
            "Largest receive buffer of a TCP socket, set or grown to, bytes"),
    TUNABLE("net.ipv4.tcp_wmem_default", tcp_send_buffer, 2048, 1023 * MIB, MIB,
            "Send buffer of a new TCP socket, bytes"),
    TUNABLE("net.ipv4.tcp_wmem_max", tcp_send_buffer_max, 2048, 1023 * MIB, 32 * MIB,
            "Largest send buffer of a TCP socket, set or grown to, bytes"),
    TUNABLE("net.ipv4.tcp_moderate_rcvbuf", tcp_tune_receive_buffer, 0, 1, 1,
            "Let receive buffers grow with the path, unless SO_RCVBUF was set"),
    TUNABLE("net.ipv4.tcp_delayed_ack", tcp_delayed_ack, 0, 1, 1,
            "Delay acknowledgements up to " TEXT(
                TCP_DELAYED_ACK_MS) " ms or the second segment (RFC 9293 3.8.6.3)"),
    TUNABLE("net.ipv4.tcp_timestamps", tcp_timestamps, 0, 1, 1,
            "Offer and accept timestamps (RFC 7323 3)"),
    TUNABLE("net.ipv4.tcp_sack", tcp_sack, 0, 1, 1,
            "Offer and accept selective acknowledgements (RFC 2018)"),
    TUNABLE("net.ipv4.tcp_window_scaling", tcp_window_scaling, 0, 1, 1,
            "Offer and accept window scaling (RFC 7323 2)"),
    TUNABLE("net.ipv4.tcp_window_shift", tcp_window_shift, 0, 14, 10,
            "The shift offered; must cover tcp_rmem_max"),
    TUNABLE("net.ipv4.tcp_min_snd_mss", tcp_min_send_mss, 48, 65535, 48,
            "Least maximum segment size accepted from a peer"),
    TUNABLE("net.core.rmem_default", datagram_receive_buffer, 2048, 64 * MIB, 212992,
            "Receive buffer of a new UDP or raw socket, bytes"),
    TUNABLE("net.core.wmem_default", datagram_send_buffer, 2048, 64 * MIB, 212992,
            "Send buffer of a new UDP or raw socket, bytes"),
    TUNABLE("net.core.mem_max", datagram_buffer_max, 2048, 64 * MIB, 4 * MIB,
            "Largest buffer of a UDP or raw socket, bytes"),
    TUNABLE("net.ipv4.dhcp_conflict_check", dhcp_conflict_check, 0, 1, 0,
            "Probe a leased address before using it, which takes 9 s (RFC 5227 2.1)"),
};

#define TUNABLE_COUNT (sizeof table / sizeof *table)

static int64_t *field(struct port_tunables *where, const struct tunable *tunable)
{
    return (int64_t *)((char *)where + tunable->offset);
}

void sysctl_init(void)
{
    for (size_t i = 0; i < TUNABLE_COUNT; i++)
        *field(&tunables, &table[i]) = table[i].initial;
}

/* Constraints between settings. */
static bool consistent(const struct port_tunables *wanted)
{
    return wanted->local_port_first <= wanted->local_port_last &&
           wanted->tcp_receive_buffer <= wanted->tcp_receive_buffer_max &&
           wanted->tcp_send_buffer <= wanted->tcp_send_buffer_max &&
           wanted->datagram_receive_buffer <= wanted->datagram_buffer_max &&
           wanted->datagram_send_buffer <= wanted->datagram_buffer_max &&
           wanted->tcp_receive_buffer_max <= 0xffffLL << wanted->tcp_window_shift;
}

static const struct tunable *find(const char *name)
{
    for (size_t i = 0; i < TUNABLE_COUNT; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

int engine_tunable_set(ps_engine *engine, const char *name, int64_t value)
{
    (void)engine;
    const struct tunable *tunable = find(name);
    if (tunable == NULL)
        return -ENOENT;
    struct port_tunables wanted = tunables;
    *field(&wanted, tunable) = value;
    if (value < tunable->minimum || value > tunable->maximum || !consistent(&wanted))
        return -EINVAL;
    tunables = wanted;
    /* lwIP keeps these two in its own variables, which advertisements change too. */
    reachable_time = (u32_t)tunables.nd_reachable_time_ms;
    retrans_timer = (u32_t)tunables.nd_retransmit_ms;
    return 0;
}

static void describe(const struct tunable *tunable, struct ps_tunable *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", tunable->name);
    snprintf(out->description, sizeof out->description, "%s", tunable->description);
    out->value = *field(&tunables, tunable);
    out->minimum = tunable->minimum;
    out->maximum = tunable->maximum;
    out->initial = tunable->initial;
}

int engine_tunable_get(ps_engine *engine, const char *name, struct ps_tunable *out)
{
    (void)engine;
    if (strcmp(name, ACTS_ALONE) == 0) {
        *out = (struct ps_tunable){.name = ACTS_ALONE, .value = acts_alone(), .maximum = 1};
        return 0;
    }
    const struct tunable *tunable = find(name);
    if (tunable == NULL)
        return -ENOENT;
    describe(tunable, out);
    return 0;
}

int engine_tunable_at(ps_engine *engine, size_t position, struct ps_tunable *out)
{
    (void)engine;
    if (position >= TUNABLE_COUNT)
        return 0;
    describe(&table[position], out);
    return 1;
}
