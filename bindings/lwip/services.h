/*
 * What interface.c asks of the address services (services.c).
 */
#ifndef PYSTACK_LWIP_SERVICES_H
#define PYSTACK_LWIP_SERVICES_H

#include "port.h"

/* Where the netif's IPv4 address comes from. */
enum ps_address_origin service_origin(const struct netif *netif);
enum ps_address_state service_address_state(const struct netif *netif);
/* Probes for a static address and defends it (RFC 5227). */
int service_watch_conflicts(struct netif *netif, const ip4_addr_t *ip);

#endif
