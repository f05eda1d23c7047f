/*
 * The ICMP redirects that a host follows (RFC 1122 3.2.2.2); a router's are in forward.c.
 *
 * What a redirect says counts for one destination, for as long as the next hop that it came from
 * would be the one, and for ten minutes at most: a router that has gone is left again.
 */
#include "ip/icmp_redirect.h"

#include "base/hooks.h"
#include "base/tunables.h"
#include "ip/route.h"
#include "link/address.h"
#include "lwip/icmp.h"
#include "lwip/prot/ip4.h"
#include "lwip/sys.h"

#define REDIRECTS 64 /* the oldest one gives way */
#define LIFETIME_MS UINT32_C(600000)

struct redirect {
    ip4_addr_t destination, from, gateway; /* gateway any: none */
    uint32_t since_ms;
};

static struct redirect redirects[REDIRECTS];
static size_t next_place;

void redirect_init(void)
{
    memset(redirects, 0, sizeof redirects);
    next_place = 0;
}

static struct redirect *find(const ip4_addr_t *destination)
{
    for (size_t i = 0; i < REDIRECTS; i++)
        if (!ip4_addr_isany_val(redirects[i].gateway) &&
            ip4_addr_eq(&redirects[i].destination, destination))
            return &redirects[i];
    return NULL;
}

static const ip4_addr_t *redirect_of(const ip4_addr_t *destination, const ip4_addr_t *next_hop)
{
    if (next_place == 0)
        return next_hop;
    struct redirect *redirect = find(destination);
    if (redirect == NULL || !ip4_addr_eq(&redirect->from, next_hop))
        return next_hop;
    if (sys_now() - redirect->since_ms > LIFETIME_MS) {
        ip4_addr_set_any(&redirect->gateway);
        return next_hop;
    }
    return &redirect->gateway;
}

const ip4_addr_t *hook_arp_gateway(struct netif *netif, const ip4_addr_t *destination)
{
    const ip4_addr_t *next_hop = route_next_hop(netif, destination);
    return next_hop == NULL || next_hop == destination ? next_hop
                                                       : redirect_of(destination, next_hop);
}

void redirect_follow(struct netif *netif, const ip4_addr_t *from, const ip4_addr_t *destination,
                     const ip4_addr_t *gateway)
{
    ip_addr_t as_any;
    ip_addr_copy_from_ip4(as_any, *gateway);
    const ip4_addr_t *next_hop = hook_arp_gateway(netif, destination);
    if (tunables.ip_forward || !tunables.ip_accept_redirects || ip4_addr_ismulticast(gateway) ||
        ip4_addr_isbroadcast(gateway, netif) || address_is_ours(&as_any) ||
        !route_on_link(netif, gateway))
        return;
    /* Only our next hop may redirect; and a neighbour's address is not routed. */
    if (next_hop == NULL || next_hop == destination || !ip4_addr_eq(next_hop, from))
        return;
    struct redirect *redirect = find(destination);
    if (redirect == NULL)
        redirect = &redirects[next_place++ % REDIRECTS];
    /* The second redirect comes from whom the first one named: both are about the route's own. */
    const ip4_addr_t *first = route_next_hop(netif, destination);
    *redirect = (struct redirect){*destination, *first, *gateway, sys_now()};
}
