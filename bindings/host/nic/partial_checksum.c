/*
 * The checksum that a kernel leaves for the NIC to finish, finished here: a packet socket sees
 * frames before any NIC would.
 */
#include <string.h>

#include "nic/partial_checksum.h"
#include "nic/nic.h"

enum { ETHERNET_HEADER = 14, TCP = 6, UDP = 17, ICMP6 = 58 };

uint32_t checksum_sum(const uint8_t *data, size_t size)
{
    uint32_t sum = 0;
    for (size_t i = 0; i + 1 < size; i += 2)
        sum += (uint32_t)data[i] << 8 | data[i + 1];
    if (size % 2 != 0)
        sum += (uint32_t)data[size - 1] << 8;
    return sum;
}

uint16_t checksum_fold(uint64_t sum)
{
    while (sum >> 16 != 0)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

void checksum_update(uint8_t *checksum, const uint8_t *before, const uint8_t *after, size_t size)
{
    uint32_t sum = (uint16_t) ~(checksum[0] << 8 | checksum[1]);
    sum += (uint16_t)~checksum_fold(checksum_sum(before, size));
    sum += checksum_fold(checksum_sum(after, size));
    uint16_t check = (uint16_t)~checksum_fold(sum);
    checksum[0] = (uint8_t)(check >> 8);
    checksum[1] = (uint8_t)check;
}

void checksum_segment(uint8_t *segment, size_t size, uint8_t protocol, uint32_t addresses)
{
    size_t offset = protocol == TCP ? 16 : protocol == UDP ? 6 : protocol == ICMP6 ? 2 : size;
    if (offset + 2 > size)
        return;
    segment[offset] = segment[offset + 1] = 0;
    uint64_t sum = (uint64_t)checksum_sum(segment, size) + addresses + protocol + size;
    uint16_t check = (uint16_t)~checksum_fold(sum);
    if (check == 0 && protocol == UDP)
        check = 0xffff; /* 0 would say that there is none (RFC 768) */
    segment[offset] = (uint8_t)(check >> 8);
    segment[offset + 1] = (uint8_t)check;
}

void partial_checksum_finish(uint8_t *frame, size_t size)
{
    if (size < ETHERNET_HEADER + 20)
        return;
    uint8_t *packet = frame + ETHERNET_HEADER;
    size -= ETHERNET_HEADER;
    if (frame[12] == 0x08 && frame[13] == 0x00) {
        size_t header = (packet[0] & 15u) * 4;
        size_t total = (size_t)packet[2] << 8 | packet[3];
        if (total <= size && header >= 20 && header < total)
            checksum_segment(packet + header, total - header, packet[9],
                             checksum_sum(packet + 12, 8));
    } else if (frame[12] == 0x86 && frame[13] == 0xdd && size >= 40) {
        size_t payload = (size_t)packet[4] << 8 | packet[5];
        if (payload <= size - 40)
            checksum_segment(packet + 40, payload, packet[6], checksum_sum(packet + 8, 32));
    }
}
