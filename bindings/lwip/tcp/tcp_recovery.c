/*
 * What a connection with SACK does about losses: recovery, its pace (RFC 6937) and its end, and
 * what is sent again. tcp_scoreboard.c says where in this room what is sent again.
 */
#include "tcp/tcp_recovery.h"

#include "lwip/priv/tcp_priv.h"
#include "lwip/sys.h"
#include "tcp/tcp_congestion.h"
#include "tcp/tcp_scoreboard.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_timer.h"

static void enter_recovery(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    r->prr_flight = LWIP_MAX(LWIP_MIN(tcp_flight_of(pcb), pcb->cwnd), 1);
    congestion_reduce(pcb, tcp_flight_of(pcb));
    pcb->recover = pcb->snd_nxt;
    pcb->bytes_acked = 0;
    r->state = TCP_IN_RECOVERY;
    r->prr_delivered = r->prr_out = 0;
    r->probing = false;
}

/* RFC 6937 3: what is sent during recovery is in proportion to what arrives. */
static void pace_recovery(struct tcp_pcb *pcb, bool advanced)
{
    struct tcp_recovery *r = &pcb->recovery;
    uint32_t pipe = tcp_pipe_of(pcb);
    int64_t more;
    r->prr_delivered += r->delivered;
    if (pipe > pcb->ssthresh) {
        uint64_t share = (uint64_t)r->prr_delivered * pcb->ssthresh;
        more = (int64_t)((share + r->prr_flight - 1) / r->prr_flight) - r->prr_out;
    } else {
        more = LWIP_MAX((int64_t)r->prr_delivered - r->prr_out, (int64_t)r->delivered);
        if (advanced)
            more += pcb->mss;
        more = LWIP_MIN(more, (int64_t)(pcb->ssthresh - pipe));
    }
    if (r->prr_out == 0)
        more = LWIP_MAX(more, pcb->mss); /* the first retransmission goes at once */
    pcb->cwnd = pipe + (uint32_t)LWIP_MAX(more, 0);
}

void tcp_recovery_reordered(struct tcp_pcb *pcb)
{
    pcb->recovery.reordering_due_us = 0;
    if (!tcp_recovers(pcb) || !tcp_rack_detect(pcb))
        return;
    if (pcb->recovery.state == TCP_OPEN)
        enter_recovery(pcb);
    if (pcb->recovery.state == TCP_IN_RECOVERY)
        pace_recovery(pcb, false);
    tcp_output(pcb);
}

/* --- acknowledgements ------------------------------------------------------------------------ */

static void leave_recovery(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (r->state == TCP_IN_RECOVERY)
        pcb->cwnd = LWIP_MAX(pcb->ssthresh, pcb->mss);
    r->state = TCP_OPEN;
    pcb->bytes_acked = 0;
    if (r->window_rounds > 0 && --r->window_rounds == 0)
        r->window_steps = 0;
}

/* All that was sent again came twice: nothing had been lost. */
static void undo(struct tcp_pcb *pcb, uint32_t twice)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (r->undo_size == 0 || twice == 0)
        return;
    r->undo_size -= LWIP_MIN(r->undo_size, twice);
    if (r->undo_size > 0 || r->lost > 0)
        return;
    pcb->cwnd = LWIP_MAX(pcb->cwnd, r->undo_cwnd);
    pcb->ssthresh = LWIP_MAX(pcb->ssthresh, r->undo_ssthresh);
    r->state = TCP_OPEN;
}

void hook_tcp_acked(struct tcp_pcb *pcb, uint32_t advanced)
{
    struct tcp_recovery *r = &pcb->recovery;
    pcb->figures.ack_received_us = port.now_us;
    /* A byte that a probe has brought into a closed window is no progress. */
    if (advanced > 0 && (pcb->persist_backoff == 0 || pcb->snd_wnd > 0)) {
        r->progress_ms = sys_now();
        tcp_orphan_progress(pcb);
    }
    if (!tcp_recovers(pcb)) {
        tcp_sack_blocks = 0; /* of one that turned SACK down */
        return;
    }
    uint32_t twice = tcp_sack_blocks > 0 ? tcp_scoreboard_take(pcb) : 0;
    pcb->figures.came_twice += twice > 0;
    tcp_scoreboard_round_trip(pcb);
    if (advanced > 0)
        r->last_us = tcp_now_us();
    if (twice > 0 || r->dsack_in_round)
        tcp_rack_adapt(pcb, twice > 0);
    if (r->probing)
        tcp_recovery_judge_probe(pcb, twice > 0);
    undo(pcb, twice);
    if (advanced > 0 && r->state != TCP_OPEN && TCP_SEQ_GEQ(pcb->lastack, pcb->recover))
        leave_recovery(pcb);
    bool any_lost =
        (r->sacked > 0 || r->state != TCP_OPEN || r->delivered > 0) && tcp_rack_detect(pcb);
    if (any_lost && r->state == TCP_OPEN)
        enter_recovery(pcb);
    if (r->state == TCP_IN_RECOVERY) {
        if (r->delivered > 0 || any_lost)
            pace_recovery(pcb, advanced > 0 && !any_lost);
    } else if (r->state == TCP_IN_LOSS) {
        if (r->delivered > 0)
            congestion_acked(pcb, LWIP_MIN(r->delivered, pcb->mss));
    } else if (advanced > 0) {
        /* A window that the sender doesn't fill says nothing about the path (RFC 5681 4.1). */
        uint32_t before = tcp_pipe_of(pcb) + r->delivered;
        if (before >= pcb->cwnd / 2 &&
            (pcb->cwnd < pcb->ssthresh || before + tcp_segment_slack(pcb) > pcb->cwnd))
            congestion_acked(pcb, advanced);
    }
    r->delivered = 0;
}

/* --- sending ------------------------------------------------------------------------------- */

void hook_tcp_sent(struct tcp_pcb *pcb, struct tcp_seg *segment, struct netif *netif)
{
    struct tcp_recovery *r = &pcb->recovery;
    tcp_unmark_lost(pcb, segment);
    tcp_segment_mark(pcb, segment, netif);
    uint32_t pieces = tcp_segment_pieces(segment), more = pieces - 1; /* lwIP counts one */
    tcp_figures_sent(pcb, segment->len, pieces, (segment->marks & SEGMENT_SENT) != 0);
    if (segment->marks & SEGMENT_SENT) {
        segment->marks |= SEGMENT_RETRANSMITTED;
        lwip_stats.mib2.tcpretranssegs += more;
    } else {
        lwip_stats.mib2.tcpoutsegs += more;
    }
    segment->marks |= SEGMENT_SENT;
    segment->sent_us = r->last_us = tcp_now_us();
    tcp_flight_changed(segment);
    if (pcb->unacked == NULL && pcb->persist_backoff == 0 &&
        !(segment->marks & SEGMENT_RETRANSMITTED))
        r->progress_ms = sys_now();
    if (r->state == TCP_IN_RECOVERY)
        r->prr_out += TCP_TCPLEN(segment);
}

/* What lwIP, which counts from the first unacknowledged byte, may send new data up to. */
uint32_t hook_tcp_cwnd(struct tcp_pcb *pcb)
{
    if (!tcp_recovers(pcb)) {
        /* Limited transmit (RFC 3042): the first two duplicate ACKs let a new segment out each. */
        bool limited = pcb->state >= ESTABLISHED && !(pcb->flags & TF_INFR);
        return pcb->cwnd + (limited ? LWIP_MIN(pcb->dupacks, 2U) * pcb->mss : 0);
    }
    uint32_t flight = tcp_flight_of(pcb), pipe = tcp_pipe_of(pcb);
    return pcb->cwnd > pipe ? flight + (pcb->cwnd - pipe) : flight;
}

void hook_tcp_retransmit(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (r->lost == 0 || !tcp_recovers(pcb))
        return;
    hook_tcp_path(pcb, tcp_path_route(pcb));
    struct tcp_seg *segment;
    while ((segment = tcp_flight_first_lost(pcb)) != NULL) {
        uint32_t pipe = tcp_pipe_of(pcb);
        tcp_segment_fit(pcb, segment, pcb->cwnd > pipe ? pcb->cwnd - pipe : 0);
        if ((pipe > 0 && pipe + TCP_TCPLEN(segment) > pcb->cwnd) ||
            tcp_resend(pcb, segment) != ERR_OK)
            return;
        r->undo_size += TCP_TCPLEN(segment);
        if (segment == pcb->unacked)
            pcb->rtime = LWIP_TCP_TIMER_START;
    }
}
