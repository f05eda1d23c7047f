/*
 * The routing table: longest prefix first, then the lower metric, both families.
 *
 * Only static routes are stored. Connected ones follow from the addresses of the interfaces,
 * DHCP's from the netif's gateway and a router's advertisements from lwIP's own list; so none
 * of them can go stale.
 */
#include "hooks.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"
#include "port.h"
#include "services.h"

struct route {
    struct route *next;
    struct ps_route spec;
    ip_addr_t destination, gateway, source; /* the last two ANY where there is none */
};

static struct route *routes;

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

static bool is_in(const ip_addr_t *ip, const ip_addr_t *network, unsigned prefix)
{
    return IP_IS_V6(ip) == IP_IS_V6(network) &&
           bits_equal(address_bytes(ip), address_bytes(network), prefix);
}

static bool usable(const struct netif *netif)
{
    return netif != NULL && netif_is_up(netif) && netif_is_link_up(netif);
}

static unsigned prefix4(const struct netif *netif)
{
    return (unsigned)__builtin_popcount(netif_ip4_netmask(netif)->addr);
}

/* lwIP takes the network of an address that was set by hand to be a /64 (RFC 5942 for others). */
static unsigned prefix6(const struct netif *netif, s8_t position)
{
    return interface_of(netif) != NULL && netif_ip6_addr_isstatic(netif, position) ? 64 : 128;
}

/* The netif on whose own network an address lies, with the longest prefix; NULL: none. */
static struct netif *connected(const ip_addr_t *ip, uint32_t interface, unsigned *prefix)
{
    struct netif *netif, *best = NULL;
    *prefix = 0;
    NETIF_FOREACH(netif)
    {
        if (!usable(netif) || (interface != 0 && interface_index(netif) != interface))
            continue;
        if (IP_IS_V4(ip)) {
            if (!ip4_addr_isany_val(*netif_ip4_addr(netif)) &&
                is_in(ip, netif_ip_addr4(netif), prefix4(netif)) &&
                (best == NULL || prefix4(netif) > *prefix)) {
                best = netif;
                *prefix = prefix4(netif);
            }
            continue;
        }
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (ip6_addr_isvalid(netif_ip6_addr_state(netif, i)) &&
                is_in(ip, netif_ip_addr6(netif, i), prefix6(netif, i)) &&
                (best == NULL || prefix6(netif, i) > *prefix)) {
                best = netif;
                *prefix = prefix6(netif, i);
            }
    }
    return best;
}

static struct route *best_static(const ip_addr_t *ip)
{
    struct route *best = NULL;
    for (struct route *route = routes; route != NULL; route = route->next) {
        if (!usable(interface_by_index(route->spec.interface)) ||
            !is_in(ip, &route->destination, route->spec.destination.prefix))
            continue;
        if (best == NULL || route->spec.destination.prefix > best->spec.destination.prefix ||
            (route->spec.destination.prefix == best->spec.destination.prefix &&
             route->spec.metric < best->spec.metric))
            best = route;
    }
    return best;
}

/* The netif, perhaps an alias, that holds an IPv4 address of ours; NULL: nobody. */
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

/* Through which of the interface's netifs a static route leaves: the one that has the wanted
 * source, else the one on whose network the gateway is, else the interface's own. */
static struct netif *netif_of(const struct route *route)
{
    unsigned prefix;
    struct netif *netif = NULL;
    if (route->spec.source.family == PS_INET)
        netif = holder4(ip_2_ip4(&route->source));
    if (netif == NULL && route->spec.gateway.family != PS_UNSPECIFIED)
        netif = connected(&route->gateway, route->spec.interface, &prefix);
    return netif != NULL ? netif : interface_by_index(route->spec.interface);
}

/* --- asked by lwIP -------------------------------------------------------------------------- */

static struct netif *dhcp_gateway_netif(void)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (usable(netif) && netif != interface_loopback() && !ip4_addr_isany_val(*netif_ip4_gw(netif)))
        return netif;
    return NULL;
}

static struct netif *any_interface(void)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (usable(netif) && netif != interface_loopback() && interface_of(netif)->owner == NULL)
        return netif;
    return NULL;
}

struct netif *hook_ip4_route(const ip4_addr_t *source, const ip4_addr_t *destination)
{
    ip_addr_t ip;
    unsigned prefix;
    ip_addr_copy_from_ip4(ip, *destination);
    struct netif *own = holder4(source);
    struct route *route = best_static(&ip);
    bool group = ip4_addr_ismulticast(destination) || destination->addr == IPADDR_BROADCAST;
    /* A group isn't anywhere: the source decides, then a route to it, then any interface. */
    if (group && usable(own))
        return own;
    struct netif *netif = group ? NULL : connected(&ip, 0, &prefix);
    if (route != NULL && (netif == NULL || route->spec.destination.prefix > prefix))
        netif = netif_of(route);
    if (netif == NULL)
        netif = dhcp_gateway_netif();
    if (netif == NULL && group)
        netif = any_interface();
    /* Of several addresses on the way out, a socket that is bound to one leaves by it. */
    if (netif != NULL && usable(own) && interface_index(own) == interface_index(netif))
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
    struct netif *near = connected(&ip, interface_index(netif), &prefix);
    if (near != NULL)
        return destination;
    struct port_interface *interface = interface_of(netif);
    if (interface->owner != NULL)
        netif = &interface->owner->netif;
    return ip4_addr_isany_val(*netif_ip4_gw(netif)) ? NULL : netif_ip4_gw(netif);
}

const ip4_addr_t *hook_arp_gateway(struct netif *netif, const ip4_addr_t *destination)
{
    const ip4_addr_t *next_hop = route_next_hop(netif, destination);
    return next_hop == NULL || next_hop == destination ? next_hop
                                                       : redirect_of(destination, next_hop);
}

bool route_on_link(const struct netif *netif, const ip4_addr_t *ip)
{
    unsigned prefix;
    ip_addr_t as_any;
    ip_addr_copy_from_ip4(as_any, *ip);
    return connected(&as_any, interface_index(netif), &prefix) != NULL;
}

bool route_share_network(const struct netif *netif, const ip4_addr_t *a, const ip4_addr_t *b)
{
    ip_addr_t left, right;
    struct netif *each;
    ip_addr_copy_from_ip4(left, *a);
    ip_addr_copy_from_ip4(right, *b);
    NETIF_FOREACH(each)
    if (usable(each) && interface_index(each) == interface_index(netif) &&
        !ip4_addr_isany_val(*netif_ip4_addr(each)) &&
        is_in(&left, netif_ip_addr4(each), prefix4(each)) &&
        is_in(&right, netif_ip_addr4(each), prefix4(each)))
        return true;
    return false;
}

struct netif *hook_ip6_route(const ip6_addr_t *source, const ip6_addr_t *destination)
{
    (void)source;
    ip_addr_t ip;
    unsigned prefix;
    ip_addr_copy_from_ip6(ip, *destination);
    struct route *route = best_static(&ip);
    if (route == NULL)
        return NULL;
    struct netif *near = connected(&ip, 0, &prefix);
    /* What lwIP finds by itself it finds after us. */
    return near != NULL && prefix >= route->spec.destination.prefix ? NULL : netif_of(route);
}

const ip6_addr_t *hook_nd_gateway(struct netif *netif, const ip6_addr_t *destination)
{
    ip_addr_t ip;
    ip_addr_copy_from_ip6(ip, *destination);
    struct route *route = best_static(&ip);
    if (route == NULL || route->spec.interface != interface_index(netif))
        return NULL;
    return route->spec.gateway.family == PS_UNSPECIFIED ? destination : ip_2_ip6(&route->gateway);
}

void hook_nd_hop_limit(struct netif *netif, u8_t limit)
{
    (void)netif; /* lwIP has one hop limit for all interfaces, as the tunable is one */
    tunables.ip6_hop_limit = limit;
}

/* --- changes -------------------------------------------------------------------------------- */

static void forget_next_hops(void)
{
    nd6_clear_destination_cache();
}

void route_init(void)
{
    routes = NULL;
    redirect_init();
}

void route_interface_removed(const struct netif *netif)
{
    uint32_t index = interface_index(netif);
    if (interface_of(netif)->owner != NULL)
        return; /* routes name the owner, which stays */
    for (struct route **link = &routes; *link != NULL;) {
        struct route *route = *link;
        if (route->spec.interface == index) {
            *link = route->next;
            port_free(route);
        } else {
            link = &route->next;
        }
    }
    forget_next_hops();
}

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
                       : connected(&fresh.gateway, spec->interface, &prefix);
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
    for (const struct route *route = routes; route != NULL; route = route->next)
        if (same_destination(&route->spec, spec) && route->spec.metric == spec->metric)
            return -EEXIST;
    struct route *route = port_allocate(sizeof *route);
    if (route == NULL)
        return -ENOMEM;
    *route = fresh;
    route->spec.origin = PS_ROUTE_STATIC;
    route->next = routes;
    routes = route;
    forget_next_hops();
    return 0;
}

int engine_route_remove(ps_engine *engine, const struct ps_route *spec)
{
    (void)engine;
    for (struct route **link = &routes; *link != NULL; link = &(*link)->next) {
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
        forget_next_hops();
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
        if (!usable(netif))
            continue;
        if (!ip4_addr_isany_val(*netif_ip4_addr(netif)) && (*position)-- == 0) {
            describe_connected(netif, netif_ip_addr4(netif), prefix4(netif), out);
            return 1;
        }
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (ip6_addr_isvalid(netif_ip6_addr_state(netif, i)) && (*position)-- == 0) {
                describe_connected(netif, netif_ip_addr6(netif, i), prefix6(netif, i), out);
                return 1;
            }
    }
    return 0;
}

int engine_route_at(ps_engine *engine, size_t position, struct ps_route *out)
{
    (void)engine;
    for (const struct route *route = routes; route != NULL; route = route->next)
        if (position-- == 0) {
            *out = route->spec;
            return 1;
        }
    if (connected_at(&position, out))
        return 1;
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (usable(netif) && netif != interface_loopback() &&
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
            !usable(interface_by_index(candidate.interface)) ||
            address_to_lwip(&candidate.destination, &network) < 0 ||
            !is_in(&ip, &network, candidate.destination.prefix))
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
