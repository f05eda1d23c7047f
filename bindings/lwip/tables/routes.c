/*
 * The routing table as a program lists and changes it: static routes, and those that follow from
 * addresses, DHCP and router advertisements (ip/route.c).
 */
#include <errno.h>

#include "base/entries.h"
#include "base/memory.h"
#include "ip/route.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"

/* Whether bits are set beyond the prefix. */
static bool has_host_bits(const struct ps_address *network)
{
    for (unsigned bit = network->prefix; bit < (network->family == PS_INET ? 32u : 128u); bit++)
        if (network->bytes[bit / 8] >> (7 - bit % 8) & 1)
            return true;
    return false;
}

static bool same_destination(const struct ps_route *a, const struct ps_route *b)
{
    return a->destination.family == b->destination.family &&
           a->destination.prefix == b->destination.prefix &&
           memcmp(a->destination.bytes, b->destination.bytes, sizeof a->destination.bytes) == 0;
}

int engine_route_add(ps_engine *engine, const struct ps_route *spec)
{
    (void)engine;
    struct route fresh = {.spec = *spec};
    const struct ps_address *network = &spec->destination;
    int result = address_to_lwip(network, &fresh.destination);
    if (result < 0)
        return result;
    if (network->prefix > (network->family == PS_INET ? 32 : 128) || has_host_bits(network))
        return -EINVAL;
    if (spec->interface != 0 && interface_by_index(spec->interface) == NULL)
        return -ENODEV;
    if (spec->gateway.family != PS_UNSPECIFIED) {
        if (spec->gateway.family != network->family)
            return -EINVAL;
        result = address_to_lwip(&spec->gateway, &fresh.gateway);
        if (result < 0)
            return result;
        bool link_local =
            IP_IS_V6_VAL(fresh.gateway) && ip6_addr_islinklocal(ip_2_ip6(&fresh.gateway));
        unsigned prefix;
        struct netif *near =
            link_local ? interface_by_index(spec->interface ? spec->interface : spec->gateway.scope)
                       : route_connected(&fresh.gateway, spec->interface, &prefix);
        if (near == NULL)
            return -ENETUNREACH;
        fresh.spec.interface = interface_index(near);
        if (link_local)
            ip6_addr_assign_zone(ip_2_ip6(&fresh.gateway), IP6_UNICAST, near);
    }
    if (spec->source.family != PS_UNSPECIFIED) {
        result = address_to_lwip(&spec->source, &fresh.source);
        if (result < 0)
            return result;
        if (spec->source.family != network->family || !address_is_ours(&fresh.source))
            return -EINVAL;
    }
    if (fresh.spec.interface == 0)
        return -ENODEV;
    for (const struct route *route = static_routes; route != NULL; route = route->next)
        if (same_destination(&route->spec, spec) && route->spec.metric == spec->metric)
            return -EEXIST;
    struct route *route = port_allocate(sizeof *route);
    if (route == NULL)
        return -ENOMEM;
    *route = fresh;
    route->spec.origin = PS_ROUTE_STATIC;
    route->next = static_routes;
    static_routes = route;
    nd6_clear_destination_cache();
    return 0;
}

int engine_route_remove(ps_engine *engine, const struct ps_route *spec)
{
    (void)engine;
    for (struct route **link = &static_routes; *link != NULL; link = &(*link)->next) {
        struct route *route = *link;
        /* What the caller leaves out matches anything. */
        if (!same_destination(&route->spec, spec) ||
            (spec->interface != 0 && route->spec.interface != spec->interface) ||
            (spec->metric != 0 && route->spec.metric != spec->metric) ||
            (spec->gateway.family != PS_UNSPECIFIED &&
             memcmp(route->spec.gateway.bytes, spec->gateway.bytes, sizeof spec->gateway.bytes)))
            continue;
        *link = route->next;
        port_free(route);
        nd6_clear_destination_cache();
        return 0;
    }
    return -ESRCH;
}

/* --- listing -------------------------------------------------------------------------------- */

static void clear_host_bits(struct ps_address *network)
{
    for (unsigned bit = network->prefix; bit < 128; bit++)
        network->bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
}

static void describe_connected(const struct netif *netif, const ip_addr_t *own, unsigned prefix,
                               struct ps_route *out)
{
    memset(out, 0, sizeof *out);
    enum ps_family family = IP_IS_V6(own) ? PS_INET6 : PS_INET;
    address_from_lwip(own, 0, family, &out->source);
    out->destination = out->source;
    out->destination.prefix = (uint8_t)prefix;
    clear_host_bits(&out->destination);
    out->interface = interface_index(netif);
    out->origin = PS_ROUTE_CONNECTED;
}

static void describe_default(const struct netif *netif, const ip_addr_t *gateway,
                             enum ps_route_origin origin, struct ps_route *out)
{
    memset(out, 0, sizeof *out);
    enum ps_family family = IP_IS_V6(gateway) ? PS_INET6 : PS_INET;
    out->destination.family = (uint8_t)family;
    address_from_lwip(gateway, 0, family, &out->gateway);
    out->interface = interface_index(netif);
    out->origin = (uint8_t)origin;
}

static int connected_at(size_t *position, struct ps_route *out)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    {
        if (!route_usable(netif))
            continue;
        if (!ip4_addr_isany_val(*netif_ip4_addr(netif)) && (*position)-- == 0) {
            describe_connected(netif, netif_ip_addr4(netif), route_prefix4(netif), out);
            return 1;
        }
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (ip6_addr_isvalid(netif_ip6_addr_state(netif, i)) && (*position)-- == 0) {
                describe_connected(netif, netif_ip_addr6(netif, i), route_prefix6(netif, i), out);
                return 1;
            }
    }
    return 0;
}

int engine_route_at(ps_engine *engine, size_t position, struct ps_route *out)
{
    (void)engine;
    for (const struct route *route = static_routes; route != NULL; route = route->next)
        if (position-- == 0) {
            *out = route->spec;
            return 1;
        }
    if (connected_at(&position, out))
        return 1;
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (route_usable(netif) && netif != interface_loopback() &&
        !ip4_addr_isany_val(*netif_ip4_gw(netif)) && position-- == 0) {
        describe_default(netif, netif_ip_gw4(netif), PS_ROUTE_DHCP, out);
        return 1;
    }
    for (size_t i = 0; i < LWIP_ND6_NUM_ROUTERS; i++) {
        const struct nd6_router_list_entry *router = &default_router_list[i];
        if (router->neighbor_entry == NULL || router->invalidation_timer == 0 || position-- != 0)
            continue;
        ip_addr_t gateway;
        ip_addr_copy_from_ip6(gateway, router->neighbor_entry->next_hop_address);
        describe_default(router->neighbor_entry->netif, &gateway, PS_ROUTE_RA, out);
        return 1;
    }
    return 0;
}

int engine_route_lookup(ps_engine *engine, const struct ps_address *destination,
                        struct ps_route *out)
{
    ip_addr_t ip;
    int result = address_to_lwip(destination, &ip);
    if (result < 0)
        return result;
    struct ps_route candidate;
    bool found = false;
    for (size_t position = 0; engine_route_at(engine, position, &candidate) > 0; position++) {
        ip_addr_t network;
        if (candidate.destination.family != (IP_IS_V6_VAL(ip) ? PS_INET6 : PS_INET) ||
            !route_usable(interface_by_index(candidate.interface)) ||
            address_to_lwip(&candidate.destination, &network) < 0 ||
            !route_is_in(&ip, &network, candidate.destination.prefix))
            continue;
        if (found && (candidate.destination.prefix < out->destination.prefix ||
                      (candidate.destination.prefix == out->destination.prefix &&
                       candidate.metric >= out->metric)))
            continue;
        *out = candidate;
        found = true;
    }
    return found ? 0 : -ENETUNREACH;
}
