/*
 * ECN: the two low bits of IPv4's former type of service and of IPv6's traffic class.
 */
#include "world/ecn.h"

#include "nic/partial_checksum.h"

enum { NOT_CAPABLE = 0, CONGESTION_EXPERIENCED = 3 };
enum { ETHERNET_HEADER = 14, IP4_HEADER = 20, IP6_HEADER = 40 };

static bool mark4(uint8_t *packet)
{
    uint8_t field = packet[1] & 3;
    if (field == NOT_CAPABLE || field == CONGESTION_EXPERIENCED)
        return field != NOT_CAPABLE;
    const uint8_t before[2] = {packet[0], packet[1]};
    packet[1] |= CONGESTION_EXPERIENCED;
    checksum_update(packet + 10, before, packet, sizeof before);
    return true;
}

static bool mark6(uint8_t *packet)
{
    uint8_t field = packet[1] >> 4 & 3;
    if (field == NOT_CAPABLE)
        return false;
    packet[1] |= CONGESTION_EXPERIENCED << 4;
    return true;
}

bool ecn_mark(uint8_t *frame, size_t size, enum ps_layer layer)
{
    size_t header = layer == PS_LAYER_ETHERNET ? ETHERNET_HEADER : 0;
    if (size < header + IP4_HEADER)
        return false;
    uint8_t *packet = frame + header;
    unsigned type = layer == PS_LAYER_ETHERNET ? (unsigned)(frame[12] << 8 | frame[13]) : 0;
    if (packet[0] >> 4 == 4 && (type == 0 || type == 0x0800))
        return mark4(packet);
    if (packet[0] >> 4 == 6 && (type == 0 || type == 0x86dd) && size >= header + IP6_HEADER)
        return mark6(packet);
    return false;
}
