/*
 * DHCP, AutoIP, SLAAC and mDNS, as the rooms above see them.
 */
#ifndef PYSTACK_LWIP_SERVICES_H
#define PYSTACK_LWIP_SERVICES_H

#include "engine.h"
#include "lwip/netif.h"

#define SERVICES_INTERVAL_MS 1000

/* Which service gave a netif its IPv4 address. */
enum ps_address_origin service_origin(const struct netif *netif);
void services_init(void);
/* After the sockets and interfaces: ends lookups, gives back what DNS and mDNS hold. */
void services_close(void);
void services_interface_removed(struct netif *netif);
/* Looks after the services, once a second; and when there is something to do, see timeouts.h. */
void services_tick(void);
uint64_t services_work_ms(uint64_t next_ms);

#endif
