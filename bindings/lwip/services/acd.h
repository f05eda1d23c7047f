/*
 * Address conflict detection for IPv4 (RFC 5227).
 */
#ifndef PYSTACK_LWIP_ACD_H
#define PYSTACK_LWIP_ACD_H

#include "services/service_state.h"

/* Whether a netif's IPv4 address is being probed, good, or another host's too. */
enum ps_address_state service_address_state(const struct netif *netif);
/* Probes for an address that was just added to this interface or an alias of it, announces
 * it and defends it (RFC 5227). Does nothing where there is no ARP. -ENOMEM. */
int service_watch_conflicts(struct netif *netif, const ip4_addr_t *ip);
/* Ends the watch over it: the address goes. */
void service_address_removed(struct netif *netif);
void conflict_watch_end(struct service_state *state);
void conflict_address_changed(struct service_state *state);
void conflict_link_up(struct service_state *state);
/* Puts our callback before lwIP's in the ACD clients of DHCP and AutoIP; and whether there is one
 * to put it before. */
bool conflict_has_to_listen(const struct service_state *state);
void conflict_listen(struct service_state *state);
/* Takes an ACD client off the netif's list, if it is there. */
void conflict_forget(struct netif *netif, struct acd *client);

#endif
