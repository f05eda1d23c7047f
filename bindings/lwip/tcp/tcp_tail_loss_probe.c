/*
 * The tail loss probe (RFC 8985 7): after the last of what was sent nothing arrives that could tell
 * of a loss.
 */
#include "lwip/def.h"
#include "tcp/tcp_congestion.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_scoreboard.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_timer.h"

#define LEAST_PROBE_US 25000U /* on a fast path: a busy peer is none that lost something */
#define PEER_DELAYED_ACK_US \
    200000U /* the peer may hold back a lone segment's acknowledgement so long */

uint64_t tcp_recovery_probe_due(const struct tcp_pcb *pcb)
{
    const struct tcp_recovery *r = &pcb->recovery;
    if (pcb->unacked == NULL || !tcp_recovers(pcb) || r->probing || r->state != TCP_OPEN ||
        r->sacked > 0 || r->srtt_us == 0 || pcb->nrtx > 0 || pcb->persist_backoff > 0)
        return UINT64_MAX;
    uint64_t wait_us = 2ULL * r->srtt_us + (pcb->unacked->next == NULL ? PEER_DELAYED_ACK_US : 0);
    uint32_t passed_us = tcp_now_us() - r->last_us;
    return port.now_us - passed_us + LWIP_MAX(wait_us, LEAST_PROBE_US);
}

/* The tail loss probe (RFC 8985 7.3) makes the peer say what it has before the timeout does. */
void tcp_recovery_probe(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    uint32_t old_next = pcb->snd_nxt;
    struct tcp_seg *fresh = pcb->unsent;
    hook_tcp_path(pcb, tcp_path_route(pcb));
    if (fresh != NULL && tcp_first_of(fresh) == pcb->snd_nxt &&
        tcp_end_of(fresh) - pcb->lastack <= pcb->snd_wnd) {
        tcpwnd_size_t cwnd = pcb->cwnd;
        tcp_segment_fit(pcb, fresh, 0);
        pcb->cwnd = tcp_pipe_of(pcb) + TCP_TCPLEN(fresh);
        tcp_output(pcb);
        pcb->cwnd = cwnd;
    }
    r->probe_was_old = pcb->snd_nxt == old_next;
    if (r->probe_was_old)
        tcp_segment_cut_last(pcb);
    if (r->probe_was_old && tcp_resend(pcb, pcb->unacked_last) != ERR_OK) {
        r->last_us = tcp_now_us(); /* after as long again */
        return;
    }
    r->probing = true;
    r->probe_end = pcb->snd_nxt;
    pcb->rtime = LWIP_TCP_TIMER_START;
}

/* RFC 8985 7.4: a probe of old data that did not come twice has filled a hole. */
void tcp_recovery_judge_probe(struct tcp_pcb *pcb, bool twice)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (r->probe_was_old && twice) {
        r->probing = false;
    } else if (TCP_SEQ_GEQ(pcb->lastack, r->probe_end)) {
        r->probing = false;
        if (r->probe_was_old && r->state == TCP_OPEN) {
            congestion_reduce(pcb, tcp_flight_of(pcb));
            pcb->cwnd = LWIP_MIN(pcb->cwnd, pcb->ssthresh);
        }
    }
}
