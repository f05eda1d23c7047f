/*
 * The retransmission timeout of a connection with SACK (RFC 8985 6.3): all that has not arrived is
 * lost. tcp_timer.c says when.
 */
#include "ip/neighbour.h"
#include "tcp/tcp_congestion.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_scoreboard.h"

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
    if (!tcp_recovers(pcb) || first->p->ref != 1)
        return false;
    r->probing = false;
    if (tcp_end_of(first) - pcb->lastack > pcb->snd_wnd) {
        /* The window closed over it: lwIP probes that. */
        clear_marks(pcb, SEGMENT_SACKED | SEGMENT_LOST);
        r->sacked = r->sacked_segments = r->lost = 0;
        r->state = TCP_OPEN;
        return false;
    }
    if (pcb->nrtx == 0 || r->state != TCP_IN_LOSS) {
        uint32_t ssthresh = pcb->ssthresh;
        congestion_reduce(pcb, tcp_flight_of(pcb));
        r->timeout_ssthresh = pcb->ssthresh;
        pcb->ssthresh = ssthresh; /* until lwIP takes the new one */
    } else {
        r->timeout_ssthresh = pcb->ssthresh; /* RFC 5681 3.1: it is for the first timeout */
    }
    if (first->marks & SEGMENT_SACKED) { /* the peer dropped what it had (RFC 2018 8) */
        clear_marks(pcb, SEGMENT_SACKED);
        r->sacked = r->sacked_segments = 0;
    }
    for (struct tcp_seg *segment = pcb->unacked; segment != NULL; segment = segment->next)
        if (!(segment->marks & (SEGMENT_SACKED | SEGMENT_LOST)))
            tcp_mark_lost(pcb, segment);
    r->state = TCP_IN_LOSS;
    pcb->recover = pcb->snd_nxt;
    return true;
}

uint32_t hook_tcp_timeout_ssthresh(const struct tcp_pcb *pcb, uint32_t otherwise)
{
    return tcp_recovers(pcb) && pcb->recovery.state == TCP_IN_LOSS ? pcb->recovery.timeout_ssthresh
                                                                   : otherwise;
}
