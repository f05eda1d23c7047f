// SPDX-License-Identifier: GPL-2.0
/* The addresses that the kernel has, by rtnetlink. */
#include "engine/kernel_address.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "engine/address.h"
#include "engine/netlink.h"

static bool describe_address(ps_engine *self, const struct nlmsghdr *m, void *user)
{
    struct ps_interface_address *out = user;
    const struct ifaddrmsg *i = NLMSG_DATA(m);
    int left = (int)IFA_PAYLOAD(m);
    uint32_t flags = i->ifa_flags;
    (void)self;
    if (i->ifa_family != AF_INET && i->ifa_family != AF_INET6)
        return false;
    memset(out, 0, sizeof *out);
    out->interface = i->ifa_index;
    out->valid_s = out->preferred_s = UINT32_MAX;
    for (const struct rtattr *a = IFA_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
        switch (a->rta_type) {
        case IFA_ADDRESS: /* a peer's, if there is an IFA_LOCAL besides, which comes later */
            if (out->address.family == PS_UNSPECIFIED)
                set_ip(&out->address, i->ifa_family, RTA_DATA(a));
            break;
        case IFA_LOCAL:
            set_ip(&out->address, i->ifa_family, RTA_DATA(a));
            break;
        case IFA_FLAGS:
            memcpy(&flags, RTA_DATA(a), sizeof flags);
            break;
        case IFA_CACHEINFO: {
            const struct ifa_cacheinfo *c = RTA_DATA(a);
            out->valid_s = c->ifa_valid;
            out->preferred_s = c->ifa_prefered;
            break;
        }
        }
    out->address.prefix = i->ifa_prefixlen;
    out->state = flags & IFA_F_DADFAILED    ? PS_ADDRESS_DUPLICATE
                 : flags & IFA_F_TENTATIVE  ? PS_ADDRESS_TENTATIVE
                 : flags & IFA_F_DEPRECATED ? PS_ADDRESS_DEPRECATED
                                            : PS_ADDRESS_PREFERRED;
    bool learnt = out->address.family == PS_INET6 && !(flags & IFA_F_PERMANENT);
    out->origin = is_link_local(&out->address) ? PS_ORIGIN_LINK_LOCAL
                  : learnt                     ? PS_ORIGIN_SLAAC
                                               : PS_ORIGIN_STATIC;
    if (is_link_local(&out->address))
        out->address.scope = i->ifa_index;
    return true;
}

int kernel_address_at(ps_engine *self, size_t position, struct ps_interface_address *out)
{
    return entry_at(self, &self->addresses, RTM_GETADDR, sizeof(struct ifaddrmsg), position,
                    describe_address, out);
}

static struct request *request_for(struct request *r, int type, int flags, uint32_t index,
                                   const struct ps_address *a)
{
    const struct ifaddrmsg i = {
        .ifa_family = (uint8_t)af(a->family), .ifa_prefixlen = a->prefix, .ifa_index = index};
    begin(r, type, flags, &i, sizeof i);
    attribute(r, IFA_LOCAL, a->bytes, width(a->family));
    attribute(r, IFA_ADDRESS, a->bytes, width(a->family));
    return r;
}

int kernel_address_add(ps_engine *self, uint32_t index, const struct ps_address *a, uint32_t flags)
{
    struct request r;
    request_for(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, index, a);
    attribute(&r, IFA_FLAGS, &flags, sizeof flags);
    if (a->family == PS_INET && a->prefix < 31) { /* RFC 3021: two hosts need no broadcast */
        uint32_t ip, mask = a->prefix ? htonl(~0u << (32 - a->prefix)) : 0;
        memcpy(&ip, a->bytes, sizeof ip);
        ip |= ~mask;
        attribute(&r, IFA_BROADCAST, &ip, sizeof ip);
    }
    return carry_out(self, &r);
}

/* Linux needs the prefix length. A separate listing: the caller may be in the middle of one. */
int kernel_address_find(ps_engine *self, uint32_t index, const struct ps_address *wanted,
                        struct ps_address *out)
{
    struct listing listing = {0};
    struct ps_interface_address a;
    int result, found = -EADDRNOTAVAIL;
    for (size_t i = 0; (result = entry_at(self, &listing, RTM_GETADDR, sizeof(struct ifaddrmsg), i,
                                          describe_address, &a)) == 1;
         i++)
        if (found < 0 && a.interface == index && a.address.family == wanted->family &&
            memcmp(a.address.bytes, wanted->bytes, width(wanted->family)) == 0) {
            *out = a.address;
            found = 0;
        }
    return result < 0 ? result : found;
}

int kernel_address_prefer(ps_engine *self, uint32_t index, const struct ps_address *a,
                          bool preferred)
{
    struct request r;
    struct ps_address own;
    const struct ifa_cacheinfo times = {.ifa_prefered = preferred ? UINT32_MAX : 0,
                                        .ifa_valid = UINT32_MAX};
    int result = kernel_address_find(self, index, a, &own);
    if (result < 0)
        return result;
    request_for(&r, RTM_NEWADDR, NLM_F_REPLACE, index, &own);
    attribute(&r, IFA_CACHEINFO, &times, sizeof times);
    return carry_out(self, &r);
}

int kernel_address_remove(ps_engine *self, uint32_t index, const struct ps_address *a)
{
    struct request r;
    struct ps_address own;
    int result = kernel_address_find(self, index, a, &own);
    return result < 0 ? result : carry_out(self, request_for(&r, RTM_DELADDR, 0, index, &own));
}
