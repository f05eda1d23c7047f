/*
 * A frame whose bytes have been changed gets the checksums, and the lengths, that fit them.
 */
#include "api/nic_api.h"
#include "nic/nic.h"
#include "nic/partial_checksum.h"

enum { ETHERNET_HEADER = 14, VLAN_TAG = 4, IPV4_HEADER = 20, IPV6_HEADER = 40 };
enum { HOP_BY_HOP = 0, ICMP = 1, TCP = 6, UDP = 17, ROUTING = 43, ICMP6 = 58, OPTIONS = 60 };

static uint16_t read16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void write16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void transport(uint8_t *segment, size_t size, uint8_t protocol, uint32_t addresses,
                      bool is_four, bool lengths)
{
    const size_t least = protocol == TCP ? 20 : protocol == UDP || protocol == ICMP6 ? 8 : 4;
    if (size < least)
        return;
    if (protocol == ICMP && is_four) {
        write16(segment + 2, 0);
        write16(segment + 2, (uint16_t)~checksum_fold(checksum_sum(segment, size)));
        return;
    }
    if (protocol == UDP) {
        if (lengths)
            write16(segment + 4, size);
        size_t said = read16(segment + 4);
        if (is_four && read16(segment + 6) == 0)
            return; /* it has none (RFC 768) */
        if (said >= 8 && said <= size)
            size = said;
    }
    if (protocol == TCP || protocol == UDP || (protocol == ICMP6 && !is_four))
        checksum_segment(segment, size, protocol, addresses);
}

static void refresh4(uint8_t *packet, size_t size, bool lengths)
{
    size_t header = (packet[0] & 15u) * 4;
    if (header < IPV4_HEADER || header > size)
        return;
    if (lengths)
        write16(packet + 2, size);
    size_t total = read16(packet + 2);
    write16(packet + 10, 0);
    write16(packet + 10, (uint16_t)~checksum_fold(checksum_sum(packet, header)));
    bool is_fragment = (read16(packet + 6) & 0x3fff) != 0;
    if (!is_fragment && total >= header && total <= size)
        transport(packet + header, total - header, packet[9], checksum_sum(packet + 12, 8), true,
                  lengths);
}

static void refresh6(uint8_t *packet, size_t size, bool lengths)
{
    if (lengths)
        write16(packet + 4, size - IPV6_HEADER);
    size_t end = IPV6_HEADER + (size_t)read16(packet + 4), at = IPV6_HEADER;
    uint8_t next = packet[6];
    if (end > size)
        return;
    while ((next == HOP_BY_HOP || next == ROUTING || next == OPTIONS) && at + 8 <= end) {
        if (next == ROUTING && packet[at + 3] != 0)
            return; /* the checksum covers an address that is not in its place yet */
        next = packet[at];
        at += ((size_t)packet[at + 1] + 1) * 8;
    }
    if (at <= end)
        transport(packet + at, end - at, next, checksum_sum(packet + 8, 32), false, lengths);
}

void ps_frame_refresh(uint8_t *frame, size_t size, uint8_t layer, bool lengths)
{
    size_t at = 0;
    if (layer == PS_LAYER_ETHERNET) {
        at = ETHERNET_HEADER;
        while (at + VLAN_TAG <= size &&
               (read16(frame + at - 2) == 0x8100 || read16(frame + at - 2) == 0x88a8))
            at += VLAN_TAG;
        if (at > size || (read16(frame + at - 2) != 0x0800 && read16(frame + at - 2) != 0x86dd))
            return;
    }
    if (size < at + IPV4_HEADER)
        return;
    uint8_t *packet = frame + at;
    if (packet[0] >> 4 == 4)
        refresh4(packet, size - at, lengths);
    else if (packet[0] >> 4 == 6 && size - at >= IPV6_HEADER)
        refresh6(packet, size - at, lengths);
}
