// SPDX-License-Identifier: GPL-2.0
/* The neighbour tables of ARP and ND, by rtnetlink. */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "engine/address.h"
#include "engine/interface.h"
#include "engine/netlink.h"

#define USER_HZ 100 /* the unit of the ages that netlink gives */

/* States in which resolution is under way or done; not NUD_NONE, NUD_FAILED, NUD_NOARP. */
#define LISTED (NUD_INCOMPLETE | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE | NUD_PERMANENT)

static uint8_t state_of(unsigned nud)
{
    return nud & NUD_PERMANENT   ? PS_NEIGHBOUR_PERMANENT
           : nud & NUD_REACHABLE ? PS_NEIGHBOUR_REACHABLE
           : nud & NUD_STALE     ? PS_NEIGHBOUR_STALE
           : nud & NUD_DELAY     ? PS_NEIGHBOUR_DELAY
           : nud & NUD_PROBE     ? PS_NEIGHBOUR_PROBE
                                 : PS_NEIGHBOUR_INCOMPLETE;
}

static bool describe_neighbour(ps_engine *self, const struct nlmsghdr *m, void *user)
{
    struct ps_neighbour *out = user;
    const struct ndmsg *i = NLMSG_DATA(m);
    int left = (int)(m->nlmsg_len - NLMSG_LENGTH(sizeof *i));
    (void)self;
    if ((i->ndm_family != AF_INET && i->ndm_family != AF_INET6) || !(i->ndm_state & LISTED) ||
        i->ndm_flags & NTF_PROXY)
        return false;
    memset(out, 0, sizeof *out);
    out->interface = (uint32_t)i->ndm_ifindex;
    out->router = !!(i->ndm_flags & NTF_ROUTER);
    out->state = state_of(i->ndm_state);
    for (const struct rtattr *a = (const void *)((const char *)i + NLMSG_ALIGN(sizeof *i));
         RTA_OK(a, left); a = RTA_NEXT(a, left))
        switch (a->rta_type) {
        case NDA_DST:
            set_ip(&out->address, i->ndm_family, RTA_DATA(a));
            break;
        case NDA_LLADDR:
            if (RTA_PAYLOAD(a) == sizeof out->mac)
                memcpy(out->mac, RTA_DATA(a), sizeof out->mac);
            break;
        case NDA_CACHEINFO:
            out->age_s = ((const struct nda_cacheinfo *)RTA_DATA(a))->ndm_confirmed / USER_HZ;
            break;
        }
    return true;
}

int engine_neighbour_at(ps_engine *self, size_t position, struct ps_neighbour *out)
{
    return entry_at(self, &self->neighbours, RTM_GETNEIGH, sizeof(struct ndmsg), position,
                    describe_neighbour, out);
}

static struct request *request_for(struct request *r, int type, int flags, uint32_t index,
                                   const struct ps_address *a)
{
    const struct ndmsg i = {.ndm_family = (uint8_t)af(a->family),
                            .ndm_ifindex = (int)index,
                            .ndm_state = NUD_PERMANENT};
    begin(r, type, flags, &i, sizeof i);
    attribute(r, NDA_DST, a->bytes, width(a->family));
    return r;
}

int engine_neighbour_add(ps_engine *self, const struct ps_neighbour *n)
{
    struct request r;
    struct ps_interface one;
    int result = interface_get(self, n->interface, &one);
    if (result < 0)
        return result;
    if (one.layer != PS_LAYER_ETHERNET)
        return -EOPNOTSUPP;
    if (!is_unicast(&n->address))
        return -EINVAL;
    request_for(&r, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, n->interface, &n->address);
    attribute(&r, NDA_LLADDR, n->mac, sizeof n->mac);
    return carry_out(self, &r);
}

int engine_neighbour_remove(ps_engine *self, uint32_t index, const struct ps_address *a)
{
    struct request r;
    struct ps_interface one;
    int result = interface_get(self, index, &one);
    if (result == 0)
        result = carry_out(self, request_for(&r, RTM_DELNEIGH, 0, index, a));
    return result == -ENOENT ? -ESRCH : result;
}

int engine_neighbour_flush(ps_engine *self, uint32_t index, enum ps_family family, bool all)
{
    struct ps_neighbour n;
    struct ps_interface one;
    struct request r;
    int result = index == 0 ? 0 : interface_get(self, index, &one);
    if (result < 0)
        return result;
    for (size_t i = 0; (result = engine_neighbour_at(self, i, &n)) == 1; i++) {
        if ((index && n.interface != index) || (family && n.address.family != family) ||
            (!all && n.state == PS_NEIGHBOUR_PERMANENT))
            continue;
        result = carry_out(self, request_for(&r, RTM_DELNEIGH, 0, n.interface, &n.address));
        if (result < 0 && result != -ENOENT)
            return result;
    }
    return result;
}
