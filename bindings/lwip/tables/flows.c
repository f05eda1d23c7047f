/*
 * Whether anybody here is there for a flow: the host asks before it takes in what belongs to
 * others.
 */
#include "base/entries.h"
#include "base/hooks.h"
#include "base/port.h"
#include "intercept/intercept.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/udp.h"
#include "tcp/tcp_handshake.h"

static bool takes_address(const ip_addr_t *bound, const ip_addr_t *local)
{
    return IP_IS_ANY_TYPE_VAL(*bound) || (IP_IS_V6(bound) == IP_IS_V6(local) &&
                                          (ip_addr_isany(bound) || ip_addr_eq(bound, local)));
}

static bool tcp_is_wanted(const ip_addr_t *local, const ip_addr_t *remote,
                          const struct ps_flow *flow)
{
    if (hook_tcp_lookup(local, flow->local.port, remote, flow->remote.port) != NULL ||
        handshake_exists(local, flow->local.port, remote, flow->remote.port))
        return true;
    const struct tcp_pcb_listen *pcb =
        flow->opens || cookie_is_awaited() ? tcp_listen_pcbs.listen_pcbs : NULL;
    for (; pcb != NULL; pcb = pcb->next)
        if (pcb->local_port == flow->local.port && takes_address(&pcb->local_ip, local))
            return true;
    return false;
}

static bool udp_is_wanted(const ip_addr_t *local, const ip_addr_t *remote,
                          const struct ps_flow *flow)
{
    const struct udp_pcb *pcb = hook_udp_peer(flow->local.port, remote, flow->remote.port);
    for (; pcb != NULL; pcb = pcb->peer_next)
        if (pcb->local_port == flow->local.port && pcb->remote_port == flow->remote.port &&
            ip_addr_eq(&pcb->remote_ip, remote))
            return true;
    for (pcb = hook_udp_port(flow->local.port); pcb != NULL; pcb = pcb->port_next)
        if (pcb->local_port == flow->local.port && takes_address(&pcb->local_ip, local) &&
            (!(pcb->flags & UDP_FLAGS_CONNECTED) || ip_addr_isany(&pcb->remote_ip)))
            return true;
    return false;
}

bool engine_flow_is_wanted(ps_engine *engine, uint32_t index, const struct ps_flow *flow)
{
    (void)engine;
    const struct netif *netif = interface_by_index(index);
    ip_addr_t local, remote;
    if (intercept_takes(flow->protocol))
        return true;
    if (netif == NULL || address_to_lwip(&flow->local, &local) < 0 ||
        address_to_lwip(&flow->remote, &remote) < 0)
        return false;
    if (IP_IS_V6(&local)) {
        ip6_addr_assign_zone(ip_2_ip6(&local), IP6_UNICAST, netif);
        ip6_addr_assign_zone(ip_2_ip6(&remote), IP6_UNICAST, netif);
    }
    return flow->protocol == IP_PROTO_TCP ? tcp_is_wanted(&local, &remote, flow)
                                          : udp_is_wanted(&local, &remote, flow);
}
