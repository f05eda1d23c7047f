/*
 * DHCP, AutoIP, SLAAC and mDNS, as the rooms above see them.
 */
#ifndef PYSTACK_LWIP_SERVICES_H
#define PYSTACK_LWIP_SERVICES_H

#include "engine.h"
#include "lwip/netif.h"

/* Which service gave a netif its IPv4 address. */
enum ps_address_origin service_origin(const struct netif *netif);
void services_init(void);
/* After the sockets and interfaces: ends lookups, gives back what DNS and mDNS hold. */
void services_close(void);
void services_interface_removed(struct netif *netif);

#endif
