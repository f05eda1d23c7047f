/*
 * What TCP_INFO tells of a connection (tcp(7), linux/tcp.h).
 */
#include "base/entries.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_scoreboard.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_socket.h"

#define LEAST_REORDERING 3 /* RFC 5681's threshold, which Linux tells before it has seen any */
#define MOST_REORDERING 300

static uint64_t limited_us(const struct tcp_figures *figures, enum tcp_limit limit)
{
    return figures->limited_us[limit] +
           (figures->limit == limit ? port.now_us - figures->limit_since_us : 0);
}

static uint32_t ago_ms(const struct tcp_pcb *pcb, uint64_t then_us)
{
    /* An event that never happened counts from the start of the connection. */
    return (uint32_t)((port.now_us - LWIP_MAX(then_us, pcb->timer.begin_us)) / 1000);
}

static uint8_t congestion_state(const struct tcp_pcb *pcb)
{
    enum { OPEN, DISORDER, REDUCED, RECOVERY, LOSS }; /* TCP_CA_* */
    const struct tcp_recovery *r = &pcb->recovery;
    if (!tcp_recovers(pcb))
        return pcb->nrtx > 0 ? LOSS : pcb->flags & TF_INFR ? RECOVERY : OPEN;
    return r->state == TCP_IN_LOSS       ? LOSS
           : r->state == TCP_IN_RECOVERY ? RECOVERY
           : r->sacked > 0               ? DISORDER
                                         : OPEN;
}

static void tell_flight(const struct tcp_pcb *pcb, struct ps_tcp_info *out)
{
    for (const struct tcp_seg *segment = pcb->unacked; segment != NULL; segment = segment->next) {
        uint32_t pieces = tcp_segment_pieces(segment);
        out->unacked_segments += pieces;
        if (segment->marks & SEGMENT_LOST)
            out->lost_segments += pieces;
        else if ((segment->marks & (SEGMENT_RETRANSMITTED | SEGMENT_SACKED)) ==
                 SEGMENT_RETRANSMITTED)
            out->again_segments += pieces;
    }
    out->sacked_segments = pcb->recovery.sacked_segments;
}

static void tell_figures(const struct tcp_pcb *pcb, struct ps_tcp_info *out)
{
    const struct tcp_figures *figures = &pcb->figures;
    out->data_sent_ms = ago_ms(pcb, figures->data_sent_us);
    out->data_received_ms = ago_ms(pcb, figures->data_received_us);
    out->ack_received_ms = ago_ms(pcb, figures->ack_received_us);
    out->bytes_sent = figures->bytes_sent;
    out->bytes_again = figures->bytes_again;
    out->total_retransmits = figures->segments_again;
    out->segments_out = figures->segments_out;
    out->segments_in = figures->segments_in;
    out->data_segments_out = figures->data_segments_out;
    out->data_segments_in = figures->data_segments_in;
    out->delivered = figures->delivered;
    out->came_twice = figures->came_twice;
    out->overtaken = figures->overtaken;
    out->reordering = LWIP_MIN(LWIP_MAX(figures->farthest, LEAST_REORDERING), MOST_REORDERING);
    out->out_of_order = figures->out_of_order;
    out->timeouts = figures->timeouts;
    out->timeout_series = figures->series;
    out->window_limited_us = limited_us(figures, TCP_LIMIT_WINDOW);
    out->buffer_limited_us = limited_us(figures, TCP_LIMIT_BUFFER);
    out->busy_us =
        limited_us(figures, TCP_LIMIT_PATH) + out->window_limited_us + out->buffer_limited_us;
}

int engine_tcp_info(ps_engine *engine, int64_t handle, struct ps_tcp_info *out)
{
    (void)engine;
    struct port_socket *head = socket_find(handle);
    if (head == NULL)
        return -EBADF;
    if (head->kind != &tcp_kind)
        return -ENOPROTOOPT;
    struct tcp_socket *socket = tcp_socket_of(head);
    struct tcp_pcb *pcb = socket->pcb;
    memset(out, 0, sizeof *out);
    out->state = PS_TCP_CLOSED;
    out->bytes_received = socket->received;
    out->bytes_acked = socket->sent;
    if (pcb == NULL)
        return 0;
    out->state = tcp_state_number(pcb->state);
    if (pcb->state == LISTEN) {
        out->unacked_segments = socket->waiting;
        out->sacked_segments = socket->backlog - 1; /* as Linux tells it there */
        return 0;
    }
    out->congestion_state = congestion_state(pcb);
    out->retransmits = out->backoff = pcb->nrtx;
    out->probes = LWIP_MAX(pcb->persist_probe, pcb->keep_cnt_sent);
    out->options = (u8_t)((pcb->flags & TF_TIMESTAMP ? 1 : 0) | (pcb->flags & TF_SACK ? 2 : 0) |
                          (pcb->flags & TF_WND_SCALE ? 4 : 0)); /* TCPI_OPT_* */
    out->send_wscale = pcb->snd_scale;
    out->receive_wscale = pcb->rcv_scale;
    out->rto_us = (uint32_t)pcb->rto * 1000;
    out->ato_us = TCP_DELAYED_ACK_MS * 1000;
    out->rtt_us = pcb->recovery.srtt_us;
    out->rttvar_us = pcb->recovery.rttvar_us;
    out->min_rtt_us = pcb->recovery.min_rtt_us;
    out->receive_rtt_us = socket->tuning.rtt_us;
    out->receive_space = (uint32_t)LWIP_MIN(socket->tuning.received.most, UINT32_MAX);
    hook_tcp_path(pcb, tcp_path_route(pcb));
    out->send_mss = out->receive_mss = pcb->mss;
    /* lwIP begins with what never limits. */
    out->send_ssthresh = pcb->ssthresh < TCP_SND_BUF ? pcb->ssthresh : UINT32_MAX;
    out->send_cwnd_bytes = pcb->cwnd;
    out->send_window = pcb->snd_wnd;
    out->receive_window = pcb->rcv_wnd;
    out->receive_threshold = tcp_window_most(socket);
    out->not_sent_bytes = tcp_not_sent(socket);
    const struct netif *netif = ip_route(&pcb->local_ip, &pcb->remote_ip);
    out->pmtu = netif ? netif->mtu : 0;
    tell_flight(pcb, out);
    tell_figures(pcb, out);
    return 0;
}
