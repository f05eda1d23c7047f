/*
 * RACK (RFC 8985): a segment is lost when one that was sent later by more than the reordering
 * window has arrived. That finds lost retransmissions too, and bears with segments that overtake
 * each other.
 */
#include "lwip/def.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_scoreboard.h"

#define REORDERING_SEGMENTS 3 /* SACKed ones that settle it, while nothing was ever reordered */
#define WINDOW_STEPS_LARGEST 16
#define WINDOW_ROUNDS 16 /* recoveries that a widened reordering window lasts */

static uint32_t reordering_window_us(const struct tcp_pcb *pcb)
{
    const struct tcp_recovery *r = &pcb->recovery;
    if (!r->reordering_seen && (r->state != TCP_OPEN || r->sacked_segments >= REORDERING_SEGMENTS))
        return 0;
    uint64_t window_us = (uint64_t)(r->window_steps + 1) * r->min_rtt_us / 4;
    return (uint32_t)LWIP_MIN(window_us, r->srtt_us);
}

/* Marks what is lost by now, and sets the timer for what may be soon (RFC 8985 6.2, step 5). */
bool tcp_rack_detect(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (!r->rack_valid)
        return false;
    uint32_t allowed_us = r->rack_rtt_us + reordering_window_us(pcb), wait_us = 0;
    bool any = false;
    struct tcp_seg *segment;
    while ((segment = tcp_flight_oldest(pcb)) != NULL) {
        bool before =
            tcp_is_earlier(segment->sent_us, r->rack_sent_us) ||
            (segment->sent_us == r->rack_sent_us && TCP_SEQ_LT(tcp_end_of(segment), r->rack_end));
        if (!before)
            break; /* and all others were sent later still */
        int32_t left_us = (int32_t)(segment->sent_us + allowed_us - tcp_now_us());
        if (left_us > 0) { /* by when all are lost that were sent before what has arrived */
            wait_us = r->rack_sent_us + allowed_us - tcp_now_us();
            break;
        }
        tcp_mark_lost(pcb, segment);
        any = true;
    }
    r->reordering_due_us = wait_us > 0 ? port.now_us + wait_us : 0;
    return any;
}

/* RFC 8985 6.2, step 4: a spurious retransmission widens the reordering window, once
 * a round trip. */
void tcp_rack_adapt(struct tcp_pcb *pcb, bool twice)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (r->dsack_in_round && TCP_SEQ_GEQ(pcb->lastack, r->round_end))
        r->dsack_in_round = false;
    if (twice && !r->dsack_in_round) {
        r->dsack_in_round = true;
        r->round_end = pcb->snd_nxt;
        if (r->window_steps < WINDOW_STEPS_LARGEST)
            r->window_steps++;
        r->window_rounds = WINDOW_ROUNDS;
    }
}
