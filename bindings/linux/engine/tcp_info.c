// SPDX-License-Identifier: GPL-2.0
/* TCP's own figures of a connection: tcp(7), TCP_INFO. */
#include <netinet/in.h>
#include <string.h>

#include "engine/socket_table.h"
#include "engine/system_call.h"

#define TCP_INFO 11

/* As in Linux 6.12's linux/tcp.h; an older or newer kernel's is shorter or longer. */
struct linux_tcp_info {
    uint8_t state, ca_state, retransmits, probes, backoff, options, wscales, flags;
    uint32_t rto, ato, snd_mss, rcv_mss;
    uint32_t unacked, sacked, lost, retrans, fackets;
    uint32_t last_data_sent, last_ack_sent, last_data_recv, last_ack_recv;
    uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
    uint32_t rcv_rtt, rcv_space, total_retrans;
    uint64_t pacing_rate, max_pacing_rate, bytes_acked, bytes_received;
    uint32_t segs_out, segs_in, notsent_bytes, min_rtt, data_segs_in, data_segs_out;
    uint64_t delivery_rate, busy_time, rwnd_limited, sndbuf_limited;
    uint32_t delivered, delivered_ce;
    uint64_t bytes_sent, bytes_retrans;
    uint32_t dsack_dups, reord_seen, rcv_ooopack, snd_wnd, rcv_wnd, rehash;
    uint16_t total_rto, total_rto_recoveries;
    uint32_t total_rto_time;
};
_Static_assert(sizeof(struct linux_tcp_info) == 248, "laid out as Linux does");

/* Linux's "none". */
#define NO_THRESHOLD 0x7fffffff

static void scale(const struct linux_tcp_info *in, struct ps_tcp_info *out)
{
    unsigned char bytes[1];
    memcpy(bytes, &in->wscales, 1);
    /* Bit-fields, in the machine's order. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    out->send_wscale = bytes[0] & 15;
    out->receive_wscale = bytes[0] >> 4;
#else
    out->send_wscale = bytes[0] >> 4;
    out->receive_wscale = bytes[0] & 15;
#endif
}

int engine_tcp_info(ps_engine *self, int64_t handle, struct ps_tcp_info *out)
{
    SOCKET(socket, fd);
    (void)socket;
    struct linux_tcp_info in = {0};
    int size = sizeof in;
    long result = CALL(NR_getsockopt, fd, IPPROTO_TCP, TCP_INFO, &in, &size);
    if (result < 0)
        return (int)result;
    uint64_t window = (uint64_t)in.snd_cwnd * in.snd_mss;
    *out = (struct ps_tcp_info){
        .state = in.state,
        .retransmits = in.retransmits,
        .backoff = in.backoff,
        .options = in.options,
        .probes = in.probes,
        .rto_us = in.rto,
        .rtt_us = in.rtt,
        .rttvar_us = in.rttvar,
        .send_mss = in.snd_mss,
        .receive_mss = in.rcv_mss,
        .unacked_segments = in.unacked,
        .send_ssthresh =
            in.snd_ssthresh >= NO_THRESHOLD ? UINT32_MAX : in.snd_ssthresh * in.snd_mss,
        .send_cwnd_bytes = window < UINT32_MAX ? (uint32_t)window : UINT32_MAX,
        .send_window = in.snd_wnd,
        .receive_window = in.rcv_wnd,
        .pmtu = in.pmtu,
        .bytes_acked = in.bytes_acked,
        .bytes_received = in.bytes_received,
        .total_retransmits = in.total_retrans,
        .congestion_state = in.ca_state,
        .ato_us = in.ato,
        .min_rtt_us = in.min_rtt == UINT32_MAX ? 0 : in.min_rtt,
        .receive_rtt_us = in.rcv_rtt,
        .sacked_segments = in.sacked,
        .lost_segments = in.lost,
        .again_segments = in.retrans,
        .data_sent_ms = in.last_data_sent,
        .data_received_ms = in.last_data_recv,
        .ack_received_ms = in.last_ack_recv,
        .reordering = in.reordering,
        .receive_threshold = in.rcv_ssthresh,
        .receive_space = in.rcv_space,
        .not_sent_bytes = in.notsent_bytes,
        .segments_out = in.segs_out,
        .segments_in = in.segs_in,
        .data_segments_out = in.data_segs_out,
        .data_segments_in = in.data_segs_in,
        .delivered = in.delivered,
        .came_twice = in.dsack_dups,
        .overtaken = in.reord_seen,
        .out_of_order = in.rcv_ooopack,
        .timeouts = in.total_rto,
        .timeout_series = in.total_rto_recoveries,
        .bytes_sent = in.bytes_sent,
        .bytes_again = in.bytes_retrans,
        .busy_us = in.busy_time,
        .window_limited_us = in.rwnd_limited,
        .buffer_limited_us = in.sndbuf_limited,
    };
    scale(&in, out);
    return 0;
}
