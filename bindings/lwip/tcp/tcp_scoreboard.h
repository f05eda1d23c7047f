/*
 * What is in flight, and what has become of it: for the files of loss recovery.
 */
#ifndef PYSTACK_LWIP_TCP_SCOREBOARD_H
#define PYSTACK_LWIP_TCP_SCOREBOARD_H

#include "base/port.h"
#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_flight.h"

/* Whether losses of this connection are ours; the rest are for lwIP's NewReno (vendor/patches). */
static inline bool tcp_recovers(const struct tcp_pcb *pcb)
{
    return pcb->flags & TF_SACK && pcb->state >= ESTABLISHED;
}

/* Times are modulo 2**32. */
static inline uint32_t tcp_now_us(void)
{
    return (uint32_t)port.now_us;
}

static inline bool tcp_is_earlier(uint32_t a, uint32_t b)
{
    return (int32_t)(a - b) < 0;
}

static inline uint32_t tcp_first_of(const struct tcp_seg *segment)
{
    return lwip_ntohl(segment->tcphdr->seqno);
}

static inline uint32_t tcp_end_of(const struct tcp_seg *segment)
{
    return tcp_first_of(segment) + TCP_TCPLEN(segment);
}

/* Not up to snd_nxt: after a timeout at a closed window lwIP has it all to send again. */
static inline uint32_t tcp_flight_of(const struct tcp_pcb *pcb)
{
    return pcb->unacked != NULL ? tcp_end_of(pcb->unacked_last) - pcb->lastack : 0;
}

static inline uint32_t tcp_pipe_of(const struct tcp_pcb *pcb)
{
    uint32_t flight = tcp_flight_of(pcb), gone = pcb->recovery.sacked + pcb->recovery.lost;
    return flight > gone ? flight - gone : 0;
}

static inline void tcp_unmark_lost(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (segment->marks & SEGMENT_LOST) {
        segment->marks &= (uint8_t)~SEGMENT_LOST;
        pcb->recovery.lost -= TCP_TCPLEN(segment);
        tcp_flight_changed(segment);
    }
}

static inline void tcp_mark_lost(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    segment->marks |= SEGMENT_LOST;
    pcb->recovery.lost += TCP_TCPLEN(segment);
    tcp_flight_changed(segment);
}

/* How many blocks the SACK option of the segment that is being processed has. */
extern int tcp_sack_blocks;
/* Takes in the SACK option of the segment that is being processed. Returns how many bytes it says
 * came twice (RFC 2883 4). */
uint32_t tcp_scoreboard_take(struct tcp_pcb *pcb);
/* Takes in the round trip that all it acknowledges tells of, if any. */
void tcp_scoreboard_round_trip(struct tcp_pcb *pcb);

/* tcp_rack.c */
/* Marks what is lost by now, and sets the timer for what may be soon. Returns whether any is. */
bool tcp_rack_detect(struct tcp_pcb *pcb);
/* A segment was retransmitted, perhaps needlessly. */
void tcp_rack_adapt(struct tcp_pcb *pcb, bool twice);

/* tcp_tail_loss_probe.c */
/* Whether the probe that is out was needed. */
void tcp_recovery_judge_probe(struct tcp_pcb *pcb, bool twice);

#endif
