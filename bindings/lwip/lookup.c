/*
 * Connections by their addresses and ports, those in TIME-WAIT included: a hash, where lwIP
 * itself walks lists (vendor/patches).
 */
#include "hooks.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/udp.h"
#include "tcp_handshake.h"

#define BUCKETS 8192 /* a power of two */

static struct tcp_pcb *buckets[BUCKETS];
static uint16_t users[65536]; /* of each local port; stays at its largest number */

/* Every word has a random factor of its own (multilinear hashing): two keys meet in a bucket as
 * often as chance has it, whatever addresses and ports somebody far away has chosen. */
uint32_t lookup_hash(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port)
{
    static uint64_t factors[6];
    static bool drawn;
    if (!drawn)
        port.hypercalls.random(port.hypercalls.user, factors, sizeof factors);
    drawn = true;
    uint64_t hash = factors[5] + factors[4] * ((uint32_t)local_port << 16 | remote_port);
    const uint32_t *words = IP_IS_V6(remote) ? ip_2_ip6(remote)->addr : &ip_2_ip4(remote)->addr;
    for (int i = 0; i < (IP_IS_V6(remote) ? 4 : 1); i++)
        hash += factors[i] * words[i];
    return (uint32_t)(hash >> 32);
}

static struct tcp_pcb **bucket(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port)
{
    return &buckets[lookup_hash(local_port, remote, remote_port) & (BUCKETS - 1)];
}

void hook_tcp_active(struct tcp_pcb *pcb)
{
    struct tcp_pcb **head = bucket(pcb->local_port, &pcb->remote_ip, pcb->remote_port);
    if (users[pcb->local_port] < UINT16_MAX)
        users[pcb->local_port]++;
    pcb->ts_offset = hook_tcp_timestamp_offset(&pcb->local_ip, &pcb->remote_ip);
    pcb->lookup_next = *head;
    pcb->lookup_link = head;
    if (*head != NULL)
        (*head)->lookup_link = &pcb->lookup_next;
    *head = pcb;
    tcp_timer_touch(pcb);
}

void hook_tcp_free(struct tcp_pcb *pcb)
{
    tcp_timer_forget(pcb);
    tcp_reassembly_forget(pcb);
    tcp_ack_forget(pcb);
    if (pcb->lookup_link == NULL)
        return;
    if (users[pcb->local_port] < UINT16_MAX)
        users[pcb->local_port]--;
    *pcb->lookup_link = pcb->lookup_next;
    if (pcb->lookup_next != NULL)
        pcb->lookup_next->lookup_link = pcb->lookup_link;
    pcb->lookup_link = NULL;
}

struct tcp_pcb *hook_tcp_lookup(const ip_addr_t *local, uint16_t local_port,
                                const ip_addr_t *remote, uint16_t remote_port)
{
    struct tcp_pcb *old = NULL;
    for (struct tcp_pcb *pcb = *bucket(local_port, remote, remote_port); pcb != NULL;
         pcb = pcb->lookup_next) {
        if (pcb->remote_port != remote_port || pcb->local_port != local_port ||
            pcb->state == CLOSED || !ip_addr_eq(&pcb->remote_ip, remote) ||
            !ip_addr_eq(&pcb->local_ip, local))
            continue;
        if (pcb->state != TIME_WAIT)
            return pcb;
        old = pcb;
    }
    return old;
}

bool hook_tcp_port_is_active(uint16_t port_number)
{
    return users[port_number] > 0;
}

/* --- who is there for what comes ------------------------------------------------------------ */

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
