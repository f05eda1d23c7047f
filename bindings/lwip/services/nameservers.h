/*
 * The list of name servers, as the services and the leases use it; see nameservers.c.
 */
#ifndef PYSTACK_LWIP_NAMESERVERS_H
#define PYSTACK_LWIP_NAMESERVERS_H

#include "engine.h"
#include "lwip/netif.h"

void nameservers_init(void);
void nameservers_close(void);
/* Drops what the netif's interface learnt from a DHCP server or from routers. */
void nameservers_forget(const struct netif *netif, enum ps_address_origin origin,
                        enum ps_family family);
void nameservers_interface_removed(const struct netif *netif);
/* A name server of the netif's lease; NULL: it has no more. */
const ip4_addr_t *nameservers_of_lease(const struct netif *netif, size_t position);

#endif
