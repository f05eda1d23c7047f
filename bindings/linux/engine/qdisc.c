// SPDX-License-Identifier: GPL-2.0
/* Queueing disciplines of interfaces, by rtnetlink: tc(8). */
#include <errno.h>
#include <linux/pkt_sched.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "engine/netlink.h"

/* tc(8): the kernel's "ticks" of a time in a packet scheduler. */
#define NS_PER_TICK 64
#define NS_PER_S 1000000000u
/* tc_tbf_qopt's rate has 32 bits; all ones: the 64-bit one counts. */
#define RATE_IN_64 UINT32_MAX
#define LIMIT 1000 /* packets, netem's */
#define HANDLE(number) ((uint32_t)(number) << 16)

static const char *const names[] = {[PS_QDISC_FQ] = "fq",
                                    [PS_QDISC_FQ_CODEL] = "fq_codel",
                                    [PS_QDISC_NETEM] = "netem",
                                    [PS_QDISC_TBF] = "tbf"};
#define KINDS (sizeof names / sizeof *names)

/* --- setting ------------------------------------------------------------------------------ */

static void number(struct request *r, int type, uint64_t value)
{
    uint32_t narrow = value < UINT32_MAX ? (uint32_t)value : UINT32_MAX;
    if (value != 0)
        attribute(r, type, &narrow, sizeof narrow);
}

static void number64(struct request *r, int type, uint64_t value)
{
    attribute(r, type, &value, sizeof value);
}

static void fq(struct request *r, const struct ps_qdisc *in)
{
    number(r, TCA_FQ_PLIMIT, in->limit);
    number(r, TCA_FQ_FLOW_PLIMIT, in->flow_limit);
    number(r, TCA_FQ_FLOW_MAX_RATE, in->rate);
}

static void fq_codel(struct request *r, const struct ps_qdisc *in)
{
    uint32_t ecn = in->ecn;
    number(r, TCA_FQ_CODEL_LIMIT, in->limit);
    number(r, TCA_FQ_CODEL_FLOWS, in->flows);
    number(r, TCA_FQ_CODEL_TARGET, in->target_us);
    number(r, TCA_FQ_CODEL_INTERVAL, in->interval_us);
    attribute(r, TCA_FQ_CODEL_ECN, &ecn, sizeof ecn);
}

/* Its structure precedes the attributes, without a header. */
static void netem(struct request *r, const struct ps_qdisc *in)
{
    struct tc_netem_qopt options = {.limit = in->limit != 0 ? in->limit : LIMIT,
                                    .loss = in->loss,
                                    .duplicate = in->duplicate,
                                    /* without a gap nothing overtakes */
                                    .gap = in->gap != 0 || in->reorder == 0 ? in->gap : 1};
    memcpy((char *)r + r->h.nlmsg_len, &options, sizeof options);
    r->h.nlmsg_len += NLMSG_ALIGN(sizeof options);
    number64(r, TCA_NETEM_LATENCY64, in->delay_ns);
    number64(r, TCA_NETEM_JITTER64, in->jitter_ns);
    if (in->reorder != 0) {
        struct tc_netem_reorder reorder = {.probability = in->reorder};
        attribute(r, TCA_NETEM_REORDER, &reorder, sizeof reorder);
    }
    if (in->corrupt != 0) {
        struct tc_netem_corrupt corrupt = {.probability = in->corrupt};
        attribute(r, TCA_NETEM_CORRUPT, &corrupt, sizeof corrupt);
    }
    if (in->rate != 0) {
        struct tc_netem_rate rate = {.rate =
                                         in->rate < RATE_IN_64 ? (uint32_t)in->rate : RATE_IN_64};
        attribute(r, TCA_NETEM_RATE, &rate, sizeof rate);
        if (in->rate >= RATE_IN_64)
            number64(r, TCA_NETEM_RATE64, in->rate);
    }
    number(r, TCA_NETEM_ECN, in->ecn);
}

static void tbf(struct request *r, const struct ps_qdisc *in)
{
    struct tc_tbf_qopt options = {
        .limit = in->limit,
        .rate = {.rate = in->rate < RATE_IN_64 ? (uint32_t)in->rate : RATE_IN_64,
                 .linklayer = TC_LINKLAYER_ETHERNET}};
    attribute(r, TCA_TBF_PARMS, &options, sizeof options);
    attribute(r, TCA_TBF_BURST, &in->burst_bytes, sizeof in->burst_bytes);
    if (in->rate >= RATE_IN_64)
        number64(r, TCA_TBF_RATE64, in->rate);
}

static void put_options(struct request *r, const struct ps_qdisc *in)
{
    static void (*const put[KINDS])(struct request *,
                                    const struct ps_qdisc *) = {[PS_QDISC_FQ] = fq,
                                                                [PS_QDISC_FQ_CODEL] = fq_codel,
                                                                [PS_QDISC_NETEM] = netem,
                                                                [PS_QDISC_TBF] = tbf};
    attribute(r, TCA_KIND, names[in->kind], strlen(names[in->kind]) + 1);
    uint32_t start = NLMSG_ALIGN(r->h.nlmsg_len);
    attribute(r, TCA_OPTIONS, NULL, 0);
    put[in->kind](r, in);
    struct rtattr *all = (void *)((char *)r + start);
    all->rta_len = (unsigned short)(r->h.nlmsg_len - start);
}

static struct request *begin_root(struct request *r, int type, int flags, uint32_t index,
                                  uint32_t handle)
{
    struct tcmsg head = {.tcm_ifindex = (int)index, .tcm_parent = TC_H_ROOT, .tcm_handle = handle};
    return begin(r, type, flags, &head, sizeof head);
}

/* The kernel echoes on request, but not for kinds that it hides: -EAGAIN. */
static struct request *begin_asking(struct request *r, uint32_t index)
{
    return begin_root(r, RTM_GETQDISC, NLM_F_ECHO, index, 0);
}

static bool describe_handle(ps_engine *self, const struct nlmsghdr *m, void *out)
{
    (void)self;
    *(uint32_t *)out = ((const struct tcmsg *)NLMSG_DATA(m))->tcm_handle;
    return true;
}

int engine_qdisc_set(ps_engine *self, uint32_t index, const struct ps_qdisc *qdisc)
{
    struct request r;
    uint32_t handle = 0;
    if (qdisc->kind == PS_QDISC_DEFAULT) {
        int result = carry_out(self, begin_root(&r, RTM_DELQDISC, 0, index, 0));
        return result == -ENOENT ? 0 : result; /* nothing had been set */
    }
    if (qdisc->kind >= KINDS)
        return -EINVAL;
    /* A different handle replaces the qdisc as a whole; the same one would keep options that are
     * not given. */
    if (ask_for(self, begin_asking(&r, index), describe_handle, &handle) < 0)
        handle = 0;
    put_options(begin_root(&r, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index,
                           handle == HANDLE(1) ? HANDLE(2) : HANDLE(1)),
                qdisc);
    return carry_out(self, &r);
}

/* --- reading ------------------------------------------------------------------------------ */

static uint32_t number_in(const struct rtattr *a)
{
    uint32_t value = 0;
    if (RTA_PAYLOAD(a) >= sizeof value)
        memcpy(&value, RTA_DATA(a), sizeof value);
    return value;
}

static uint64_t number64_in(const struct rtattr *a)
{
    uint64_t value = 0;
    if (RTA_PAYLOAD(a) >= sizeof value)
        memcpy(&value, RTA_DATA(a), sizeof value);
    return value;
}

static void read_fq(const struct rtattr *a, struct ps_qdisc *out)
{
    switch (a->rta_type) {
    case TCA_FQ_PLIMIT:
        out->limit = number_in(a);
        break;
    case TCA_FQ_FLOW_PLIMIT:
        out->flow_limit = number_in(a);
        break;
    case TCA_FQ_FLOW_MAX_RATE: /* all ones: none */
        out->rate = number_in(a) == UINT32_MAX ? 0 : number_in(a);
        break;
    }
}

static void read_fq_codel(const struct rtattr *a, struct ps_qdisc *out)
{
    switch (a->rta_type) {
    case TCA_FQ_CODEL_LIMIT:
        out->limit = number_in(a);
        break;
    case TCA_FQ_CODEL_FLOWS:
        out->flows = number_in(a);
        break;
    case TCA_FQ_CODEL_TARGET:
        out->target_us = number_in(a);
        break;
    case TCA_FQ_CODEL_INTERVAL:
        out->interval_us = number_in(a);
        break;
    case TCA_FQ_CODEL_ECN:
        out->ecn = number_in(a) != 0;
        break;
    }
}

static void read_netem(const struct rtattr *a, struct ps_qdisc *out)
{
    switch (a->rta_type) {
    case TCA_NETEM_LATENCY64:
        out->delay_ns = number64_in(a);
        break;
    case TCA_NETEM_JITTER64:
        out->jitter_ns = number64_in(a);
        break;
    case TCA_NETEM_REORDER: /* the probability is the first of both structures */
        out->reorder = number_in(a);
        break;
    case TCA_NETEM_CORRUPT:
        out->corrupt = number_in(a);
        break;
    case TCA_NETEM_RATE:
        if (out->rate == 0)
            out->rate = number_in(a);
        break;
    case TCA_NETEM_RATE64:
        out->rate = number64_in(a);
        break;
    case TCA_NETEM_ECN:
        out->ecn = number_in(a) != 0;
        break;
    }
}

static void read_tbf(const struct rtattr *a, struct ps_qdisc *out)
{
    struct tc_tbf_qopt options;
    switch (a->rta_type) {
    case TCA_TBF_PARMS:
        if (RTA_PAYLOAD(a) < sizeof options)
            break;
        memcpy(&options, RTA_DATA(a), sizeof options);
        out->limit = options.limit;
        out->rate = out->rate != 0 ? out->rate : options.rate.rate;
        out->burst_bytes = options.buffer; /* as a time, until the rate is known */
        break;
    case TCA_TBF_RATE64:
        out->rate = number64_in(a);
        break;
    }
}

static void read_options(const struct rtattr *all, struct ps_qdisc *out)
{
    static void (*const reads[KINDS])(const struct rtattr *,
                                      struct ps_qdisc *) = {[PS_QDISC_FQ] = read_fq,
                                                            [PS_QDISC_FQ_CODEL] = read_fq_codel,
                                                            [PS_QDISC_NETEM] = read_netem,
                                                            [PS_QDISC_TBF] = read_tbf};
    const char *data = RTA_DATA(all);
    int left = (int)RTA_PAYLOAD(all);
    if (out->kind == PS_QDISC_NETEM) {
        struct tc_netem_qopt options;
        if (left < (int)sizeof options)
            return;
        memcpy(&options, data, sizeof options);
        out->limit = options.limit;
        out->loss = options.loss;
        out->duplicate = options.duplicate;
        out->gap = options.gap;
        data += NLMSG_ALIGN(sizeof options);
        left -= (int)NLMSG_ALIGN(sizeof options);
    }
    for (const struct rtattr *a = (const void *)data; RTA_OK(a, left); a = RTA_NEXT(a, left))
        reads[out->kind](a, out);
    if (out->kind == PS_QDISC_TBF)
        out->burst_bytes =
            (uint32_t)(((uint64_t)out->burst_bytes * NS_PER_TICK * out->rate + NS_PER_S / 2) /
                       NS_PER_S);
}

static void read_counts(const struct rtattr *a, struct ps_qdisc *out)
{
    struct tc_stats counts;
    if (RTA_PAYLOAD(a) < offsetof(struct tc_stats, backlog) + sizeof counts.backlog)
        return;
    memset(&counts, 0, sizeof counts);
    memcpy(&counts, RTA_DATA(a), RTA_PAYLOAD(a) < sizeof counts ? RTA_PAYLOAD(a) : sizeof counts);
    out->sent_bytes = counts.bytes;
    out->sent_packets = counts.packets;
    out->dropped = counts.drops;
    out->queued_packets = counts.qlen;
    out->queued_bytes = counts.backlog;
}

static bool describe_qdisc(ps_engine *self, const struct nlmsghdr *m, void *user)
{
    struct ps_qdisc *out = user;
    const struct tcmsg *head = NLMSG_DATA(m);
    const struct rtattr *options = NULL;
    int left = (int)NLMSG_PAYLOAD(m, sizeof *head);
    (void)self;
    for (const struct rtattr *a = (const void *)((const char *)head + NLMSG_ALIGN(sizeof *head));
         RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        if (a->rta_type == TCA_KIND)
            snprintf(out->name, sizeof out->name, "%s", (const char *)RTA_DATA(a));
        else if (a->rta_type == TCA_OPTIONS)
            options = a;
        else if (a->rta_type == TCA_STATS)
            read_counts(a, out);
    }
    if (head->tcm_handle == 0)
        return true; /* the kernel's default */
    out->kind = PS_QDISC_OTHER;
    for (size_t kind = 0; kind < KINDS; kind++)
        if (names[kind] != NULL && strcmp(names[kind], out->name) == 0)
            out->kind = (uint8_t)kind;
    if (out->kind != PS_QDISC_OTHER && options != NULL)
        read_options(options, out);
    return true;
}

int engine_qdisc_get(ps_engine *self, uint32_t index, struct ps_qdisc *out)
{
    struct request r;
    memset(out, 0, sizeof *out);
    int result = ask_for(self, begin_asking(&r, index), describe_qdisc, out);
    if (result != -EAGAIN)
        return result;
    snprintf(out->name, sizeof out->name, "noqueue");
    return 0;
}
