/*
 * The scoreboard of connections with SACK: which segments in flight have arrived, and when.
 *
 * Loss recovery is RACK-TLP (RFC 8985) where the peer has SACK, and lwIP's own NewReno where it has
 * not. What sends again:
 *
 *   with SACK     hook_tcp_retransmit (tcp_recovery.c), asked by tcp_output, what is marked lost:
 *                 by tcp_rack.c as acknowledgements come or the reordering timer runs out, by
 *                 tcp_timeout.c all at the retransmission timeout
 *                 tcp_tail_loss_probe.c, one segment
 *   without       tcp_rexmit_fast (lwIP's tcp_out.c) at the third duplicate acknowledgement
 *   either        retransmit in tcp_timer.c at the retransmission timeout (RFC 6298)
 *
 * Segments stay in lwIP's queue of unacknowledged ones, marked; what is neither SACKed nor lost is
 * the pipe, and the congestion window bounds that. They are found in a tree (tcp_flight.c), so that
 * an acknowledgement costs as much as it tells of, not as there are segments or holes.
 */
#include "tcp/tcp_scoreboard.h"

#include "tcp/tcp_recovery.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_timer.h"

#define SACKS_LARGEST 4
#define MIN_RTT_AGE_US (300U * 1000000)

/* The SACK option of the segment that is being processed. */
int tcp_sack_blocks;
static struct {
    uint32_t left[SACKS_LARGEST], right[SACKS_LARGEST];
} blocks;

/* Findings so far from the acknowledgement being processed. */
static struct {
    uint32_t rtt_us, rtt_sent_us;
    bool rtt_known;
} news;

void hook_tcp_options(void)
{
    tcp_sack_blocks = 0;
}

void hook_tcp_sack_block(uint32_t left, uint32_t right)
{
    if (tcp_sack_blocks < SACKS_LARGEST && TCP_SEQ_LT(left, right)) {
        blocks.left[tcp_sack_blocks] = left;
        blocks.right[tcp_sack_blocks++] = right;
    }
}

/* A segment has arrived at the peer (RFC 8985 6.2, steps 1 to 3). */
static void delivered(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    struct tcp_recovery *r = &pcb->recovery;
    uint32_t rtt_us = tcp_now_us() - segment->sent_us, end = tcp_end_of(segment);
    r->delivered += TCP_TCPLEN(segment);
    pcb->figures.delivered += tcp_segment_pieces(segment);
    if (segment->marks & SEGMENT_RETRANSMITTED) {
        if (rtt_us < r->min_rtt_us)
            return; /* the answer is to the first copy */
    } else {
        if (!news.rtt_known || tcp_is_earlier(news.rtt_sent_us, segment->sent_us)) {
            news.rtt_known = true;
            news.rtt_us = rtt_us;
            news.rtt_sent_us = segment->sent_us;
        }
        if (r->rack_valid && TCP_SEQ_LT(end, r->fack)) {
            r->reordering_seen = true;
            tcp_figures_late(pcb, r->fack - end);
        }
    }
    if (!r->rack_valid || TCP_SEQ_GT(end, r->fack))
        r->fack = end;
    if (!r->rack_valid || tcp_is_earlier(r->rack_sent_us, segment->sent_us) ||
        (r->rack_sent_us == segment->sent_us && TCP_SEQ_GT(end, r->rack_end))) {
        r->rack_valid = true;
        r->rack_sent_us = segment->sent_us;
        r->rack_end = end;
        r->rack_rtt_us = rtt_us;
    }
}

void hook_tcp_segment_acked(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (!(segment->marks & SEGMENT_SENT))
        return;
    if (!tcp_recovers(pcb)) {
        pcb->figures.delivered += tcp_segment_pieces(segment);
        return;
    }
    tcp_flight_remove(pcb, segment);
    tcp_unmark_lost(pcb, segment);
    if (segment->marks & SEGMENT_SACKED) {
        pcb->recovery.sacked -= TCP_TCPLEN(segment);
        pcb->recovery.sacked_segments -= tcp_segment_pieces(segment);
    } else {
        delivered(pcb, segment);
    }
}

/* A long segment that a block covers a part of is cut at the block's edges. Returns whether it is
 * another one now. */
static bool cut_at_edges(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t left,
                         uint32_t right)
{
    uint32_t first = tcp_first_of(segment), end = tcp_end_of(segment);
    if (TCP_SEQ_LT(first, left) && TCP_SEQ_LT(left, end))
        return tcp_segment_split(pcb, segment, left - first);
    if (TCP_SEQ_LT(right, end) && TCP_SEQ_GEQ(first, left))
        return tcp_segment_split(pcb, segment, right - first);
    return false;
}

static void take_block(struct tcp_pcb *pcb, uint32_t left, uint32_t right)
{
    struct tcp_seg *segment;
    while ((segment = tcp_flight_open_after(pcb, left)) != NULL &&
           TCP_SEQ_LT(tcp_first_of(segment), right)) {
        if (cut_at_edges(pcb, segment, left, right))
            continue;
        if (TCP_SEQ_GEQ(tcp_first_of(segment), left) && TCP_SEQ_LEQ(tcp_end_of(segment), right)) {
            tcp_unmark_lost(pcb, segment);
            segment->marks |= SEGMENT_SACKED;
            tcp_flight_changed(segment);
            pcb->recovery.sacked += TCP_TCPLEN(segment);
            pcb->recovery.sacked_segments += tcp_segment_pieces(segment);
            delivered(pcb, segment);
        }
        left = tcp_end_of(segment);
    }
}

/* Takes in the SACK option; blocks about what was never sent, or is acknowledged, are a lie or old.
 * Returns how many bytes it says came twice (RFC 2883 4). */
uint32_t tcp_scoreboard_take(struct tcp_pcb *pcb)
{
    uint32_t twice = 0;
    for (int i = 0; i < tcp_sack_blocks; i++) {
        uint32_t left = blocks.left[i], right = blocks.right[i];
        bool inside = tcp_sack_blocks > 1 && TCP_SEQ_GEQ(left, blocks.left[1]) &&
                      TCP_SEQ_LEQ(right, blocks.right[1]);
        if (TCP_SEQ_GT(right, pcb->snd_nxt) || TCP_SEQ_LT(left, pcb->lastack - pcb->snd_wnd_max))
            continue;
        if (i == 0 && (TCP_SEQ_LEQ(right, pcb->lastack) || inside))
            twice = right - left;
        else if (TCP_SEQ_GT(left, pcb->lastack))
            take_block(pcb, left, right);
    }
    tcp_sack_blocks = 0;
    return twice;
}

/* One sample an acknowledgement. */
void tcp_scoreboard_round_trip(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    pcb->rttest = 0;
    if (!news.rtt_known)
        return;
    uint32_t rtt_us = LWIP_MAX(news.rtt_us, 1);
    if (r->min_rtt_us == 0 || rtt_us <= r->min_rtt_us ||
        tcp_now_us() - r->min_rtt_at_us > MIN_RTT_AGE_US) {
        r->min_rtt_us = rtt_us;
        r->min_rtt_at_us = tcp_now_us();
    }
    r->data_rtt_us =
        r->data_rtt_us == 0 ? rtt_us : (uint32_t)((7ULL * r->data_rtt_us + rtt_us) / 8);
    tcp_round_trip(pcb, rtt_us);
    memset(&news, 0, sizeof news);
}

void hook_tcp_in_flight(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (tcp_recovers(pcb))
        tcp_flight_add(pcb, segment);
}

bool hook_tcp_recovers(const struct tcp_pcb *pcb)
{
    return tcp_recovers(pcb);
}
