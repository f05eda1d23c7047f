/*
 * The ICMP redirects that a host follows.
 */
#ifndef PYSTACK_LWIP_ICMP_REDIRECT_H
#define PYSTACK_LWIP_ICMP_REDIRECT_H

#include "lwip/netif.h"

void redirect_init(void);
/* A redirect has come in by a netif, its checksum right. */
void redirect_follow(struct netif *netif, const ip4_addr_t *from, const ip4_addr_t *destination,
                     const ip4_addr_t *gateway);

#endif
