/*
 * What the services keep of each netif.
 */
#ifndef PYSTACK_LWIP_SERVICE_STATE_H
#define PYSTACK_LWIP_SERVICE_STATE_H

#include "engine.h"
#include "lwip/acd.h"
#include "lwip/netif.h"

/* What the services keep about one netif, while any of them runs on it. */
struct service_state {
    struct netif *netif;
    struct service_state *next;
    char hostname[PS_LABEL_SIZE]; /* lwIP points at it while DHCP runs */
    char domain[PS_HOST_SIZE];    /* from the DHCP server */
    uint8_t lease_state;          /* enum ps_lease_state that the host was last told */
    uint64_t dhcp_began_us; /* dhcp_lease.c: when the client began to look for an address, and */
    uint64_t dhcp_seconds;  /* for how long it had done so at its last DISCOVER */

    /* acd.c: lwIP's own callbacks, behind ours, and the watch over a static address */
    acd_conflict_callback_t dhcp_conflict, autoip_conflict;
    struct acd watch;
    bool watching;
    uint8_t address_state; /* enum ps_address_state */

    /* mdns.c: the name that was asked for, and how often it had to give way */
    char mdns_name[PS_LABEL_SIZE];
    unsigned mdns_renamed;
};

/* The list of them. */
struct service_state *service_state_first(void);
/* NULL when no service runs on the netif. */
struct service_state *service_state_of(const struct netif *netif);
/* The same, made when it is not there; NULL: no memory. */
struct service_state *service_state_needed(struct netif *netif);
void service_state_drop(struct service_state *state);

#endif
