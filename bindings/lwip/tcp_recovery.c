/*
 * Loss recovery of connections with SACK: RACK-TLP (RFC 8985), where lwIP itself has only
 * duplicate acknowledgements and a timeout.
 *
 * A segment is lost when one that was sent later by more than the reordering window has arrived.
 * That finds lost retransmissions too, and bears with segments that overtake each other. Segments
 * stay in lwIP's queue of unacknowledged ones, marked; what is neither SACKed nor lost is the pipe,
 * and the congestion window bounds that. They are found in a tree (tcp_flight.c), so that an
 * acknowledgement costs as much as it tells of, not as there are segments or holes.
 */
#include "tcp_recovery.h"

#include "hooks.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/sys.h"
#include "port.h"
#include "tcp_congestion.h"
#include "tcp_segment.h"

enum {
    SENT = SEGMENT_SENT,
    RETRANSMITTED = SEGMENT_RETRANSMITTED,
    SACKED = SEGMENT_SACKED,
    LOST = SEGMENT_LOST,
};

#define SACKS_LARGEST 4
#define REORDERING_SEGMENTS 3 /* SACKed ones that settle it, while nothing was ever reordered */
#define WINDOW_STEPS_LARGEST 16
#define WINDOW_ROUNDS 16 /* recoveries that a widened reordering window lasts */
#define MIN_RTT_AGE_US (300U * 1000000)
#define LEAST_PROBE_US 25000U  /* on a fast path: a busy peer is none that lost something */
#define DELAYED_ACK_US 200000U /* a lone segment's acknowledgement may be held back this long */

/* The SACK option of the segment that is being processed. */
static struct {
    uint32_t left[SACKS_LARGEST], right[SACKS_LARGEST];
    int count;
} blocks;

/* What the acknowledgement that is being processed has told so far. */
static struct {
    uint32_t delivered, rtt_us, rtt_sent_us;
    bool rtt_known;
} news;

static uint32_t now_us(void)
{
    return (uint32_t)port.now_us;
}

static bool earlier(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static uint32_t first_of(const struct tcp_seg *segment)
{
    return lwip_ntohl(segment->tcphdr->seqno);
}

static uint32_t end_of(const struct tcp_seg *segment)
{
    return first_of(segment) + TCP_TCPLEN(segment);
}

/* Not up to snd_nxt: after a timeout at a closed window lwIP has it all to send again. */
static uint32_t flight_of(const struct tcp_pcb *pcb)
{
    return pcb->unacked != NULL ? end_of(pcb->unacked_last) - pcb->lastack : 0;
}

static uint32_t pipe_of(const struct tcp_pcb *pcb)
{
    uint32_t flight = flight_of(pcb), gone = pcb->recovery.sacked + pcb->recovery.lost;
    return flight > gone ? flight - gone : 0;
}

static void unmark_lost(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (segment->marks & LOST) {
        segment->marks &= (uint8_t)~LOST;
        pcb->recovery.lost -= TCP_TCPLEN(segment);
        tcp_flight_changed(segment);
    }
}

static void mark_lost(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    segment->marks |= LOST;
    pcb->recovery.lost += TCP_TCPLEN(segment);
    tcp_flight_changed(segment);
}

bool hook_tcp_recovers(const struct tcp_pcb *pcb)
{
    return pcb->flags & TF_SACK && pcb->state >= ESTABLISHED;
}

/* --- what arrives ------------------------------------------------------------------------- */

void hook_tcp_options(void)
{
    blocks.count = 0;
}

void hook_tcp_sack_block(uint32_t left, uint32_t right)
{
    if (blocks.count < SACKS_LARGEST && TCP_SEQ_LT(left, right)) {
        blocks.left[blocks.count] = left;
        blocks.right[blocks.count++] = right;
    }
}

/* A segment has arrived at the peer (RFC 8985 6.2, steps 1 to 3). */
static void delivered(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    struct tcp_recovery *r = &pcb->recovery;
    uint32_t rtt_us = now_us() - segment->sent_us, end = end_of(segment);
    news.delivered += TCP_TCPLEN(segment);
    pcb->figures.delivered += tcp_segment_pieces(segment);
    if (segment->marks & RETRANSMITTED) {
        if (rtt_us < r->min_rtt_us)
            return; /* the answer is to the first copy */
    } else {
        if (!news.rtt_known || earlier(news.rtt_sent_us, segment->sent_us)) {
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
    if (!r->rack_valid || earlier(r->rack_sent_us, segment->sent_us) ||
        (r->rack_sent_us == segment->sent_us && TCP_SEQ_GT(end, r->rack_end))) {
        r->rack_valid = true;
        r->rack_sent_us = segment->sent_us;
        r->rack_end = end;
        r->rack_rtt_us = rtt_us;
    }
}

void hook_tcp_segment_acked(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (!(segment->marks & SENT))
        return;
    if (!hook_tcp_recovers(pcb)) {
        pcb->figures.delivered += tcp_segment_pieces(segment);
        return;
    }
    tcp_flight_remove(pcb, segment);
    unmark_lost(pcb, segment);
    if (segment->marks & SACKED) {
        pcb->recovery.sacked -= TCP_TCPLEN(segment);
        pcb->recovery.sacked_segments -= tcp_segment_pieces(segment);
    } else {
        delivered(pcb, segment);
    }
}

void tcp_recovery_partly_acked(struct tcp_pcb *pcb, const struct tcp_seg *segment, uint32_t size,
                               uint32_t pieces)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (!hook_tcp_recovers(pcb))
        return;
    if (segment->marks & LOST)
        r->lost -= size;
    if (segment->marks & SACKED) {
        r->sacked -= size;
        r->sacked_segments -= pieces;
    } else {
        news.delivered += size;
        pcb->figures.delivered += pieces;
    }
}

/* A long segment that a block covers a part of is cut at the block's edges. Returns whether it is
 * another one now. */
static bool cut_at_edges(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t left,
                         uint32_t right)
{
    uint32_t first = first_of(segment), end = end_of(segment);
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
           TCP_SEQ_LT(first_of(segment), right)) {
        if (cut_at_edges(pcb, segment, left, right))
            continue;
        if (TCP_SEQ_GEQ(first_of(segment), left) && TCP_SEQ_LEQ(end_of(segment), right)) {
            unmark_lost(pcb, segment);
            segment->marks |= SACKED;
            tcp_flight_changed(segment);
            pcb->recovery.sacked += TCP_TCPLEN(segment);
            pcb->recovery.sacked_segments += tcp_segment_pieces(segment);
            delivered(pcb, segment);
        }
        left = end_of(segment);
    }
}

/* Takes in the SACK option; blocks about what was never sent, or is acknowledged, are a lie or old.
 * Returns how many bytes it says came twice (RFC 2883 4). */
static uint32_t take_blocks(struct tcp_pcb *pcb)
{
    uint32_t twice = 0;
    for (int i = 0; i < blocks.count; i++) {
        uint32_t left = blocks.left[i], right = blocks.right[i];
        bool inside = blocks.count > 1 && TCP_SEQ_GEQ(left, blocks.left[1]) &&
                      TCP_SEQ_LEQ(right, blocks.right[1]);
        if (TCP_SEQ_GT(right, pcb->snd_nxt) || TCP_SEQ_LT(left, pcb->lastack - pcb->snd_wnd_max))
            continue;
        if (i == 0 && (TCP_SEQ_LEQ(right, pcb->lastack) || inside))
            twice = right - left;
        else if (TCP_SEQ_GT(left, pcb->lastack))
            take_block(pcb, left, right);
    }
    blocks.count = 0;
    return twice;
}

/* One sample an acknowledgement. */
static void take_round_trip(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    pcb->rttest = 0;
    if (!news.rtt_known)
        return;
    uint32_t rtt_us = LWIP_MAX(news.rtt_us, 1);
    if (r->min_rtt_us == 0 || rtt_us <= r->min_rtt_us ||
        now_us() - r->min_rtt_at_us > MIN_RTT_AGE_US) {
        r->min_rtt_us = rtt_us;
        r->min_rtt_at_us = now_us();
    }
    r->data_rtt_us =
        r->data_rtt_us == 0 ? rtt_us : (uint32_t)((7ULL * r->data_rtt_us + rtt_us) / 8);
    tcp_round_trip(pcb, rtt_us);
}

/* --- what is lost --------------------------------------------------------------------------- */

static uint32_t reordering_window_us(const struct tcp_pcb *pcb)
{
    const struct tcp_recovery *r = &pcb->recovery;
    if (!r->reordering_seen && (r->state != TCP_OPEN || r->sacked_segments >= REORDERING_SEGMENTS))
        return 0;
    uint64_t window_us = (uint64_t)(r->window_steps + 1) * r->min_rtt_us / 4;
    return (uint32_t)LWIP_MIN(window_us, r->srtt_us);
}

/* Marks what is lost by now, and sets the timer for what may be soon (RFC 8985 6.2, step 5). */
static bool detect_losses(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (!r->rack_valid)
        return false;
    uint32_t allowed_us = r->rack_rtt_us + reordering_window_us(pcb), wait_us = 0;
    bool any = false;
    struct tcp_seg *segment;
    while ((segment = tcp_flight_oldest(pcb)) != NULL) {
        bool before =
            earlier(segment->sent_us, r->rack_sent_us) ||
            (segment->sent_us == r->rack_sent_us && TCP_SEQ_LT(end_of(segment), r->rack_end));
        if (!before)
            break; /* and all others were sent later still */
        int32_t left_us = (int32_t)(segment->sent_us + allowed_us - now_us());
        if (left_us > 0) { /* by when all are lost that were sent before what has arrived */
            wait_us = r->rack_sent_us + allowed_us - now_us();
            break;
        }
        mark_lost(pcb, segment);
        any = true;
    }
    r->reordering_due_us = wait_us > 0 ? port.now_us + wait_us : 0;
    return any;
}

static void reduce(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    r->undo_cwnd = pcb->cwnd;
    r->undo_ssthresh = pcb->ssthresh;
    r->undo_size = 0;
    pcb->ssthresh = congestion_reduced(pcb, LWIP_MIN(flight_of(pcb), pcb->cwnd));
}

static void enter_recovery(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    r->prr_flight = LWIP_MAX(LWIP_MIN(flight_of(pcb), pcb->cwnd), 1);
    reduce(pcb);
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
    uint32_t pipe = pipe_of(pcb);
    int64_t more;
    r->prr_delivered += news.delivered;
    if (pipe > pcb->ssthresh) {
        uint64_t share = (uint64_t)r->prr_delivered * pcb->ssthresh;
        more = (int64_t)((share + r->prr_flight - 1) / r->prr_flight) - r->prr_out;
    } else {
        more = LWIP_MAX((int64_t)r->prr_delivered - r->prr_out, (int64_t)news.delivered);
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
    if (!hook_tcp_recovers(pcb) || !detect_losses(pcb))
        return;
    if (pcb->recovery.state == TCP_OPEN)
        enter_recovery(pcb);
    if (pcb->recovery.state == TCP_IN_RECOVERY)
        pace_recovery(pcb, false);
    tcp_output(pcb);
}

/* --- acknowledgements ------------------------------------------------------------------------ */

/* RFC 8985 6.2, step 4: a segment that was sent again in vain widens the reordering window, once
 * a round trip. */
static void adapt_window(struct tcp_pcb *pcb, bool twice)
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

/* RFC 8985 7.4: a probe of old data that did not come twice has filled a hole. */
static void judge_probe(struct tcp_pcb *pcb, bool twice)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (!r->probing)
        return;
    if (r->probe_was_old && twice) {
        r->probing = false;
    } else if (TCP_SEQ_GEQ(pcb->lastack, r->probe_end)) {
        r->probing = false;
        if (r->probe_was_old && r->state == TCP_OPEN) {
            reduce(pcb);
            pcb->cwnd = LWIP_MIN(pcb->cwnd, pcb->ssthresh);
        }
    }
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
    if (!hook_tcp_recovers(pcb)) {
        blocks.count = 0;
        return;
    }
    uint32_t twice = take_blocks(pcb);
    pcb->figures.came_twice += twice > 0;
    take_round_trip(pcb);
    if (advanced > 0)
        r->last_us = now_us();
    adapt_window(pcb, twice > 0);
    judge_probe(pcb, twice > 0);
    undo(pcb, twice);
    if (advanced > 0 && r->state != TCP_OPEN && TCP_SEQ_GEQ(pcb->lastack, pcb->recover))
        leave_recovery(pcb);
    bool any_lost =
        (r->sacked > 0 || r->state != TCP_OPEN || news.delivered > 0) && detect_losses(pcb);
    if (any_lost && r->state == TCP_OPEN)
        enter_recovery(pcb);
    if (r->state == TCP_IN_RECOVERY) {
        if (news.delivered > 0 || any_lost)
            pace_recovery(pcb, advanced > 0 && !any_lost);
    } else if (r->state == TCP_IN_LOSS) {
        if (news.delivered > 0)
            congestion_acked(pcb, LWIP_MIN(news.delivered, pcb->mss));
    } else if (advanced > 0) {
        /* A window that the sender doesn't fill says nothing about the path (RFC 5681 4.1). */
        uint32_t before = pipe_of(pcb) + news.delivered;
        if (before >= pcb->cwnd / 2 &&
            (pcb->cwnd < pcb->ssthresh || before + tcp_segment_slack(pcb) > pcb->cwnd))
            congestion_acked(pcb, advanced);
    }
    memset(&news, 0, sizeof news);
}

/* --- sending ------------------------------------------------------------------------------- */

void hook_tcp_sent(struct tcp_pcb *pcb, struct tcp_seg *segment, struct netif *netif)
{
    struct tcp_recovery *r = &pcb->recovery;
    unmark_lost(pcb, segment);
    tcp_segment_mark(pcb, segment, netif);
    uint32_t pieces = tcp_segment_pieces(segment), more = pieces - 1; /* lwIP counts one */
    tcp_figures_sent(pcb, segment->len, pieces, (segment->marks & SENT) != 0);
    if (segment->marks & SENT) {
        segment->marks |= RETRANSMITTED;
        lwip_stats.mib2.tcpretranssegs += more;
    } else {
        lwip_stats.mib2.tcpoutsegs += more;
    }
    segment->marks |= SENT;
    segment->sent_us = r->last_us = now_us();
    tcp_flight_changed(segment);
    if (pcb->unacked == NULL && pcb->persist_backoff == 0 && !(segment->marks & RETRANSMITTED))
        r->progress_ms = sys_now();
    if (r->state == TCP_IN_RECOVERY)
        r->prr_out += TCP_TCPLEN(segment);
}

void hook_tcp_in_flight(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (hook_tcp_recovers(pcb))
        tcp_flight_add(pcb, segment);
}

/* What lwIP, which counts from the first unacknowledged byte, may send new data up to. */
uint32_t hook_tcp_cwnd(struct tcp_pcb *pcb)
{
    if (!hook_tcp_recovers(pcb)) {
        /* Limited transmit (RFC 3042): the first two duplicate ACKs let a new segment out each. */
        bool limited = pcb->state >= ESTABLISHED && !(pcb->flags & TF_INFR);
        return pcb->cwnd + (limited ? LWIP_MIN(pcb->dupacks, 2U) * pcb->mss : 0);
    }
    uint32_t flight = flight_of(pcb), pipe = pipe_of(pcb);
    return pcb->cwnd > pipe ? flight + (pcb->cwnd - pipe) : flight;
}

void hook_tcp_retransmit(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    if (r->lost == 0 || !hook_tcp_recovers(pcb))
        return;
    hook_tcp_path(pcb, tcp_path_route(pcb));
    struct tcp_seg *segment;
    while ((segment = tcp_flight_first_lost(pcb)) != NULL) {
        uint32_t pipe = pipe_of(pcb);
        tcp_segment_fit(pcb, segment, pcb->cwnd > pipe ? pcb->cwnd - pipe : 0);
        if ((pipe > 0 && pipe + TCP_TCPLEN(segment) > pcb->cwnd) ||
            tcp_resend(pcb, segment) != ERR_OK)
            return;
        r->undo_size += TCP_TCPLEN(segment);
        if (segment == pcb->unacked)
            pcb->rtime = LWIP_TCP_TIMER_START;
    }
}

/* --- timeouts -------------------------------------------------------------------------------- */

static void clear_marks(struct tcp_pcb *pcb, uint8_t marks)
{
    for (struct tcp_seg *segment = pcb->unacked; segment != NULL; segment = segment->next) {
        segment->marks &= (uint8_t)~marks;
        tcp_flight_changed(segment);
    }
}

/* The retransmission timer has run out (RFC 8985 6.3). False: lwIP's own way. */
bool hook_tcp_timeout(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    const struct tcp_seg *first = pcb->unacked;
    pcb->figures.timeouts++;
    pcb->figures.series += pcb->nrtx == 0;
    if (pcb->nrtx > 0)
        neighbour_doubt(pcb);
    if (!hook_tcp_recovers(pcb) || first->p->ref != 1)
        return false;
    r->probing = false;
    if (end_of(first) - pcb->lastack > pcb->snd_wnd) {
        /* The window closed over it: lwIP probes that. */
        clear_marks(pcb, SACKED | LOST);
        r->sacked = r->sacked_segments = r->lost = 0;
        r->state = TCP_OPEN;
        return false;
    }
    if (pcb->nrtx == 0 || r->state != TCP_IN_LOSS) {
        uint32_t ssthresh = pcb->ssthresh;
        reduce(pcb);
        r->timeout_ssthresh = pcb->ssthresh;
        pcb->ssthresh = ssthresh; /* until lwIP takes the new one */
    } else {
        r->timeout_ssthresh = pcb->ssthresh; /* RFC 5681 3.1: it is for the first timeout */
    }
    if (first->marks & SACKED) { /* the peer dropped what it had (RFC 2018 8) */
        clear_marks(pcb, SACKED);
        r->sacked = r->sacked_segments = 0;
    }
    for (struct tcp_seg *segment = pcb->unacked; segment != NULL; segment = segment->next)
        if (!(segment->marks & (SACKED | LOST)))
            mark_lost(pcb, segment);
    r->state = TCP_IN_LOSS;
    pcb->recover = pcb->snd_nxt;
    return true;
}

uint32_t hook_tcp_timeout_ssthresh(const struct tcp_pcb *pcb, uint32_t otherwise)
{
    return hook_tcp_recovers(pcb) && pcb->recovery.state == TCP_IN_LOSS
               ? pcb->recovery.timeout_ssthresh
               : otherwise;
}

uint64_t tcp_recovery_probe_due(const struct tcp_pcb *pcb)
{
    const struct tcp_recovery *r = &pcb->recovery;
    if (pcb->unacked == NULL || !hook_tcp_recovers(pcb) || r->probing || r->state != TCP_OPEN ||
        r->sacked > 0 || r->srtt_us == 0 || pcb->nrtx > 0 || pcb->persist_backoff > 0)
        return UINT64_MAX;
    uint64_t wait_us = 2ULL * r->srtt_us + (pcb->unacked->next == NULL ? DELAYED_ACK_US : 0);
    uint32_t passed_us = now_us() - r->last_us;
    return port.now_us - passed_us + LWIP_MAX(wait_us, LEAST_PROBE_US);
}

/* The tail loss probe (RFC 8985 7.3) makes the peer say what it has before the timeout does. */
void tcp_recovery_probe(struct tcp_pcb *pcb)
{
    struct tcp_recovery *r = &pcb->recovery;
    uint32_t old_next = pcb->snd_nxt;
    struct tcp_seg *fresh = pcb->unsent;
    hook_tcp_path(pcb, tcp_path_route(pcb));
    if (fresh != NULL && first_of(fresh) == pcb->snd_nxt &&
        end_of(fresh) - pcb->lastack <= pcb->snd_wnd) {
        tcpwnd_size_t cwnd = pcb->cwnd;
        tcp_segment_fit(pcb, fresh, 0);
        pcb->cwnd = pipe_of(pcb) + TCP_TCPLEN(fresh);
        tcp_output(pcb);
        pcb->cwnd = cwnd;
    }
    r->probe_was_old = pcb->snd_nxt == old_next;
    if (r->probe_was_old)
        tcp_segment_cut_last(pcb);
    if (r->probe_was_old && tcp_resend(pcb, pcb->unacked_last) != ERR_OK) {
        r->last_us = now_us(); /* after as long again */
        return;
    }
    r->probing = true;
    r->probe_end = pcb->snd_nxt;
    pcb->rtime = LWIP_TCP_TIMER_START;
}
