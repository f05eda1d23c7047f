/*
 * Counters, by names in the manner of the MIBs: "tcp.out_segments", "ip.in_receives".
 *
 * The protocols' counters are lwIP's own and have 32 bits: they wrap. Those of struct port_counts
 * and of an interface (link/interface.h) have 64.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>

#include "base/counts.h"
#include "base/entries.h"
#include "link/interface.h"
#include "lwip/stats.h"

struct name {
    const char *name;
    size_t offset;
};

#define MIB2(name, field) \
    { \
        name, offsetof(struct stats_, mib2.field) \
    }
#define PROTOCOL(name, protocol) \
    {name ".in_packets", offsetof(struct stats_, protocol.recv)}, \
        {name ".out_packets", offsetof(struct stats_, protocol.xmit)}, \
        {name ".in_discards", offsetof(struct stats_, protocol.drop)}, \
        {name ".in_checksum_errors", offsetof(struct stats_, protocol.chkerr)}, \
        {name ".in_length_errors", offsetof(struct stats_, protocol.lenerr)}, \
        {name ".in_protocol_errors", offsetof(struct stats_, protocol.proterr)}, \
    { \
        name ".memory_errors", offsetof(struct stats_, protocol.memerr) \
    }
#define GROUP_PROTOCOL(name, protocol) \
    {name ".in_packets", offsetof(struct stats_, protocol.recv)}, \
        {name ".out_packets", offsetof(struct stats_, protocol.xmit)}, \
        {name ".in_general_queries", offsetof(struct stats_, protocol.rx_general)}, \
        {name ".in_group_queries", offsetof(struct stats_, protocol.rx_group)}, \
        {name ".in_reports", offsetof(struct stats_, protocol.rx_report)}, \
        {name ".out_joins", offsetof(struct stats_, protocol.tx_join)}, \
        {name ".out_leaves", offsetof(struct stats_, protocol.tx_leave)}, \
        {name ".out_reports", offsetof(struct stats_, protocol.tx_report)}, \
    { \
        name ".in_checksum_errors", offsetof(struct stats_, protocol.chkerr) \
    }

static const struct name stack_counters[] = {
    MIB2("ip.in_receives", ipinreceives),
    MIB2("ip.in_header_errors", ipinhdrerrors),
    MIB2("ip.in_address_errors", ipinaddrerrors),
    MIB2("ip.in_unknown_protocols", ipinunknownprotos),
    MIB2("ip.in_discards", ipindiscards),
    MIB2("ip.in_delivers", ipindelivers),
    MIB2("ip.out_requests", ipoutrequests),
    MIB2("ip.out_discards", ipoutdiscards),
    MIB2("ip.out_no_routes", ipoutnoroutes),
    MIB2("ip.forwarded", ipforwdatagrams),
    MIB2("ip.reassembly_required", ipreasmreqds),
    MIB2("ip.reassembled", ipreasmoks),
    MIB2("ip.reassembly_failures", ipreasmfails),
    MIB2("ip.fragmented", ipfragoks),
    MIB2("ip.fragmentation_failures", ipfragfails),
    MIB2("ip.fragments_created", ipfragcreates),
    PROTOCOL("ip6", ip6),
    {"ip6.forwarded", offsetof(struct stats_, ip6.fw)},
    PROTOCOL("ip6_fragment", ip6_frag),
    MIB2("icmp.in_messages", icmpinmsgs),
    MIB2("icmp.in_errors", icmpinerrors),
    MIB2("icmp.in_destination_unreachable", icmpindestunreachs),
    MIB2("icmp.in_time_exceeded", icmpintimeexcds),
    MIB2("icmp.in_parameter_problems", icmpinparmprobs),
    MIB2("icmp.in_redirects", icmpinredirects),
    MIB2("icmp.in_echos", icmpinechos),
    MIB2("icmp.in_echo_replies", icmpinechoreps),
    MIB2("icmp.out_messages", icmpoutmsgs),
    MIB2("icmp.out_destination_unreachable", icmpoutdestunreachs),
    MIB2("icmp.out_time_exceeded", icmpouttimeexcds),
    MIB2("icmp.out_echo_replies", icmpoutechoreps),
    PROTOCOL("icmp6", icmp6),
    PROTOCOL("nd6", nd6),
    PROTOCOL("arp", etharp),
    GROUP_PROTOCOL("igmp", igmp),
    GROUP_PROTOCOL("mld6", mld6),
    MIB2("udp.in_datagrams", udpindatagrams),
    MIB2("udp.no_ports", udpnoports),
    MIB2("udp.in_errors", udpinerrors),
    MIB2("udp.out_datagrams", udpoutdatagrams),
    MIB2("tcp.active_opens", tcpactiveopens),
    MIB2("tcp.passive_opens", tcppassiveopens),
    MIB2("tcp.attempt_failures", tcpattemptfails),
    MIB2("tcp.established_resets", tcpestabresets),
    MIB2("tcp.in_segments", tcpinsegs),
    MIB2("tcp.in_errors", tcpinerrs),
    MIB2("tcp.out_segments", tcpoutsegs),
    MIB2("tcp.retransmitted_segments", tcpretranssegs),
    MIB2("tcp.out_resets", tcpoutrsts),
    {"tcp.in_checksum_errors", offsetof(struct stats_, tcp.chkerr)},
    {"tcp.in_discards", offsetof(struct stats_, tcp.drop)},
    {"tcp.memory_errors", offsetof(struct stats_, tcp.memerr)},
};

#define OWN(field, name) {name, offsetof(struct port_counts, field)},
static const struct name own_counters[] = {PORT_COUNTS(OWN)};

static const struct name interface_counters[] = {
    {"in_octets", offsetof(struct port_counters, in_octets)},
    {"in_unicast_packets", offsetof(struct port_counters, in_unicast_packets)},
    {"in_group_packets", offsetof(struct port_counters, in_group_packets)},
    {"in_discards", offsetof(struct port_counters, in_discards)},
    {"in_errors", offsetof(struct port_counters, in_errors)},
    {"out_octets", offsetof(struct port_counters, out_octets)},
    {"out_unicast_packets", offsetof(struct port_counters, out_unicast_packets)},
    {"out_group_packets", offsetof(struct port_counters, out_group_packets)},
    {"out_discards", offsetof(struct port_counters, out_discards)},
};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void loopback_counters(struct port_counters *out)
{
    const struct stats_mib2_netif_ctrs *from = &interface_loopback()->mib2_counters;
    *out = (struct port_counters){
        .in_octets = from->ifinoctets,
        .in_unicast_packets = from->ifinucastpkts,
        .in_group_packets = from->ifinnucastpkts,
        .in_discards = from->ifindiscards,
        .in_errors = from->ifinerrors,
        .out_octets = from->ifoutoctets,
        .out_unicast_packets = from->ifoutucastpkts,
        .out_group_packets = from->ifoutnucastpkts,
        .out_discards = from->ifoutdiscards,
    };
}

static int stack_counter_at(size_t position, struct ps_counter *out)
{
    if (position < COUNT(stack_counters)) {
        const struct name *name = &stack_counters[position];
        snprintf(out->name, sizeof out->name, "%s", name->name);
        out->value = *(const STAT_COUNTER *)((const char *)&lwip_stats + name->offset);
        return 1;
    }
    position -= COUNT(stack_counters);
    if (position >= COUNT(own_counters))
        return 0;
    const struct name *name = &own_counters[position];
    snprintf(out->name, sizeof out->name, "%s", name->name);
    out->value = *(const uint64_t *)((const char *)&port_counts + name->offset);
    return 1;
}

int engine_counter_at(ps_engine *engine, uint32_t index, size_t position, struct ps_counter *out)
{
    (void)engine;
    if (index == 0)
        return stack_counter_at(position, out);
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    if (position >= COUNT(interface_counters))
        return 0;
    struct port_counters of_loopback;
    const struct port_counters *counters = &of_loopback;
    if (interface_of(netif) != NULL)
        counters = &interface_of(netif)->counters;
    else
        loopback_counters(&of_loopback);
    const struct name *name = &interface_counters[position];
    snprintf(out->name, sizeof out->name, "%s", name->name);
    out->value = *(const uint64_t *)((const char *)counters + name->offset);
    return 1;
}
