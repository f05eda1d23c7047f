// SPDX-License-Identifier: GPL-2.0
/* Addresses and routes from router advertisements (RFC 4862), switched on and off. */
#include <errno.h>
#include <netinet/in.h>
#include "engine/interface.h"
#include "engine/netlink.h"

/* Setting the interface identifier (IFLA_INET6_TOKEN) makes an interface solicit routers: at once,
 * or as soon as its link-local address is ready. */
static int set_identifier(ps_engine *self, uint32_t index, const struct in6_addr *identifier)
{
    struct request r;
    struct ifinfomsg i = {.ifi_index = (int)index};
    struct {
        struct rtattr family, token;
        struct in6_addr identifier;
    } nested = {
        {sizeof nested, AF_INET6},
        {sizeof nested.token + sizeof nested.identifier, IFLA_INET6_TOKEN},
        *identifier,
    };
    begin(&r, RTM_SETLINK, 0, &i, sizeof i);
    attribute(&r, IFLA_AF_SPEC, &nested, sizeof nested);
    return carry_out(self, &r);
}

static int solicit(ps_engine *self, uint32_t index)
{
    int result = set_identifier(self, index, &in6addr_loopback);
    return result < 0 ? result : set_identifier(self, index, &in6addr_any);
}

static int drop_addresses(ps_engine *self, uint32_t index)
{
    struct ps_interface_address a;
    int result;
    for (size_t i = 0; (result = engine_address_at(self, i, &a)) == 1; i++)
        if (a.interface == index && a.origin == PS_ORIGIN_SLAAC) {
            result = engine_address_remove(self, index, &a.address);
            if (result < 0 && result != -EADDRNOTAVAIL)
                return result;
        }
    return result;
}

static bool is_in(const struct ps_address *a, const struct ps_address *network)
{
    for (unsigned bit = 0; bit < network->prefix; bit++)
        if ((a->bytes[bit / 8] ^ network->bytes[bit / 8]) & 0x80 >> bit % 8)
            return false;
    return a->family == network->family;
}

/* Whether no address of the interface explains this on-link route, so that an advertisement must.
 * netlink doesn't say where a route that never expires comes from. */
static bool is_left_over(ps_engine *self, const struct ps_route *route)
{
    struct ps_interface_address a;
    if (route->origin != PS_ROUTE_CONNECTED || route->destination.family != PS_INET6)
        return false;
    for (size_t i = 0; engine_address_at(self, i, &a) == 1; i++)
        if (a.interface == route->interface && is_in(&a.address, &route->destination))
            return false;
    return true;
}

static int drop_routes(ps_engine *self, uint32_t index)
{
    struct ps_route route;
    int result;
    for (size_t i = 0; (result = engine_route_at(self, i, &route)) == 1; i++)
        if (route.interface == index &&
            (route.origin == PS_ROUTE_RA || is_left_over(self, &route))) {
            result = engine_route_remove(self, &route);
            if (result < 0 && result != -ESRCH)
                return result;
        }
    return result;
}

int slaac(ps_engine *self, uint32_t index, bool on)
{
    struct ps_interface one;
    int result = interface_get(self, index, &one);
    if (result < 0)
        return result;
    if (one.flags & PS_IF_LOOPBACK)
        return -EOPNOTSUPP;
    if (on && one.layer != PS_LAYER_ETHERNET)
        return -EADDRNOTAVAIL;
    result = slaac_allow(self, &one, on);
    if (result < 0 || one.mtu < LEAST_MTU_IPV6)
        return result;
    if (on)
        return solicit(self, index);
    result = drop_addresses(self, index);
    return result < 0 ? result : drop_routes(self, index);
}
