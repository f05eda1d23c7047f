/*
 * What lwIP's DHCP client knows of a lease.
 */
#ifndef PYSTACK_LWIP_DHCP_LEASE_H
#define PYSTACK_LWIP_DHCP_LEASE_H

#include "engine.h"
#include "lwip/netif.h"

enum ps_lease_state lease_state(const struct netif *netif);
/* Whether the server's last word still counts: it has not been given back, lost or refused. */
bool lease_is_held(const struct netif *netif);

#endif
