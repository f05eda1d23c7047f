/*
 * How long a connection's segments may be.
 *
 * A path's MTU changes for many reasons (a packet too big and its end, a router advertisement, the
 * user, a route by another interface), so nobody tells of it: each time something is sent the MTU
 * is asked for, and where it is another one than the last time the maximum segment size follows,
 * down and up (RFC 9293 3.7.1, RFC 8201 5.4). tcp_segment.c then cuts what is longer.
 */
#include "tcp/tcp_path.h"

#include "base/tunables.h"
#include "ip/path_mtu.h"
#include "lwip/ip.h"
#include "lwip/priv/tcp_priv.h"

/* RFC 9293 3.7.1 */
uint16_t tcp_path_unsaid_mss(const ip_addr_t *remote)
{
    return IP_IS_V6(remote) ? 1220 : 536;
}

struct netif *tcp_path_route(const struct tcp_pcb *pcb)
{
    return pcb->netif_idx != NETIF_NO_INDEX ? netif_get_by_index(pcb->netif_idx)
                                            : ip_route(&pcb->local_ip, &pcb->remote_ip);
}

/* A peer that takes less makes each byte cost a packet; Linux has the same floor. */
uint16_t hook_tcp_peer_mss(struct tcp_pcb *pcb, uint16_t said)
{
    if (said == 0) /* no size, so none was said */
        return pcb->mss;
    pcb->path.peer_mss = (uint16_t)LWIP_MAX(said, tunables.tcp_min_send_mss);
    pcb->path.mtu = 0;
    return pcb->path.peer_mss;
}

bool hook_tcp_path(struct tcp_pcb *pcb, struct netif *netif)
{
    if (netif == NULL)
        return false;
    uint16_t mtu = path_mtu(&pcb->remote_ip, IP_IS_V6(&pcb->remote_ip) ? netif->mtu6 : netif->mtu);
    if (mtu == pcb->path.mtu)
        return false;
    uint16_t said = pcb->path.peer_mss;
    uint16_t mss = said != 0 ? said : tcp_path_unsaid_mss(&pcb->remote_ip);
    mss = port_tcp_mss(pcb, mss);
    pcb->mss = tcp_eff_send_mss_netif(mss, netif, &pcb->remote_ip);
    pcb->cwnd = LWIP_MAX(pcb->cwnd, pcb->mss); /* or nothing would ever be sent */
    pcb->path.mtu = mtu;
    return true;
}
