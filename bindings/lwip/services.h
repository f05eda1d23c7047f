/*
 * DHCP, AutoIP, SLAAC, mDNS and address conflict detection: what the files of the services
 * share, and what interface.c asks them about an address.
 */
#ifndef PYSTACK_LWIP_SERVICES_H
#define PYSTACK_LWIP_SERVICES_H

#include "lwip/acd.h"
#include "port.h"

/* What the services keep about one netif, while any of them runs on it. */
struct service_state {
    struct netif *netif;
    struct service_state *next;
    char hostname[PS_LABEL_SIZE]; /* lwIP points at it while DHCP runs */
    char domain[PS_HOST_SIZE];    /* from the DHCP server */
    uint8_t lease_state;          /* enum ps_lease_state that the host was last told */
    uint64_t dhcp_began_us;       /* lease.c: when the client began to look for an address, and */
    uint64_t dhcp_seconds;        /* for how long it had done so at its last DISCOVER */

    /* conflict.c: lwIP's own callbacks, behind ours, and the watch over a static address */
    acd_conflict_callback_t dhcp_conflict, autoip_conflict;
    struct acd watch;
    bool watching;
    bool out_of_use;       /* the netif goes without the watched address meanwhile */
    uint8_t address_state; /* enum ps_address_state */

    /* mdns.c: the name that was asked for, and how often it had to give way */
    char mdns_name[PS_LABEL_SIZE];
    unsigned mdns_renamed;
};

/* --- services.c ---------------------------------------------------------------------- */

/* Who gave a netif its IPv4 address. */
enum ps_address_origin service_origin(const struct netif *netif);
/* NULL when no service runs on the netif. */
struct service_state *service_state_of(const struct netif *netif);
/* The same, made when it is not there; NULL: no memory. */
struct service_state *service_state_needed(struct netif *netif);
/* Drops the state when nothing needs it any more. */
void service_state_release(struct service_state *state);

/* --- conflict.c ---------------------------------------------------------------------- */

/* Whether a netif's IPv4 address is being probed, good, or another host's too. */
enum ps_address_state service_address_state(const struct netif *netif);
/* Probes for an address that was just added to this interface or an alias of it, announces
 * it and defends it (RFC 5227). Does nothing where there is no ARP. -ENOMEM. */
int service_watch_conflicts(struct netif *netif, const ip4_addr_t *ip);
/* A netif's IPv4 address, in use or not; any: it has none. */
const ip4_addr_t *service_address(const struct netif *netif);
/* Ends the watch over it: the address goes. */
void service_address_removed(struct netif *netif);
void conflict_watch_end(struct service_state *state);
void conflict_address_changed(struct service_state *state);
void conflict_link_up(struct service_state *state);
/* Puts our callback before lwIP's in the ACD clients of DHCP and AutoIP. */
void conflict_listen(struct service_state *state);
/* Takes an ACD client off the netif's list, if it is there. */
void conflict_forget(struct netif *netif, struct acd *client);

/* --- lease.c ------------------------------------------------------------------------- */

enum ps_lease_state lease_state(const struct netif *netif);
/* Whether the server's last word still counts: it has not been given back, lost or refused. */
bool lease_is_held(const struct netif *netif);

/* --- mdns.c -------------------------------------------------------------------------- */

int mdns_start(struct service_state *state, const char *name);
void mdns_stop(struct service_state *state);

/* --- resolver.c ---------------------------------------------------------------------- */

void resolver_close(void);
/* An ICMP error says that what was sent from this port does not reach this name server. */
void resolver_unreachable(uint16_t local_port, const ip_addr_t *server);

#endif
