// SPDX-License-Identifier: GPL-2.0
/*
 * Counters: all of Linux's, named as in nstat(8) and ip(8), and those common to all engines where
 * Linux counts the same.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/frame.h"
#include "engine/interface.h"
#include "engine/netlink.h"
#include "engine/proc.h"

#define FILE_SIZE 32768
#define LEAST_ROOM 512
#define MOST_PARTS 6
#define GROUPS "in_group_packets"
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A common name, and the counters of Linux's that add up to it. */
struct common {
    const char *name;
    const char *parts[MOST_PARTS];
};

static const struct common common[] = {
    {"ip.in_receives", {"IpInReceives"}},
    {"ip.in_header_errors", {"IpInHdrErrors"}},
    {"ip.in_address_errors", {"IpInAddrErrors"}},
    {"ip.in_unknown_protocols", {"IpInUnknownProtos"}},
    {"ip.in_discards", {"IpInDiscards"}},
    {"ip.in_delivers", {"IpInDelivers"}},
    {"ip.out_requests", {"IpOutRequests"}},
    {"ip.out_discards", {"IpOutDiscards"}},
    {"ip.out_no_routes", {"IpOutNoRoutes"}},
    {"ip.forwarded", {"IpForwDatagrams"}},
    {"ip.reassembly_required", {"IpReasmReqds"}},
    {"ip.reassembled", {"IpReasmOKs"}},
    {"ip.reassembly_failures", {"IpReasmFails"}},
    {"ip.fragmented", {"IpFragOKs"}},
    {"ip.fragmentation_failures", {"IpFragFails"}},
    {"ip.fragments_created", {"IpFragCreates"}},
    {"ip6.in_packets", {"Ip6InReceives"}},
    {"ip6.out_packets", {"Ip6OutTransmits"}},
    {"ip6.in_discards", {"Ip6InDiscards"}},
    {"ip6.in_length_errors", {"Ip6InTruncatedPkts"}},
    {"ip6.in_protocol_errors", {"Ip6InUnknownProtos"}},
    {"ip6.forwarded", {"Ip6OutForwDatagrams"}},
    {"ip6_fragment.in_packets", {"Ip6ReasmReqds"}},
    {"ip6_fragment.out_packets", {"Ip6FragCreates"}},
    {"icmp.in_messages", {"IcmpInMsgs"}},
    {"icmp.in_errors", {"IcmpInErrors"}},
    {"icmp.in_destination_unreachable", {"IcmpInDestUnreachs"}},
    {"icmp.in_time_exceeded", {"IcmpInTimeExcds"}},
    {"icmp.in_parameter_problems", {"IcmpInParmProbs"}},
    {"icmp.in_redirects", {"IcmpInRedirects"}},
    {"icmp.in_echos", {"IcmpInEchos"}},
    {"icmp.in_echo_replies", {"IcmpInEchoReps"}},
    {"icmp.out_messages", {"IcmpOutMsgs"}},
    {"icmp.out_destination_unreachable", {"IcmpOutDestUnreachs"}},
    {"icmp.out_time_exceeded", {"IcmpOutTimeExcds"}},
    {"icmp.out_echo_replies", {"IcmpOutEchoReps"}},
    {"icmp.out_rate_limited", {"IcmpOutRateLimitGlobal", "IcmpOutRateLimitHost"}},
    {"icmp6.in_packets", {"Icmp6InMsgs"}},
    {"icmp6.out_packets", {"Icmp6OutMsgs"}},
    {"icmp6.in_errors", {"Icmp6InErrors"}},
    {"icmp6.in_checksum_errors", {"Icmp6InCsumErrors"}},
    {"icmp6.in_destination_unreachable", {"Icmp6InDestUnreachs"}},
    {"icmp6.in_packet_too_big", {"Icmp6InPktTooBigs"}},
    {"icmp6.in_time_exceeded", {"Icmp6InTimeExcds"}},
    {"icmp6.in_echos", {"Icmp6InEchos"}},
    {"icmp6.in_echo_replies", {"Icmp6InEchoReplies"}},
    {"icmp6.in_router_advertisements", {"Icmp6InRouterAdvertisements"}},
    {"icmp6.in_neighbour_solicitations", {"Icmp6InNeighborSolicits"}},
    {"icmp6.in_neighbour_advertisements", {"Icmp6InNeighborAdvertisements"}},
    {"icmp6.out_neighbour_solicitations", {"Icmp6OutNeighborSolicits"}},
    {"icmp6.out_neighbour_advertisements", {"Icmp6OutNeighborAdvertisements"}},
    {"icmp6.out_echo_replies", {"Icmp6OutEchoReplies"}},
    {"udp.in_datagrams", {"UdpInDatagrams", "Udp6InDatagrams"}},
    {"udp.no_ports", {"UdpNoPorts", "Udp6NoPorts"}},
    {"udp.in_errors", {"UdpInErrors", "Udp6InErrors"}},
    {"udp.in_checksum_errors", {"UdpInCsumErrors", "Udp6InCsumErrors"}},
    {"udp.in_discards", {"UdpRcvbufErrors", "Udp6RcvbufErrors"}},
    {"udp.out_datagrams", {"UdpOutDatagrams", "Udp6OutDatagrams"}},
    {"tcp.active_opens", {"TcpActiveOpens"}},
    {"tcp.passive_opens", {"TcpPassiveOpens"}},
    {"tcp.attempt_failures", {"TcpAttemptFails"}},
    {"tcp.established_resets", {"TcpEstabResets"}},
    {"tcp.in_segments", {"TcpInSegs"}},
    {"tcp.in_errors", {"TcpInErrs"}},
    {"tcp.in_checksum_errors", {"TcpInCsumErrors"}},
    {"tcp.out_segments", {"TcpOutSegs"}},
    {"tcp.out_resets", {"TcpOutRsts"}},
    {"tcp.retransmitted_segments", {"TcpRetransSegs"}},
    {"tcp.fast_retransmissions", {"TcpExtTCPFastRetrans"}},
    {"tcp.timeouts", {"TcpExtTCPTimeouts"}},
    {"tcp.fast_recoveries", {"TcpExtTCPRenoRecovery"}},
    {"tcp.sack_recoveries", {"TcpExtTCPSackRecovery"}},
    {"tcp.tail_loss_probes_that_helped", {"TcpExtTCPLossProbeRecovery"}},
    {"tcp.syncookies_sent", {"TcpExtSyncookiesSent"}},
    {"tcp.syncookies_received", {"TcpExtSyncookiesRecv"}},
    {"tcp.syncookies_failed", {"TcpExtSyncookiesFailed"}},
    {"tcp.listen_overflows", {"TcpExtListenOverflows"}},
    {"tcp.listen_drops", {"TcpExtListenDrops"}},
    {"tcp.answers_skipped",
     {"TcpExtTCPACKSkippedSynRecv", "TcpExtTCPACKSkippedPAWS", "TcpExtTCPACKSkippedSeq",
      "TcpExtTCPACKSkippedFinWait2", "TcpExtTCPACKSkippedTimeWait",
      "TcpExtTCPACKSkippedChallenge"}},
};

static const struct {
    const char *name;
    size_t offset;
} of_links[] = {
#define LINK(name, field) \
    { \
        name, offsetof(struct rtnl_link_stats64, field) \
    }
    LINK("in_octets", rx_bytes),
    LINK("in_unicast_packets", rx_packets), /* less multicast, which Linux doesn't count */
    LINK("in_discards", rx_dropped),
    LINK("in_errors", rx_errors),
    LINK("out_octets", tx_bytes),
    LINK("out_unicast_packets", tx_packets), /* multicast included: Linux counts both together */
    LINK("out_discards", tx_dropped),
    LINK("rx_packets", rx_packets),
    LINK("tx_packets", tx_packets),
    LINK("rx_bytes", rx_bytes),
    LINK("tx_bytes", tx_bytes),
    LINK("rx_errors", rx_errors),
    LINK("tx_errors", tx_errors),
    LINK("rx_dropped", rx_dropped),
    LINK("tx_dropped", tx_dropped),
    LINK("multicast", multicast),
    LINK("collisions", collisions),
    LINK("rx_length_errors", rx_length_errors),
    LINK("rx_over_errors", rx_over_errors),
    LINK("rx_crc_errors", rx_crc_errors),
    LINK("rx_frame_errors", rx_frame_errors),
    LINK("rx_fifo_errors", rx_fifo_errors),
    LINK("rx_missed_errors", rx_missed_errors),
    LINK("tx_aborted_errors", tx_aborted_errors),
    LINK("tx_carrier_errors", tx_carrier_errors),
    LINK("tx_fifo_errors", tx_fifo_errors),
    LINK("tx_heartbeat_errors", tx_heartbeat_errors),
    LINK("tx_window_errors", tx_window_errors),
    LINK("rx_compressed", rx_compressed),
    LINK("tx_compressed", tx_compressed),
    LINK("rx_nohandler", rx_nohandler),
#undef LINK
};

static void forget(ps_engine *self)
{
    if (self->counters.rows != NULL)
        self->host.memory_free(self->host.user, self->counters.rows);
    self->counters.rows = NULL;
    self->counters.count = self->counters.room = 0;
}

static int add(ps_engine *self, const char *family, const char *name, size_t length, uint64_t value)
{
    struct counters *all = &self->counters;
    if (all->count == all->room) {
        void *larger;
        size_t room = all->room == 0 ? LEAST_ROOM : all->room * 2;
        int result = self->host.memory_allocate(self->host.user, room * sizeof *all->rows, &larger);
        if (result < 0)
            return result;
        if (all->rows != NULL) {
            memcpy(larger, all->rows, all->count * sizeof *all->rows);
            self->host.memory_free(self->host.user, all->rows);
        }
        all->rows = larger;
        all->room = room;
    }
    struct ps_counter *row = &all->rows[all->count++];
    memset(row, 0, sizeof *row);
    snprintf(row->name, sizeof row->name, "%s%.*s", family, (int)length, name);
    row->value = value;
    return 0;
}

/* Lines of a name and a value: "Ip6InReceives    12". */
static int add_lines(ps_engine *self, const char *text)
{
    while (*text != 0) {
        size_t name = strcspn(text, " \t\n");
        const char *value = text + name + strspn(text + name, " \t");
        /* ifIndex is an interface's, and no counter. */
        if (*value >= '0' && *value <= '9' && strncmp(text, "ifIndex", name) != 0) {
            int result = add(self, "", text, name, strtoull(value, NULL, 10));
            if (result < 0)
                return result;
        }
        text = value + strcspn(value, "\n");
        text += *text == '\n';
    }
    return 0;
}

/* Pairs of lines, names above and values below: "Ip: Forwarding ...", "Ip: 1 ...". */
static int add_pairs(ps_engine *self, const char *names)
{
    char family[PS_LABEL_SIZE];
    for (;;) {
        size_t length = strcspn(names, ":\n");
        const char *values = strchr(names, '\n');
        if (names[length] != ':' || values == NULL || length >= sizeof family)
            return 0;
        memcpy(family, names, length);
        family[length] = 0;
        names += length + 1;
        values += 1 + length + 1;
        while (*names == ' ' && *values == ' ') {
            size_t name = strcspn(++names, " \n");
            values++;
            /* TcpMaxConn is -1, and no counter. */
            if (*values != '-') {
                int result = add(self, family, names, name, strtoull(values, NULL, 10));
                if (result < 0)
                    return result;
            }
            names += name;
            values += strcspn(values, " \n");
        }
        names = values + (*values == '\n');
    }
}

static int add_file(ps_engine *self, const char *path, int (*add_text)(ps_engine *, const char *),
                    char *text)
{
    int result = proc_read(path, text, FILE_SIZE);
    if (result == -ENOENT) /* a protocol, or an interface, that isn't there */
        return 0;
    return result < 0 ? result : add_text(self, text);
}

static int add_own(ps_engine *self, char *text)
{
    int result = add_file(self, "/proc/net/snmp", add_pairs, text);
    if (result == 0)
        result = add_file(self, "/proc/net/netstat", add_pairs, text);
    if (result == 0)
        result = add_file(self, "/proc/net/snmp6", add_lines, text);
    return result < 0 ? result : add_file(self, "/proc/net/sctp/snmp", add_lines, text);
}

static int add_common(ps_engine *self, size_t own)
{
    for (size_t i = 0; i < COUNT(common); i++) {
        uint64_t sum = 0;
        bool counted = false;
        for (size_t part = 0; part < MOST_PARTS && common[i].parts[part] != NULL; part++)
            for (size_t row = 0; row < own; row++)
                if (strcmp(self->counters.rows[row].name, common[i].parts[part]) == 0) {
                    sum += self->counters.rows[row].value;
                    counted = true;
                    break;
                }
        int result = counted ? add(self, "", common[i].name, strlen(common[i].name), sum) : 0;
        if (result < 0)
            return result;
    }
    return 0;
}

static int read_stack(ps_engine *self)
{
    void *text;
    int result = self->host.memory_allocate(self->host.user, FILE_SIZE, &text);
    if (result < 0)
        return result;
    result = add_own(self, text);
    self->host.memory_free(self->host.user, text);
    return result < 0 ? result : add_common(self, self->counters.count);
}

static bool describe_link(ps_engine *self, const struct nlmsghdr *m, void *out)
{
    const struct ifinfomsg *i = NLMSG_DATA(m);
    int left = (int)IFLA_PAYLOAD(m);
    (void)self;
    for (const struct rtattr *a = IFLA_RTA(i); RTA_OK(a, left); a = RTA_NEXT(a, left))
        if (a->rta_type == IFLA_STATS64) {
            /* As much as both sides know; unaligned. */
            size_t known = RTA_PAYLOAD(a) < sizeof(struct rtnl_link_stats64)
                               ? RTA_PAYLOAD(a)
                               : sizeof(struct rtnl_link_stats64);
            memset(out, 0, sizeof(struct rtnl_link_stats64));
            memcpy(out, RTA_DATA(a), known);
            return true;
        }
    return false;
}

static int read_link(ps_engine *self, uint32_t index)
{
    struct request r;
    struct ifinfomsg i = {.ifi_index = (int)index};
    struct rtnl_link_stats64 counted;
    struct ps_interface one;
    char path[64], text[4096];
    int result = interface_get(self, index, &one);
    if (result == 0)
        result = ask_for(self, begin(&r, RTM_GETLINK, 0, &i, sizeof i), describe_link, &counted);
    for (size_t row = 0; result == 0 && row < COUNT(of_links); row++) {
        uint64_t value;
        memcpy(&value, (const char *)&counted + of_links[row].offset, sizeof value);
        if (strcmp(of_links[row].name, "in_unicast_packets") == 0)
            value -= frame_groups(self, index);
        result = add(self, "", of_links[row].name, strlen(of_links[row].name), value);
    }
    if (result == 0)
        result = add(self, "", GROUPS, sizeof GROUPS - 1, frame_groups(self, index));
    if (result < 0)
        return result;
    snprintf(path, sizeof path, "/proc/net/dev_snmp6/%s", one.name);
    result = proc_read(path, text, sizeof text);
    /* There is no such file while the MTU is too small for IPv6. */
    return result == -ENOENT ? 0 : result < 0 ? result : add_lines(self, text);
}

/* A listing's first entry has all of them read: they are a snapshot. */
int engine_counter_at(ps_engine *self, uint32_t index, size_t position, struct ps_counter *out)
{
    struct counters *all = &self->counters;
    if (position == 0) {
        forget(self);
        int result = index == 0 ? read_stack(self) : read_link(self, index);
        if (result < 0) {
            forget(self);
            return result;
        }
    }
    if (position >= all->count) {
        forget(self);
        return 0;
    }
    *out = all->rows[position];
    return 1;
}
