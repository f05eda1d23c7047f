/*
 * Name resolution.
 */
#ifndef PYSTACK_LWIP_RESOLVER_H
#define PYSTACK_LWIP_RESOLVER_H

#include "lwip/ip_addr.h"

void resolver_close(void);
/* An ICMP error says that what was sent from this port does not reach this name server. */
void resolver_unreachable(uint16_t local_port, const ip_addr_t *server);

#endif
