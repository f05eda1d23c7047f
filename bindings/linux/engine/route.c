// SPDX-License-Identifier: GPL-2.0
/* Routes, by rtnetlink. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "engine/address.h"
#include "engine/interface.h"
#include "engine/netlink.h"
#include "engine/route.h"

static bool has_host_bits(const struct ps_address *network)
{
    for (unsigned bit = network->prefix; bit < width(network->family) * 8; bit++)
        if (network->bytes[bit / 8] & 0x80 >> bit % 8)
            return true;
    return false;
}

static uint8_t origin_of(const struct rtmsg *i, bool expires)
{
    /* A prefix advertised as on-link is a route of the kernel's, with a lifetime. */
    if (i->rtm_protocol == RTPROT_RA || (i->rtm_protocol == RTPROT_KERNEL && expires))
        return PS_ROUTE_RA;
    return i->rtm_protocol == RTPROT_KERNEL ? PS_ROUTE_CONNECTED : PS_ROUTE_STATIC;
}

static bool describe_any(ps_engine *self, const struct nlmsghdr *m, void *user)
{
    struct ps_route *out = user;
    const struct rtmsg *i = NLMSG_DATA(m);
    int left = (int)RTM_PAYLOAD(m);
    bool expires = false;
    (void)self;
    memset(out, 0, sizeof *out);
    out->destination.family = i->rtm_family == AF_INET ? PS_INET : PS_INET6;
    for (const struct rtattr *a = RTM_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
        switch (a->rta_type) {
        case RTA_DST:
            set_ip(&out->destination, i->rtm_family, RTA_DATA(a));
            break;
        case RTA_GATEWAY:
            set_ip(&out->gateway, i->rtm_family, RTA_DATA(a));
            break;
        case RTA_PREFSRC:
            set_ip(&out->source, i->rtm_family, RTA_DATA(a));
            break;
        case RTA_OIF:
            memcpy(&out->interface, RTA_DATA(a), sizeof out->interface);
            break;
        case RTA_PRIORITY:
            memcpy(&out->metric, RTA_DATA(a), sizeof out->metric);
            break;
        case RTA_CACHEINFO:
            expires = ((const struct rta_cacheinfo *)RTA_DATA(a))->rta_expires != 0;
            break;
        }
    out->destination.prefix = i->rtm_dst_len;
    out->origin = origin_of(i, expires);
    return true;
}

/* Those that a user would see in `ip route`: not what Linux has for its own addresses. */
static bool describe_listed(ps_engine *self, const struct nlmsghdr *m, void *user)
{
    const struct rtmsg *i = NLMSG_DATA(m);
    if ((i->rtm_family != AF_INET && i->rtm_family != AF_INET6) || i->rtm_table != RT_TABLE_MAIN ||
        i->rtm_type != RTN_UNICAST || i->rtm_flags & RTM_F_CLONED)
        return false;
    return describe_any(self, m, user);
}

int engine_route_at(ps_engine *self, size_t position, struct ps_route *out)
{
    return entry_at(self, &self->routes, RTM_GETROUTE, sizeof(struct rtmsg), position,
                    describe_listed, out);
}

int engine_route_lookup(ps_engine *self, const struct ps_address *d, struct ps_route *out)
{
    struct request r;
    /* The table's entry, not the cached route for this destination. */
    struct rtmsg i = {.rtm_family = (uint8_t)af(d->family),
                      .rtm_dst_len = (uint8_t)(width(d->family) * 8),
                      .rtm_flags = RTM_F_FIB_MATCH};
    begin(&r, RTM_GETROUTE, 0, &i, sizeof i);
    attribute(&r, RTA_DST, d->bytes, width(d->family));
    if (d->scope)
        attribute(&r, RTA_OIF, &d->scope, sizeof d->scope);
    int result = ask_for(self, &r, describe_any, out);
    return result == -EHOSTUNREACH ? -ENETUNREACH : result;
}

static struct request *request_for(struct request *r, int type, int flags, struct rtmsg *i,
                                   const struct ps_route *spec)
{
    size_t bytes = width(spec->destination.family);
    i->rtm_family = (uint8_t)af(spec->destination.family);
    i->rtm_dst_len = spec->destination.prefix;
    i->rtm_table = RT_TABLE_MAIN;
    begin(r, type, flags, i, sizeof *i);
    attribute(r, RTA_DST, spec->destination.bytes, bytes);
    if (spec->gateway.family)
        attribute(r, RTA_GATEWAY, spec->gateway.bytes, bytes);
    if (spec->source.family)
        attribute(r, RTA_PREFSRC, spec->source.bytes, bytes);
    uint32_t interface = spec->interface;
    if (interface == 0 && is_link_local(&spec->gateway))
        interface = spec->gateway.scope;
    if (interface != 0)
        attribute(r, RTA_OIF, &interface, sizeof interface);
    if (spec->metric != 0)
        attribute(r, RTA_PRIORITY, &spec->metric, sizeof spec->metric);
    return r;
}

/* What Linux accepts, or reports by another errno. */
static int check(ps_engine *self, const struct ps_route *spec)
{
    struct ps_interface one;
    const struct ps_address *network = &spec->destination, *gateway = &spec->gateway;
    if (network->prefix > width(network->family) * 8 || has_host_bits(network))
        return -EINVAL;
    if (spec->interface != 0) {
        int result = interface_get(self, spec->interface, &one);
        if (result < 0)
            return result;
    }
    if (spec->source.family != PS_UNSPECIFIED && spec->source.family != network->family)
        return -EINVAL;
    if (gateway->family == PS_UNSPECIFIED)
        return spec->interface == 0 ? -ENODEV : 0;
    if (gateway->family != network->family)
        return -EINVAL;
    if (is_link_local(gateway) && spec->interface == 0 && gateway->scope == 0)
        return -ENETUNREACH;
    return 0;
}

int engine_route_add(ps_engine *self, const struct ps_route *spec)
{
    struct request r;
    struct rtmsg i = {.rtm_protocol = RTPROT_STATIC,
                      .rtm_type = RTN_UNICAST,
                      .rtm_scope = spec->gateway.family ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK};
    int result = check(self, spec);
    if (result == 0)
        result =
            carry_out(self, request_for(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &i, spec));
    /* A gateway on no local network: IPv6's errno for it; IPv4 has the other. */
    return result == -EHOSTUNREACH ? -ENETUNREACH : result;
}

/* Fields left out match anything. */
int engine_route_remove(ps_engine *self, const struct ps_route *spec)
{
    struct request r;
    struct rtmsg i = {.rtm_scope = RT_SCOPE_NOWHERE};
    return carry_out(self, request_for(&r, RTM_DELROUTE, 0, &i, spec));
}

int route_add_groups(ps_engine *self, uint32_t index)
{
    static const uint8_t groups[4] = {224};
    struct request r;
    const struct rtmsg i = {.rtm_family = AF_INET,
                            .rtm_dst_len = 4,
                            .rtm_table = RT_TABLE_DEFAULT,
                            .rtm_protocol = RTPROT_STATIC,
                            .rtm_scope = RT_SCOPE_LINK,
                            .rtm_type = RTN_UNICAST};
    begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, &i, sizeof i);
    attribute(&r, RTA_DST, groups, sizeof groups);
    attribute(&r, RTA_OIF, &index, sizeof index);
    attribute(&r, RTA_PRIORITY, &index, sizeof index); /* the interface that was first */
    int result = carry_out(self, &r);
    return result == -EEXIST ? 0 : result;
}
