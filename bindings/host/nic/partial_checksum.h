/*
 * Checksums (RFC 1071), and frames in which one is left to finish.
 */
#ifndef PYSTACK_HOST_PARTIAL_CHECKSUM_H
#define PYSTACK_HOST_PARTIAL_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* The sum of 16-bit words (RFC 1071), not folded; at most 64 KiB. */
uint32_t checksum_sum(const uint8_t *data, size_t size);
uint16_t checksum_fold(uint64_t sum);
/* `size` bytes, an even number, that a checksum covers become others (RFC 1624). */
void checksum_update(uint8_t *checksum, const uint8_t *before, const uint8_t *after, size_t size);
/* Writes the checksum over a segment of TCP, UDP or ICMPv6 and its pseudo header, of which
 * `addresses` is the sum. */
void checksum_segment(uint8_t *segment, size_t size, uint8_t protocol, uint32_t addresses);
/* Finishes the TCP, UDP or ICMPv6 checksum of an Ethernet frame. */
void partial_checksum_finish(uint8_t *frame, size_t size);

#endif
