/*
 * To whom a frame goes where several Stacks have one address: see queues.c.
 *
 * The frame's sender may be anybody: every length in it is checked before it is used.
 */
#include "nic/queues.h"

#include <string.h>

enum { ETHERNET_HEADER = 14, ARP_PACKET = 28, IP4_HEADER = 20, IP6_HEADER = 40 };
enum { TYPE_IP4 = 0x0800, TYPE_ARP = 0x0806, TYPE_IP6 = 0x86dd };
enum { HOP_BY_HOP = 0, ICMP = 1, IGMP = 2, TCP = 6, UDP = 17, ROUTING = 43, FRAGMENT = 44 };
enum { ICMP6 = 58, DESTINATION_OPTIONS = 60, UDPLITE = 136 };
enum { SYN = 0x02, RST = 0x04, ACK = 0x10 };
/* Of ICMP: what asks, and is answered once. All else answers, or tells of something. */
enum { ECHO_REQUEST = 8, TIMESTAMP_REQUEST = 13, INFORMATION_REQUEST = 15, MASK_REQUEST = 17 };
enum { ECHO_REQUEST6 = 128, ROUTER_SOLICITATION = 133, NEIGHBOUR_SOLICITATION = 135 };
enum { NODE_INFORMATION_QUERY = 139 };

/* Extension headers of IPv6 that are looked through. */
#define MOST_HEADERS 8

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static enum destiny of_arp(const uint8_t *packet, size_t size)
{
    if (size < ARP_PACKET)
        return TO_THIS;
    bool is_reply = get16(packet + 6) == 2;
    /* One that tells of its sender asks nothing (RFC 5227 3). */
    return is_reply || memcmp(packet + 14, packet + 24, 4) == 0 ? TO_ALL : TO_THIS;
}

static enum destiny of_icmp(uint8_t type)
{
    return type == ECHO_REQUEST || type == TIMESTAMP_REQUEST || type == INFORMATION_REQUEST ||
                   type == MASK_REQUEST
               ? TO_THIS
               : TO_ALL;
}

static enum destiny of_icmp6(uint8_t type)
{
    return type == ECHO_REQUEST6 || type == ROUTER_SOLICITATION || type == NEIGHBOUR_SOLICITATION ||
                   type == NODE_INFORMATION_QUERY
               ? TO_THIS
               : TO_ALL;
}

/* What is in an IP packet or in its first fragment: `rest` bytes of `data`. */
static enum destiny of_payload(uint8_t protocol, const uint8_t *data, size_t rest, bool is_group,
                               bool is_fragment, struct ps_flow *flow)
{
    if (protocol == ICMP || protocol == ICMP6) {
        if (rest < 1)
            return TO_THIS;
        return protocol == ICMP ? of_icmp(data[0]) : of_icmp6(data[0]);
    }
    if (is_group || protocol == IGMP)
        return TO_ALL;
    if ((protocol != TCP && protocol != UDP && protocol != UDPLITE) || rest < 8)
        return TO_THIS;
    flow->protocol = protocol;
    flow->remote.port = get16(data);
    flow->local.port = get16(data + 2);
    flow->opens = protocol == TCP && rest >= 14 && (data[13] & (SYN | RST | ACK)) == SYN;
    return is_fragment ? TO_ALL_WHO_WANT : TO_ONE_WHO_WANTS;
}

static enum destiny of_ip4(const uint8_t *packet, size_t size, bool is_group, struct ps_flow *flow)
{
    if (size < IP4_HEADER || packet[0] >> 4 != 4)
        return TO_THIS;
    size_t header = (packet[0] & 15u) * 4;
    if (header < IP4_HEADER || header > size)
        return TO_THIS;
    uint16_t place = get16(packet + 6) & 0x3fff; /* with "more fragments" */
    is_group = is_group || packet[16] >> 4 == 14 || memcmp(packet + 16, "\xff\xff\xff\xff", 4) == 0;
    if ((place & 0x1fff) != 0)
        return TO_ALL;
    flow->remote.family = flow->local.family = PS_INET;
    memcpy(flow->remote.bytes, packet + 12, 4);
    memcpy(flow->local.bytes, packet + 16, 4);
    return of_payload(packet[9], packet + header, size - header, is_group, place != 0, flow);
}

static enum destiny of_ip6(const uint8_t *packet, size_t size, struct ps_flow *flow)
{
    if (size < IP6_HEADER || packet[0] >> 4 != 6)
        return TO_THIS;
    uint8_t protocol = packet[6];
    size_t at = IP6_HEADER;
    bool is_fragment = false;
    flow->remote.family = flow->local.family = PS_INET6;
    memcpy(flow->remote.bytes, packet + 8, 16);
    memcpy(flow->local.bytes, packet + 24, 16);
    for (int i = 0; i < MOST_HEADERS; i++) {
        bool skipped =
            protocol == HOP_BY_HOP || protocol == ROUTING || protocol == DESTINATION_OPTIONS;
        if (!skipped && protocol != FRAGMENT)
            return of_payload(protocol, packet + at, size - at, packet[24] == 0xff, is_fragment,
                              flow);
        if (at + 8 > size)
            return TO_THIS;
        if (protocol == FRAGMENT) {
            if (get16(packet + at + 2) >> 3 != 0)
                return TO_ALL;
            is_fragment = is_fragment || get16(packet + at + 2) & 1;
        }
        size_t length = protocol == FRAGMENT ? 8 : packet[at + 1] * 8u + 8;
        protocol = packet[at];
        at += length;
        if (at > size)
            return TO_THIS;
    }
    return TO_THIS;
}

enum destiny flow_destiny(const uint8_t *frame, size_t size, enum ps_layer layer,
                          struct ps_flow *flow)
{
    memset(flow, 0, sizeof *flow);
    if (layer == PS_LAYER_IP)
        return size == 0            ? TO_THIS
               : frame[0] >> 4 == 6 ? of_ip6(frame, size, flow)
                                    : of_ip4(frame, size, false, flow);
    if (size < ETHERNET_HEADER)
        return TO_THIS;
    const uint8_t *packet = frame + ETHERNET_HEADER;
    switch (get16(frame + 12)) {
    case TYPE_ARP:
        return of_arp(packet, size - ETHERNET_HEADER);
    case TYPE_IP4:
        return of_ip4(packet, size - ETHERNET_HEADER, frame[0] & 1, flow);
    case TYPE_IP6:
        return of_ip6(packet, size - ETHERNET_HEADER, flow);
    default:
        return TO_THIS;
    }
}
