/*
 * Counts of the whole Stack that lwIP's MIB has no place for. A counter is a line here, and where
 * it counts: `port_counts.field++`.
 */
#ifndef PYSTACK_LWIP_COUNTS_H
#define PYSTACK_LWIP_COUNTS_H

#include <stdint.h>

/* Field, and the name that Stack.counters has for it. */
#define PORT_COUNTS(COUNT) \
    COUNT(assertions, "assertions") /* LWIP_INPUT_CHECKs that failed */ \
    COUNT(cookies_sent, "tcp.syncookies_sent") \
    COUNT(cookies_received, "tcp.syncookies_received") \
    COUNT(cookies_failed, "tcp.syncookies_failed") \
    COUNT(answers_skipped, "tcp.answers_skipped")   /* tcp_challenge_ack.c */ \
    COUNT(listen_overflows, "tcp.listen_overflows") /* accept queue full */ \
    COUNT(listen_drops, "tcp.listen_drops")         /* SYNs and last ACKs */ \
    COUNT(intercept_flows, "intercept.flows")       /* each new one that waited for a decision */ \
    COUNT(intercept_accepted, "intercept.accepted") \
    COUNT(intercept_refused, "intercept.refused") \
    COUNT(intercept_dropped, "intercept.dropped") \
    COUNT(intercept_expired, "intercept.expired")       /* nobody decided in time */ \
    COUNT(intercept_aborted, "intercept.aborted")       /* their source gave up */ \
    COUNT(intercept_overflows, "intercept.overflows")   /* pushed out by newer ones */ \
    COUNT(intercept_over_limit, "intercept.over_limit") /* came while too many were open */ \
    COUNT(intercept_lost, "intercept.lost_datagrams")   /* of flows that waited too long */

struct port_counts {
#define PORT_COUNT_FIELD(field, name) uint64_t field;
    PORT_COUNTS(PORT_COUNT_FIELD)
#undef PORT_COUNT_FIELD
};
extern struct port_counts port_counts;

#endif
