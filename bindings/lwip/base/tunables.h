/*
 * The stack's tunables. lwIP takes most of them as macros; lwipopts.h defines those macros as
 * fields of this struct, so that they move at run time. sysctl.c names, bounds and documents
 * each.
 *
 * Plain C types only: lwIP's own configuration header includes this.
 */
#ifndef PYSTACK_LWIP_TUNABLES_H
#define PYSTACK_LWIP_TUNABLES_H

#include <stdint.h>

struct port_tunables {
    /* IP */
    int64_t ip_ttl, ip_forward, ip6_hop_limit, ip6_forward;
    int64_t ip_accept_redirects, ip_send_redirects;
    int64_t ip_reassembly_time_s, ip6_reassembly_time_s, ip_reassembly_max_fragments;
    int64_t ip_reassembly_max_bytes, ip6_reassembly_max_bytes;
    int64_t local_port_first, local_port_last;
    int64_t icmp_echo_ignore_all, icmp_echo_ignore_broadcasts, icmp6_echo_ignore_all;
    int64_t icmp_rate_limit_ms, icmp6_rate_limit_ms, icmp_rate_mask;
    int64_t icmp_messages_per_s, icmp_burst;
    /* Neighbours */
    int64_t arp_max_age_s, arp_reachable_ms, arp_retransmit_ms, arp_queue_bytes;
    int64_t nd_reachable_time_ms, nd_retransmit_ms, nd_queue_bytes, ip6_max_addresses;
    /* TCP */
    int64_t tcp_rto_initial_ms, tcp_rto_min_ms;
    int64_t tcp_keepalive_time_s, tcp_keepalive_interval_s, tcp_keepalive_probes;
    int64_t tcp_syn_retries, tcp_retries, tcp_msl_ms, tcp_fin_timeout_ms;
    int64_t tcp_orphan_retries, tcp_max_orphans;
    int64_t tcp_syn_ack_retries, tcp_syn_cookies, tcp_syn_backlog, tcp_max_backlog,
        tcp_abort_on_overflow;
    int64_t tcp_invalid_ratelimit_ms, tcp_challenge_ack_limit, tcp_rfc1337;
    int64_t tcp_receive_buffer, tcp_receive_buffer_max, tcp_send_buffer, tcp_send_buffer_max;
    int64_t tcp_tune_receive_buffer;
    int64_t tcp_delayed_ack, tcp_timestamps, tcp_sack, tcp_window_scaling, tcp_window_shift;
    int64_t tcp_min_send_mss;
    /* UDP and raw */
    int64_t datagram_receive_buffer, datagram_send_buffer, datagram_buffer_max;
    /* DHCP */
    int64_t dhcp_conflict_check;
};

extern struct port_tunables tunables;

#endif
