/*
 * How many ICMP errors are sent.
 */
#ifndef PYSTACK_LWIP_ICMP_LIMIT_H
#define PYSTACK_LWIP_ICMP_LIMIT_H

#include "lwip/ip_addr.h"

/* Whether an error may be sent now, besides those that were; it counts. */
bool icmp4_is_within_rate(const ip4_addr_t *to, u8_t type, u8_t code);
bool icmp6_is_within_rate(const ip6_addr_t *to, u8_t type);

#endif
