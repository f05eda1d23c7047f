/*
 * Queueing disciplines: in what order, and when, an interface's packets leave.
 */
#ifndef PYSTACK_QDISC_H
#define PYSTACK_QDISC_H

#include <stdbool.h>
#include <stdint.h>

#define PS_QDISC_NAME_SIZE 16 /* terminator included */

/* How packets wait for their interface: tc(8). 0 is Linux's default. */
enum ps_qdisc_kind {
    PS_QDISC_DEFAULT, /* what an interface has by itself; set: removes what was set */
    PS_QDISC_FQ,
    PS_QDISC_FQ_CODEL,
    PS_QDISC_NETEM,
    PS_QDISC_TBF,
    PS_QDISC_OTHER
};

struct ps_qdisc {
    char name[PS_QDISC_NAME_SIZE];              /* read: Linux's name of the kind */
    uint8_t kind;                               /* enum ps_qdisc_kind */
    bool ecn;                                   /* fq_codel, netem: marks instead of drops */
    uint32_t limit;                             /* packets; tbf: bytes that may wait */
    uint32_t flow_limit, flows;                 /* fq: packets of one flow; fq_codel: queues */
    uint32_t burst_bytes;                       /* tbf */
    uint64_t rate;                              /* tbf, netem, fq (of one flow): bytes a second */
    uint64_t delay_ns, jitter_ns;               /* netem */
    uint64_t target_us, interval_us;            /* fq_codel */
    uint32_t loss, duplicate, corrupt, reorder; /* netem: shares of 0xffffffff */
    uint32_t gap;                               /* netem: each so-manieth overtakes */
    uint64_t sent_bytes, sent_packets;          /* read, as these: */
    uint32_t dropped, queued_packets, queued_bytes;
};

#endif
