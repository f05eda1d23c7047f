/*
 * Raw sockets, as ICMP errors reach them.
 */
#ifndef PYSTACK_LWIP_RAW_H
#define PYSTACK_LWIP_RAW_H

#include "ip/icmp_error.h"

/* An ICMP error about a packet that a raw socket may have sent. */
void raw_icmp_error(const struct icmp_report *report);
/* Whether a raw socket may have sent a packet of this protocol. */
bool raw_may_have_sent(uint8_t protocol);

#endif
