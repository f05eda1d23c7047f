// SPDX-License-Identifier: GPL-2.0
/* A socket in rtnetlink's groups: changes of links, addresses and routes. */
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "engine/conflict.h"
#include "engine/monitor.h"
#include "engine/netlink.h"
#include "engine/route.h"
#include "engine/system_call.h"

#define GROUPS \
    (RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE)

int monitor_open(ps_engine *self)
{
    const struct sockaddr_nl groups = {.nl_family = AF_NETLINK, .nl_groups = GROUPS};
    long fd = CALL(NR_socket, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (fd < 0)
        return (int)fd;
    long result = CALL(NR_bind, fd, &groups, sizeof groups);
    if (result < 0)
        return (int)result;
    result = anyk_watch((int)fd, 0);
    if (result < 0)
        return (int)result;
    self->monitor = (int)fd;
    return 0;
}

static uint32_t interface_in(const struct nlmsghdr *m)
{
    switch (m->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return (uint32_t)((const struct ifinfomsg *)NLMSG_DATA(m))->ifi_index;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return ((const struct ifaddrmsg *)NLMSG_DATA(m))->ifa_index;
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
        const struct rtmsg *i = NLMSG_DATA(m);
        int left = (int)RTM_PAYLOAD(m);
        for (const struct rtattr *a = RTM_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
            if (a->rta_type == RTA_OIF)
                return *(const uint32_t *)RTA_DATA(a);
        return 0;
    }
    default:
        return 0;
    }
}

static void tell(ps_engine *self, uint32_t index)
{
    self->host.event(self->host.user, PS_EVENT_INTERFACE, index, 0);
}

/* Some notifications were lost. */
static void tell_all(ps_engine *self)
{
    struct ps_interface one;
    for (size_t i = 0; engine_interface_at(self, i, &one) == 1; i++)
        tell(self, one.index);
}

/* What follows from a notification, beside the host's event. */
static int follow(ps_engine *self, const struct nlmsghdr *m)
{
    const struct ifinfomsg *i = NLMSG_DATA(m);
    if (m->nlmsg_type == RTM_NEWLINK && i->ifi_flags & IFF_UP && !(i->ifi_flags & IFF_LOOPBACK))
        return route_add_groups(self, (uint32_t)i->ifi_index);
    if (m->nlmsg_type == RTM_DELLINK)
        conflict_forget_interface(self, (uint32_t)i->ifi_index);
    return 0;
}

static void log_failure(ps_engine *self, uint32_t index, int error)
{
    char text[96];
    snprintf(text, sizeof text, "interface %u: no route to multicast groups (errno %d)", index,
             -error);
    self->host.log(self->host.user, PS_LOG_ERROR, text);
}

void monitor_tell(ps_engine *self)
{
    _Alignas(struct nlmsghdr) char buffer[8192];
    uint32_t last = 0;
    self->news = false;
    for (;;) {
        long size = CALL(NR_recvfrom, self->monitor, buffer, sizeof buffer, MSG_DONTWAIT, NULL, 0);
        if (size == -ENOBUFS) {
            tell_all(self);
            continue;
        }
        if (size <= 0)
            return;
        for (struct nlmsghdr *m = (void *)buffer; NLMSG_OK(m, size); m = NLMSG_NEXT(m, size)) {
            uint32_t index = interface_in(m);
            int result = follow(self, m);
            if (result < 0)
                log_failure(self, index, result);
            if (index != 0 && index != last)
                tell(self, index);
            last = index != 0 ? index : last;
        }
    }
}
