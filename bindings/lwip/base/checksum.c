/*
 * The Internet checksum (RFC 1071), eight bytes a step.
 */
#include "lwip/def.h"

u16_t port_checksum(const void *data, int size)
{
    const uint8_t *bytes = data;
    uint64_t sum = 0;
    /* End-around carry: a carry out of bit 63 goes back in at bit 0. */
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        sum += word;
        sum += sum < word;
    }
    uint64_t tail = 0;
    if (size > 0) {
        memcpy(&tail, bytes, (size_t)size);
        sum += tail;
        sum += sum < tail;
    }
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 32) + (sum & 0xffffffff);
    sum = (sum >> 16) + (sum & 0xffff);
    sum = (sum >> 16) + (sum & 0xffff);
    return (u16_t)sum;
}
