// SPDX-License-Identifier: GPL-2.0
/*
 * Whether a timer of the kernel's may send a frame, or change what a socket's call says. The kernel
 * doesn't say what its timers are for, and some of those that look after tables run for ever; so
 * it is asked for all that has such timers.
 *
 * Left out are two kinds that end nobody's wait: acknowledgements that are put off, for whoever
 * waits for one has a timer of its own, and reports of multicast groups. TIME-WAIT and the age of
 * neighbours, routes' metrics and fragments' identifiers lead to nothing.
 */
#include "engine/acts.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/pkt_sched.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/conflict.h"
#include "engine/connection.h"
#include "engine/interface.h"
#include "engine/netlink.h"
#include "engine/proc.h"
#include "engine/socket_table.h"

enum { TIMER_NONE, TIMER_TIME_WAIT = 3 }; /* inet_diag_msg.idiag_timer */
#define LINUX_MPTCP 262
#define LINUX_SCTP 132
#define FOREVER UINT32_MAX

/* Their retransmissions and heartbeats are in no listing. */
static bool has_hidden_timers(const ps_engine *self)
{
    for (size_t fd = 0; fd < self->room; fd++)
        if (self->sockets[fd].open &&
            (self->sockets[fd].protocol == LINUX_MPTCP || self->sockets[fd].protocol == LINUX_SCTP))
            return true;
    return false;
}

static int note_timer(ps_engine *self, const struct nlmsghdr *message, void *user)
{
    const struct inet_diag_msg *m = NLMSG_DATA(message);
    bool *found = user;
    (void)self;
    if (m->idiag_timer != TIMER_NONE && m->idiag_timer != TIMER_TIME_WAIT)
        *found = true;
    return 0;
}

static int connections_act(ps_engine *self)
{
    bool found = false;
    int result = connections_each_tcp(self, note_timer, &found);
    return result < 0 ? result : found;
}

static int neighbours_act(ps_engine *self)
{
    struct ps_neighbour one;
    int result;
    for (size_t i = 0; (result = engine_neighbour_at(self, i, &one)) == 1; i++)
        if (one.state == PS_NEIGHBOUR_INCOMPLETE || one.state == PS_NEIGHBOUR_DELAY ||
            one.state == PS_NEIGHBOUR_PROBE)
            return 1;
    return result;
}

/* One that is looked for on the link, or that ends. */
static int addresses_act(ps_engine *self)
{
    struct ps_interface_address one;
    int result;
    for (size_t i = 0; (result = engine_address_at(self, i, &one)) == 1; i++)
        if (one.state == PS_ADDRESS_TENTATIVE || one.valid_s != FOREVER ||
            (one.preferred_s != FOREVER && one.state != PS_ADDRESS_DEPRECATED))
            return 1;
    return result < 0 ? result : conflict_deadline(self) != UINT64_MAX;
}

/* Routers are asked for until one answers; then what it says ends some time. */
static int interfaces_act(ps_engine *self)
{
    const uint32_t works = PS_IF_UP | PS_IF_LINK | PS_IF_SLAAC;
    struct ps_interface one;
    int result;
    for (size_t i = 0; (result = engine_interface_at(self, i, &one)) == 1; i++)
        if ((one.flags & works) == works)
            return 1;
    return result;
}

/* A datagram that is not whole in time is reported to its sender. */
static int fragments_act(const char *path, const char *row)
{
    char text[1024];
    int size = proc_read(path, text, sizeof text);
    if (size < 0)
        return size;
    const char *found = strstr(text, row);
    return found != NULL && strtol(found + strlen(row), NULL, 10) > 0;
}

static int note_queue(ps_engine *self, const struct nlmsghdr *message, void *user)
{
    const struct tcmsg *m = NLMSG_DATA(message);
    int left = (int)(NLMSG_PAYLOAD(message, 0) - NLMSG_ALIGN(sizeof *m));
    bool *found = user;
    (void)self;
    for (const struct rtattr *a = (const void *)((const char *)m + NLMSG_ALIGN(sizeof *m));
         RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        struct tc_stats statistics;
        if (a->rta_type != TCA_STATS || RTA_PAYLOAD(a) < sizeof statistics)
            continue;
        memcpy(&statistics, RTA_DATA(a), sizeof statistics);
        if (statistics.qlen > 0)
            *found = true;
    }
    return 0;
}

/* Packets wait in a queueing discipline, as for netem's delay. */
static int queues_act(ps_engine *self)
{
    struct request r;
    const struct tcmsg all = {.tcm_family = AF_UNSPEC};
    bool found = false;
    begin(&r, RTM_GETQDISC, NLM_F_DUMP, &all, sizeof all);
    int result = for_each(self, self->netlink, &r, note_queue, &found);
    return result < 0 ? result : found;
}

int acts_alone(ps_engine *self)
{
    if (has_hidden_timers(self))
        return -ENOENT;
    int result = connections_act(self);
    if (result == 0)
        result = neighbours_act(self);
    if (result == 0)
        result = addresses_act(self);
    if (result == 0)
        result = interfaces_act(self);
    if (result == 0)
        result = fragments_act("/proc/net/sockstat", "\nFRAG: inuse ");
    if (result == 0)
        result = fragments_act("/proc/net/sockstat6", "\nFRAG6: inuse ");
    return result != 0 ? result : queues_act(self);
}
