/*
 * Routing: longest prefix first, then the lower metric, both families. What a program lists and
 * changes is in tables/routes.c.
 *
 * Only static routes are stored. Connected ones follow from the addresses of the interfaces,
 * DHCP's from the netif's gateway and a router's advertisements from lwIP's own list; so none
 * of them can go stale.
 */
#include "ip/route.h"

#include "base/hooks.h"
#include "base/memory.h"
#include "base/tunables.h"
#include "ip/neighbour.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"

struct route *static_routes;

static bool bits_equal(const void *a, const void *b, unsigned bits)
{
    const uint8_t *left = a, *right = b;
    if (memcmp(left, right, bits / 8) != 0)
        return false;
    return bits % 8 == 0 || (left[bits / 8] ^ right[bits / 8]) >> (8 - bits % 8) == 0;
}

static const void *address_bytes(const ip_addr_t *ip)
{
    return IP_IS_V6(ip) ? (const void *)ip_2_ip6(ip)->addr : (const void *)&ip_2_ip4(ip)->addr;
}

bool route_is_in(const ip_addr_t *ip, const ip_addr_t *network, unsigned prefix)
{
    return IP_IS_V6(ip) == IP_IS_V6(network) &&
           bits_equal(address_bytes(ip), address_bytes(network), prefix);
}

unsigned route_prefix4(const struct netif *netif)
{
    return (unsigned)__builtin_popcount(netif_ip4_netmask(netif)->addr);
}

u8_t hook_ip6_prefix_length(const struct netif *netif, s8_t position)
{
    const struct port_interface *interface = interface_of(netif);
    return interface == NULL ? 128 : interface->prefix6[position];
}

/* What a router says of an address tells nothing about the link (RFC 5942). */
unsigned route_prefix6(const struct netif *netif, s8_t position)
{
    return netif_ip6_addr_isstatic(netif, position) ? hook_ip6_prefix_length(netif, position) : 128;
}

/* The netif on whose own network an address lies, with the longest prefix; NULL: none. */
struct netif *route_connected(const ip_addr_t *ip, uint32_t interface, unsigned *prefix)
{
    struct netif *netif, *best = NULL;
    *prefix = 0;
    NETIF_FOREACH(netif)
    {
        if (!route_usable(netif) || (interface != 0 && interface_index(netif) != interface))
            continue;
        if (IP_IS_V4(ip)) {
            if (!ip4_addr_isany_val(*netif_ip4_addr(netif)) &&
                route_is_in(ip, netif_ip_addr4(netif), route_prefix4(netif)) &&
                (best == NULL || route_prefix4(netif) > *prefix)) {
                best = netif;
                *prefix = route_prefix4(netif);
            }
            continue;
        }
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (ip6_addr_isvalid(netif_ip6_addr_state(netif, i)) &&
                route_is_in(ip, netif_ip_addr6(netif, i), route_prefix6(netif, i)) &&
                (best == NULL || route_prefix6(netif, i) > *prefix)) {
                best = netif;
                *prefix = route_prefix6(netif, i);
            }
    }
    return best;
}

static struct route *best_static(const ip_addr_t *ip)
{
    struct route *best = NULL;
    for (struct route *route = static_routes; route != NULL; route = route->next) {
        if (!route_usable(interface_by_index(route->spec.interface)) ||
            !route_is_in(ip, &route->destination, route->spec.destination.prefix))
            continue;
        if (best == NULL || route->spec.destination.prefix > best->spec.destination.prefix ||
            (route->spec.destination.prefix == best->spec.destination.prefix &&
             route->spec.metric < best->spec.metric))
            best = route;
    }
    return best;
}

/* The netif, perhaps an alias, that holds an IPv4 address of ours; NULL: none. */
static struct netif *holder4(const ip4_addr_t *ip)
{
    struct netif *netif;
    if (ip == NULL || ip4_addr_isany(ip))
        return NULL;
    NETIF_FOREACH(netif)
    if (ip4_addr_eq(netif_ip4_addr(netif), ip))
        return netif;
    return NULL;
}

/* The netif that has an IPv6 address of ours; NULL: nobody. */
static struct netif *holder6(const ip6_addr_t *ip)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (netif_is_up(netif) && netif_get_ip6_addr_match(netif, ip) >= 0)
        return netif;
    return NULL;
}

/* Through which of the interface's netifs a static route leaves: the one that has the wanted
 * source, else the one on whose network the gateway is, else the interface's own. */
static struct netif *netif_of(const struct route *route)
{
    unsigned prefix;
    struct netif *netif = NULL;
    if (route->spec.source.family == PS_INET)
        netif = holder4(ip_2_ip4(&route->source));
    if (netif == NULL && route->spec.gateway.family != PS_UNSPECIFIED)
        netif = route_connected(&route->gateway, route->spec.interface, &prefix);
    return netif != NULL ? netif : interface_by_index(route->spec.interface);
}

/* --- asked by lwIP -------------------------------------------------------------------------- */

static struct netif *dhcp_gateway_netif(void)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (route_usable(netif) && netif != interface_loopback() &&
        !ip4_addr_isany_val(*netif_ip4_gw(netif)))
        return netif;
    return NULL;
}

struct netif *route_any_interface(void)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (route_usable(netif) && netif != interface_loopback() && interface_of(netif)->owner == NULL)
        return netif;
    return NULL;
}

struct netif *hook_ip4_route(const ip4_addr_t *source, const ip4_addr_t *destination)
{
    ip_addr_t ip;
    unsigned prefix;
    /* A packet for an address of ours goes to the netif that has it, which doesn't send it. */
    struct netif *here = holder4(destination);
    if (here != NULL && netif_is_up(here))
        return here;
    ip_addr_copy_from_ip4(ip, *destination);
    struct netif *own = holder4(source);
    struct route *route = best_static(&ip);
    bool group = ip4_addr_ismulticast(destination) || destination->addr == IPADDR_BROADCAST;
    /* A group isn't anywhere: the source decides, then a route to it, then any interface. */
    if (group && route_usable(own))
        return own;
    struct netif *netif = group ? NULL : route_connected(&ip, 0, &prefix);
    if (route != NULL && (netif == NULL || route->spec.destination.prefix > prefix))
        netif = netif_of(route);
    if (netif == NULL)
        netif = dhcp_gateway_netif();
    if (netif == NULL && group)
        netif = route_any_interface();
    /* Of several addresses on the way out, a socket that is bound to one leaves by it. */
    if (netif != NULL && route_usable(own) && interface_index(own) == interface_index(netif))
        return own;
    return netif;
}

const ip4_addr_t *route_next_hop(struct netif *netif, const ip4_addr_t *destination)
{
    ip_addr_t ip;
    ip_addr_copy_from_ip4(ip, *destination);
    struct route *route = best_static(&ip);
    if (route != NULL && route->spec.interface == interface_index(netif))
        return route->spec.gateway.family == PS_UNSPECIFIED ? destination
                                                            : ip_2_ip4(&route->gateway);
    /* A packet that leaves by an alias may well be for its owner's network. */
    unsigned prefix;
    struct netif *near = route_connected(&ip, interface_index(netif), &prefix);
    if (near != NULL)
        return destination;
    struct port_interface *interface = interface_of(netif);
    if (interface->owner != NULL)
        netif = &interface->owner->netif;
    return ip4_addr_isany_val(*netif_ip4_gw(netif)) ? NULL : netif_ip4_gw(netif);
}

bool route_on_link(const struct netif *netif, const ip4_addr_t *ip)
{
    unsigned prefix;
    ip_addr_t as_any;
    ip_addr_copy_from_ip4(as_any, *ip);
    return route_connected(&as_any, interface_index(netif), &prefix) != NULL;
}

bool route_share_network(const struct netif *netif, const ip4_addr_t *a, const ip4_addr_t *b)
{
    ip_addr_t left, right;
    struct netif *each;
    ip_addr_copy_from_ip4(left, *a);
    ip_addr_copy_from_ip4(right, *b);
    NETIF_FOREACH(each)
    if (route_usable(each) && interface_index(each) == interface_index(netif) &&
        !ip4_addr_isany_val(*netif_ip4_addr(each)) &&
        route_is_in(&left, netif_ip_addr4(each), route_prefix4(each)) &&
        route_is_in(&right, netif_ip_addr4(each), route_prefix4(each)))
        return true;
    return false;
}

struct netif *hook_ip6_route(const ip6_addr_t *source, const ip6_addr_t *destination)
{
    (void)source;
    ip_addr_t ip;
    unsigned prefix, announced;
    struct netif *here = holder6(destination);
    if (here != NULL)
        return here;
    ip_addr_copy_from_ip6(ip, *destination);
    struct route *route = best_static(&ip);
    struct netif *near = route_connected(&ip, 0, &prefix);
    struct netif *told = nd_on_link(destination, &announced);
    if (told != NULL && (near == NULL || announced > prefix)) {
        near = told;
        prefix = announced;
    }
    /* To a router that says it is one lwIP finds after us. */
    return route == NULL || (near != NULL && prefix >= route->spec.destination.prefix)
               ? near
               : netif_of(route);
}

bool route_reaches6(struct netif *netif, const ip_addr_t *ip)
{
    unsigned prefix;
    uint32_t index = interface_index(netif);
    if (ip_addr_ismulticast(ip) || ip_addr_islinklocal(ip) ||
        netif_get_ip6_addr_match(netif, ip_2_ip6(ip)) >= 0 ||
        route_connected(ip, index, &prefix) != NULL || nd_on_link(ip_2_ip6(ip), &prefix) == netif)
        return true;
    for (const struct route *route = static_routes; route != NULL; route = route->next)
        if (route->spec.interface == index &&
            route_is_in(ip, &route->destination, route->spec.destination.prefix))
            return true;
    for (unsigned i = 0; i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry != NULL &&
            default_router_list[i].neighbor_entry->netif == netif &&
            default_router_list[i].invalidation_timer > 0)
            return true;
    return false;
}

const ip6_addr_t *hook_nd_gateway(struct netif *netif, const ip6_addr_t *destination, int on_link)
{
    ip_addr_t ip;
    ip_addr_copy_from_ip6(ip, *destination);
    struct route *route = best_static(&ip);
    if (route == NULL || route->spec.interface != interface_index(netif) ||
        route->spec.destination.prefix <= on_link)
        return NULL;
    return route->spec.gateway.family == PS_UNSPECIFIED ? destination : ip_2_ip6(&route->gateway);
}

void hook_nd_hop_limit(struct netif *netif, u8_t limit)
{
    (void)netif; /* lwIP has one hop limit for all interfaces, as the tunable is one */
    tunables.ip6_hop_limit = limit;
}

/* --- starting and ending ------------------------------------------------------------------- */

void route_init(void)
{
    static_routes = NULL;
}

void route_interface_removed(const struct netif *netif)
{
    uint32_t index = interface_index(netif);
    if (interface_of(netif)->owner != NULL)
        return; /* routes name the owner, which stays */
    for (struct route **link = &static_routes; *link != NULL;) {
        struct route *route = *link;
        if (route->spec.interface == index) {
            *link = route->next;
            port_free(route);
        } else {
            link = &route->next;
        }
    }
    nd6_clear_destination_cache();
}
