/*
 * What loss recovery (tcp_recovery.c) keeps of a connection and of each segment in flight. lwIP's
 * configuration includes this, for lwIP's own structs hold it: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_RECOVERY_H
#define PYSTACK_LWIP_TCP_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "tcp/tcp_figures.h"
#include "tcp/tcp_flight.h"
#include "tcp/tcp_path.h"

struct netif;
struct tcp_pcb;
struct tcp_seg;

/* Times are microseconds of the Stack's clock, modulo 2**32; sizes are sequence numbers' worth. */
struct tcp_recovery {
    enum { TCP_OPEN, TCP_IN_RECOVERY, TCP_IN_LOSS } state;
    uint32_t sacked, sacked_segments;     /* in flight, and in the peer's buffer already */
    uint32_t lost;                        /* given up, and not sent again yet */
    uint32_t delivered;                   /* by what is being acknowledged */
    struct tcp_seg *flight, *flight_last; /* the tree's root, and the last of it */
    uint32_t last_us;                     /* the last segment was sent, or acknowledged */
    uint32_t progress_ms;                 /* since when the peer owes an acknowledgement */
    /* Round trips. 0: none was measured yet. */
    uint32_t srtt_us, rttvar_us, min_rtt_us, min_rtt_at_us;
    uint32_t data_rtt_us; /* smoothed too, of data alone: a handshake waits for ARP */
    /* RACK (RFC 8985 5.2, 6.2): of what was delivered, what was sent last. */
    bool rack_valid, reordering_seen, dsack_in_round;
    uint8_t window_steps, window_rounds;
    uint64_t reordering_due_us; /* when what may have been overtaken is lost; 0: nothing may */
    uint32_t rack_sent_us, rack_end, rack_rtt_us;
    uint32_t fack;      /* the end of the farthest delivered */
    uint32_t round_end; /* when the reordering window may change again */
    /* Proportional rate reduction (RFC 6937). */
    uint32_t prr_delivered, prr_out, prr_flight;
    /* What undoes a reduction for segments that were never lost. */
    uint32_t undo_cwnd, undo_ssthresh, undo_size; /* undo_size: sent again; 0: nothing to undo */
    /* Tail loss probe (RFC 8985 7). */
    bool probing, probe_was_old;
    uint32_t probe_end;
    uint32_t timeout_ssthresh;
    /* Urgent data (tcp_urgent.c): the byte after the last of what was sent so. */
    bool is_urgent;
    uint32_t urgent_end;
};

#define LWIP_TCP_PCB_RECOVERY \
    struct tcp_recovery recovery; \
    struct tcp_path path; \
    LWIP_TCP_PCB_FIGURES
#define LWIP_TCP_SEG_RECOVERY \
    uint8_t marks; /* SEGMENT_... */ \
    uint32_t sent_us; \
    struct tcp_flight_node node;

bool hook_tcp_recovers(const struct tcp_pcb *pcb);
void hook_tcp_sent(struct tcp_pcb *pcb, struct tcp_seg *segment, struct netif *netif);
void hook_tcp_in_flight(struct tcp_pcb *pcb, struct tcp_seg *segment);
void hook_tcp_segment_acked(struct tcp_pcb *pcb, struct tcp_seg *segment);
void hook_tcp_acked(struct tcp_pcb *pcb, uint32_t advanced);
void hook_tcp_options(void);
void hook_tcp_sack_block(uint32_t left, uint32_t right);
uint32_t hook_tcp_cwnd(struct tcp_pcb *pcb);
void hook_tcp_retransmit(struct tcp_pcb *pcb);
bool hook_tcp_timeout(struct tcp_pcb *pcb);
uint32_t hook_tcp_timeout_ssthresh(const struct tcp_pcb *pcb, uint32_t otherwise);
/* The reordering window is over. */
void tcp_recovery_reordered(struct tcp_pcb *pcb);
/* When to ask the peer what it has, and to do so; UINT64_MAX: no time. */
uint64_t tcp_recovery_probe_due(const struct tcp_pcb *pcb);
void tcp_recovery_probe(struct tcp_pcb *pcb);

/* Whether connections with SACK are ours; the rest is lwIP's NewReno (vendor/patches). */
#define LWIP_HOOK_TCP_RECOVERS(pcb) hook_tcp_recovers(pcb)
#define LWIP_HOOK_TCP_SEG_NEW(seg) ((seg)->marks = 0)
#define LWIP_HOOK_TCP_SENT(pcb, seg, netif) hook_tcp_sent(pcb, seg, netif)
#define LWIP_HOOK_TCP_IN_FLIGHT(pcb, seg) hook_tcp_in_flight(pcb, seg)
#define LWIP_HOOK_TCP_REQUEUED(pcb) tcp_flight_forget(pcb)
#define LWIP_HOOK_TCP_SEG_ACKED(pcb, seg) hook_tcp_segment_acked(pcb, seg)
#define LWIP_HOOK_TCP_ACKED(pcb, size) hook_tcp_acked(pcb, size)
#define LWIP_HOOK_TCP_OPTIONS(pcb) hook_tcp_options()
#define LWIP_HOOK_TCP_SACK_BLOCK(left, right) hook_tcp_sack_block(left, right)
#define LWIP_HOOK_TCP_CWND(pcb) hook_tcp_cwnd(pcb)
#define LWIP_HOOK_TCP_RETRANSMIT(pcb) hook_tcp_retransmit(pcb)
#define LWIP_HOOK_TCP_TIMEOUT(pcb) hook_tcp_timeout(pcb)
#define LWIP_HOOK_TCP_TIMEOUT_SSTHRESH(pcb, otherwise) hook_tcp_timeout_ssthresh(pcb, otherwise)

#endif
