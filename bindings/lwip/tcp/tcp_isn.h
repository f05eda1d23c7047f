/*
 * Numbers of a connection that an outsider can't guess.
 */
#ifndef PYSTACK_LWIP_TCP_ISN_H
#define PYSTACK_LWIP_TCP_ISN_H

#include "lwip/ip_addr.h"

/* A hash of a connection's addresses and ports; another one to each purpose. */
uint64_t sequence_hash(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                       u16_t remote_port, uint64_t purpose);

#endif
