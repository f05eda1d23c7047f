/*
 * Congestion control: slow start and congestion avoidance by bytes (RFC 5681, RFC 3465).
 */
#include "tcp/tcp_congestion.h"

#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_recovery.h"

uint32_t congestion_initial(const struct tcp_pcb *pcb)
{
    return LWIP_TCP_CALC_INITIAL_CWND(pcb->mss);
}

void congestion_acked(struct tcp_pcb *pcb, uint32_t size)
{
    if (pcb->cwnd < pcb->ssthresh) {
        uint32_t part = LWIP_MIN(size, pcb->ssthresh - pcb->cwnd);
        pcb->cwnd += part;
        size -= part;
    }
    if (size == 0)
        return;
    pcb->bytes_acked += size;
    if (pcb->bytes_acked >= pcb->cwnd) {
        pcb->bytes_acked -= pcb->cwnd;
        pcb->cwnd += pcb->mss;
    }
}

void congestion_reduce(struct tcp_pcb *pcb, uint32_t flight)
{
    struct tcp_recovery *r = &pcb->recovery;
    r->undo_cwnd = pcb->cwnd;
    r->undo_ssthresh = pcb->ssthresh;
    r->undo_size = 0;
    pcb->ssthresh = LWIP_MAX(LWIP_MIN(flight, pcb->cwnd) / 2, 2U * pcb->mss);
}
