/*
 * Hashes that an outsider can't foresee. The key is the Stack's own.
 */
#ifndef PYSTACK_LWIP_KEYED_HASH_H
#define PYSTACK_LWIP_KEYED_HASH_H

#include "lwip/ip_addr.h"

/* 64 bits that can't be guessed, whatever is hashed (SipHash-2-4). */
uint64_t keyed_hash(const uint64_t *words, size_t count);
/* The hash by which a connection is found. */
uint32_t address_hash(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port);

#endif
