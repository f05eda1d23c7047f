/*
 * Neighbours of both families: what TCP, interfaces and lwIP's timer want of them. What a program
 * lists and changes is in tables/neighbours.c.
 */
#include "ip/neighbour.h"

#include "base/hooks.h"
#include "base/timeouts.h"
#include "lwip/etharp.h"
#include "lwip/nd6.h"
#include "lwip/tcp.h"

void hook_tcp_progress(const struct tcp_pcb *pcb)
{
    if (IP_IS_V4_VAL(pcb->remote_ip))
        arp_progress(pcb); /* IPv6's, nd6.c is told of by itself */
}

void neighbour_doubt(const struct tcp_pcb *pcb)
{
    if (IP_IS_V4_VAL(pcb->remote_ip))
        arp_doubt(pcb);
    else
        nd_doubt(pcb);
}

/* lwIP's timer, of both families' neighbours. */
void nd6_neighbor_tmr(void)
{
    arp_tick();
    nd_tick();
}

uint64_t neighbours_work_ms(uint64_t next_ms)
{
    (void)next_ms;
    return LWIP_MIN(arp_step_ms(), nd_step_ms());
}

bool neighbours_act_alone(void)
{
    struct ps_neighbour entry;
    int found;
    for (size_t slot = 0; (found = arp_entry_at(slot, &entry)) >= 0; slot++)
        if (found > 0 && (entry.state == PS_NEIGHBOUR_INCOMPLETE ||
                          entry.state == PS_NEIGHBOUR_DELAY || entry.state == PS_NEIGHBOUR_PROBE))
            return true;
    return nd_step_ms() != NEVER_MS || nd_acts_alone();
}

void neighbours_forget(struct netif *netif)
{
    etharp_cleanup_netif(netif);
    nd6_cleanup_netif(netif);
}
