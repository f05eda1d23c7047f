/*
 * The routing table.
 */
#ifndef PYSTACK_LWIP_ROUTE_H
#define PYSTACK_LWIP_ROUTE_H

#include "engine.h"
#include "lwip/netif.h"

struct route {
    struct route *next;
    struct ps_route spec;
    ip_addr_t destination, gateway, source; /* the last two ANY where there is none */
};

/* The static ones, newest first. A change to the list clears ND's destination cache. */
extern struct route *static_routes;

void route_init(void);
/* The next hop to a destination by way of a netif, redirects apart; NULL: none. */
const ip4_addr_t *route_next_hop(struct netif *netif, const ip4_addr_t *destination);
/* Whether an address is on a network of a netif's interface. */
bool route_on_link(const struct netif *netif, const ip4_addr_t *ip);
/* Whether two are on one and the same of them. */
bool route_share_network(const struct netif *netif, const ip4_addr_t *a, const ip4_addr_t *b);

/* Whether packets can leave by it now; NULL: no. */
static inline bool route_usable(const struct netif *netif)
{
    return netif != NULL && netif_is_up(netif) && netif_is_link_up(netif);
}
/* One that packets can leave by, the loopback and aliases apart; NULL: none. */
struct netif *route_any_interface(void);
/* The netif on whose network, of `prefix` bits, an address is; interface 0: of any interface's. */
struct netif *route_connected(const ip_addr_t *ip, uint32_t interface, unsigned *prefix);
/* Whether a route, a prefix on its link or a router leads from the netif to an IPv6 address that is
 * not this host's. lwIP, asked by source, names a netif that none of them does. */
bool route_reaches6(struct netif *netif, const ip_addr_t *ip);
bool route_is_in(const ip_addr_t *ip, const ip_addr_t *network, unsigned prefix);
/* How many bits of a netif's IPv4 address, and of its IPv6 address at a position, name a network
 * that is on its link. */
unsigned route_prefix4(const struct netif *netif);
unsigned route_prefix6(const struct netif *netif, s8_t position);

void route_interface_removed(const struct netif *netif);

#endif
