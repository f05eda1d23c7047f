// SPDX-License-Identifier: GPL-2.0
/* What a network interface is, by rtnetlink. */
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include "engine/interface.h"
#include "engine/netlink.h"
#include "engine/proc.h"

static bool describe_interface(ps_engine *self, const struct nlmsghdr *m, void *user)
{
    struct ps_interface *out = user;
    const struct ifinfomsg *i = NLMSG_DATA(m);
    int left = (int)IFLA_PAYLOAD(m);
    (void)self;
    memset(out, 0, sizeof *out);
    out->index = (uint32_t)i->ifi_index;
    out->layer = i->ifi_type == ARPHRD_ETHER ? PS_LAYER_ETHERNET : PS_LAYER_IP;
    out->flags = (i->ifi_flags & IFF_UP ? PS_IF_UP : 0) |
                 (i->ifi_flags & IFF_LOOPBACK ? PS_IF_LOOPBACK : 0) |
                 (i->ifi_flags & IFF_BROADCAST ? PS_IF_BROADCAST : 0);
    for (const struct rtattr *a = IFLA_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
        switch (a->rta_type) {
        case IFLA_IFNAME:
            snprintf(out->name, PS_NAME_SIZE, "%s", (const char *)RTA_DATA(a));
            break;
        case IFLA_MTU:
            memcpy(&out->mtu, RTA_DATA(a), sizeof out->mtu);
            break;
        case IFLA_ADDRESS:
            if (RTA_PAYLOAD(a) == sizeof out->mac)
                memcpy(out->mac, RTA_DATA(a), sizeof out->mac);
            break;
        case IFLA_CARRIER:
            if (*(const uint8_t *)RTA_DATA(a))
                out->flags |= PS_IF_LINK;
            break;
        }
    return true;
}

int interface_get(ps_engine *self, uint32_t index, struct ps_interface *out)
{
    struct request r;
    struct ifinfomsg i = {.ifi_index = (int)index};
    if (index == 0)
        return -ENODEV;
    return ask_for(self, begin(&r, RTM_GETLINK, 0, &i, sizeof i), describe_interface, out);
}

int engine_interface_at(ps_engine *self, size_t position, struct ps_interface *out)
{
    int result = entry_at(self, &self->links, RTM_GETLINK, sizeof(struct ifinfomsg), position,
                          describe_interface, out);
    if (result <= 0 || out->flags & PS_IF_LOOPBACK)
        return result;
    char path[128], text[16];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_ra", out->name);
    /* There is no such file while the MTU is too small for IPv6. */
    if (proc_read(path, text, sizeof text) > 0 && text[0] != '0')
        out->flags |= PS_IF_SLAAC;
    return 1;
}
