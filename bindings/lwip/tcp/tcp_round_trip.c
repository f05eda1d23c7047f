/*
 * Round trips, and the retransmission timeout that follows from them (RFC 6298).
 */
#include "base/tunables.h"
#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_recovery.h"

#define US_PER_MS 1000U

void tcp_timeout_reset(struct tcp_pcb *pcb)
{
    const struct tcp_recovery *r = &pcb->recovery;
    if (r->srtt_us == 0)
        return;
    /* The least is one of what is added to the round trip, as in Linux: a least timeout would leave
     * a path whose round trips are long and steady with no margin at all. */
    uint64_t margin_us =
        LWIP_MAX(4ULL * r->rttvar_us, (uint64_t)tunables.tcp_rto_min_ms * US_PER_MS);
    uint64_t rto_ms = (r->srtt_us + margin_us + US_PER_MS - 1) / US_PER_MS;
    pcb->rto = (s32_t)LWIP_MIN(rto_ms, TCP_RTO_MAX_MS);
}

void tcp_round_trip(struct tcp_pcb *pcb, uint32_t rtt_us)
{
    struct tcp_recovery *r = &pcb->recovery;
    rtt_us = LWIP_MAX(rtt_us, 1);
    if (r->srtt_us == 0) {
        r->srtt_us = rtt_us;
        r->rttvar_us = rtt_us / 2;
    } else {
        uint32_t difference = rtt_us > r->srtt_us ? rtt_us - r->srtt_us : r->srtt_us - rtt_us;
        r->rttvar_us = (uint32_t)((3ULL * r->rttvar_us + difference) / 4);
        r->srtt_us = (uint32_t)((7ULL * r->srtt_us + rtt_us) / 8);
    }
    tcp_timeout_reset(pcb);
}
