/*
 * The services that configure an interface: DHCP, SLAAC and AutoIP, each switched per interface;
 * mdns.c and acd.c have the rest, and the host has DHCPv6.
 *
 * lwIP leaves some ends loose here: what it allocates for an interface stays when the
 * interface goes, a client that finds no memory stops for good, and AutoIP goes on probing
 * after it was stopped. This file ties them up.
 */
#include "services/services.h"

#include <errno.h>
#include <string.h>

#include "base/entries.h"
#include "base/hooks.h"
#include "base/timeouts.h"
#include "base/tunables.h"
#include "link/interface.h"
#include "lwip/autoip.h"
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/mem.h"
#include "lwip/nd6.h"
#include "lwip/prot/autoip.h"
#include "lwip/prot/dhcp.h"
#include "lwip/prot/iana.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"
#include "services/acd.h"
#include "services/dhcp_lease.h"
#include "services/mdns.h"
#include "services/nameservers.h"
#include "services/resolver.h"

#define SMALLEST_DHCP_MTU 576 /* RFC 2131 2 */

static netif_ext_callback_t change_callback;

/* DHCP won while AutoIP was still probing: lwIP would put the link-local address over the
 * leased one. */
static void autoip_yield(struct netif *netif)
{
    struct autoip *autoip = netif_autoip_data(netif);
    const ip4_addr_t *ip = netif_ip4_addr(netif);
    if (autoip == NULL || autoip->state != AUTOIP_STATE_CHECKING || ip4_addr_isany(ip) ||
        ip4_addr_islinklocal(ip))
        return;
    acd_stop(&autoip->acd);
    autoip->state = AUTOIP_STATE_OFF;
}

/* A random number that depends on the hardware address, so that the same host tries the same
 * addresses in the same order, and no other host does (RFC 3927 2.1). */
u32_t hook_autoip_address(const struct netif *netif)
{
    const struct autoip *autoip = netif_autoip_data(netif);
    u32_t hash = 2166136261u; /* FNV-1a */
    for (unsigned i = 0; i < netif->hwaddr_len; i++)
        hash = (hash ^ netif->hwaddr[i]) * 16777619u;
    hash = (hash ^ autoip->tried_llipaddr) * 16777619u;
    hash ^= hash >> 15; /* the last octets have not reached the lower bits yet */
    hash *= 2246822519u;
    hash ^= hash >> 13;
    /* lwIP adds how many were tried, and comes around at the end. */
    return lwip_htonl(AUTOIP_RANGE_START + hash % (AUTOIP_RANGE_END - AUTOIP_RANGE_START + 1));
}

/* The netif has no address, and AutoIP does nothing about it: it found no memory, gave way to
 * DHCP, or lost a conflict and has waited as long as RFC 3927 asks. */
static bool autoip_is_idle(const struct netif *netif)
{
    const struct autoip *autoip = netif_autoip_data(netif);
    if (!ip4_addr_isany(netif_ip4_addr(netif)))
        return false;
    return autoip == NULL || autoip->state == AUTOIP_STATE_BOUND ||
           (autoip->state == AUTOIP_STATE_OFF && autoip->acd.state == ACD_STATE_OFF);
}

/* DHCP's address had replaced AutoIP's, and is gone. */
static void autoip_end_lost(struct netif *netif)
{
    struct autoip *autoip = netif_autoip_data(netif);
    if (autoip == NULL || autoip->state != AUTOIP_STATE_BOUND)
        return;
    acd_stop(&autoip->acd);
    autoip->state = AUTOIP_STATE_OFF;
}

static void end(struct service_state *state)
{
    conflict_watch_end(state);
    service_state_drop(state);
}

static void on_change(struct netif *netif, netif_nsc_reason_t reason,
                      const netif_ext_callback_args_t *arguments)
{
    struct service_state *state = service_state_of(netif);
    if (state == NULL)
        return;
    if (reason & LWIP_NSC_NETIF_REMOVED) {
        end(state);
        return;
    }
    if (reason & LWIP_NSC_IPV4_ADDRESS_CHANGED) {
        conflict_address_changed(state);
        autoip_yield(netif);
        if (!lease_is_held(netif))
            nameservers_forget(netif, PS_ORIGIN_DHCP, PS_INET);
        /* The address's previous owner is still in the neighbours' tables (RFC 2131 4.4.1). ACD
         * announces what it has probed. */
        if (dhcp_supplied_address(netif) && !tunables.dhcp_conflict_check)
            etharp_gratuitous(netif);
    }
    if ((reason & LWIP_NSC_LINK_CHANGED) && arguments->link_changed.state != 0)
        conflict_link_up(state);
}

static bool should_run(const struct netif *netif, uint32_t service)
{
    return (interface_of(netif)->services & service) != 0 && netif_is_up(netif);
}

static bool dhcp_has_stopped(const struct netif *netif)
{
    const struct dhcp *dhcp = netif_dhcp_data(netif);
    return should_run(netif, PS_IF_DHCP) && (dhcp == NULL || dhcp->state == DHCP_STATE_OFF);
}

/* Starts again what gave up for want of memory, and tells the host of leases that changed
 * without a change of address. */
static void watch(struct service_state *state)
{
    struct netif *netif = state->netif;
    if (dhcp_has_stopped(netif))
        dhcp_start(netif); /* no memory: at the next tick */
    if (should_run(netif, PS_IF_AUTOIP) && autoip_is_idle(netif)) {
        autoip_end_lost(netif);
        autoip_start(netif);
    }
    conflict_listen(state);
    if (state->lease_state != lease_state(netif)) {
        state->lease_state = (uint8_t)lease_state(netif);
        if (!lease_is_held(netif))
            nameservers_forget(netif, PS_ORIGIN_DHCP, PS_INET);
        interface_changed(netif);
    }
}

void services_tick(void)
{
    for (struct service_state *state = service_state_first(); state != NULL; state = state->next)
        watch(state);
}

/* Whether watch() would change anything. */
static bool is_wanted(const struct service_state *state)
{
    const struct netif *netif = state->netif;
    return dhcp_has_stopped(netif) || (should_run(netif, PS_IF_AUTOIP) && autoip_is_idle(netif)) ||
           conflict_has_to_listen(state) || state->lease_state != lease_state(netif);
}

uint64_t services_work_ms(uint64_t next_ms)
{
    for (const struct service_state *state = service_state_first(); state != NULL;
         state = state->next)
        if (is_wanted(state))
            return next_ms;
    return NEVER_MS;
}

enum ps_address_origin service_origin(const struct netif *netif)
{
    struct autoip *autoip = netif_autoip_data(netif);
    if (dhcp_supplied_address(netif))
        return PS_ORIGIN_DHCP;
    if (autoip != NULL && autoip->state == AUTOIP_STATE_BOUND &&
        ip4_addr_eq(netif_ip4_addr(netif), &autoip->llipaddr))
        return PS_ORIGIN_AUTOIP;
    return PS_ORIGIN_STATIC;
}

/* --- what a service needs ------------------------------------------------------------- */

static bool runs_anywhere(uint32_t service)
{
    for (const struct service_state *state = service_state_first(); state != NULL;
         state = state->next)
        if (interface_of(state->netif)->services & service)
            return true;
    return false;
}

/* lwIP ignores that a client's port is taken, and would listen nowhere. */
static bool port_is_taken(uint16_t number)
{
    for (const struct udp_pcb *pcb = hook_udp_port(number); pcb != NULL; pcb = pcb->port_next)
        if (pcb->local_port == number)
            return true;
    return false;
}

/* Both clients write to the one IPv4 address that a netif has. */
static int wants_the_address(const struct netif *netif)
{
    if (interface_of(netif)->layer != PS_LAYER_ETHERNET)
        return -EOPNOTSUPP;
    if (!netif_is_up(netif))
        return -ENETDOWN;
    if (!ip4_addr_isany(netif_ip4_addr(netif)) && service_origin(netif) == PS_ORIGIN_STATIC)
        return -EEXIST;
    return 0;
}

/* --- each service --------------------------------------------------------------------- */

static void dhcp_turn_off(struct service_state *state)
{
    struct netif *netif = state->netif;
    struct dhcp *dhcp = netif_dhcp_data(netif);
    dhcp_release_and_stop(netif);
    if (dhcp != NULL)
        conflict_forget(netif, &dhcp->acd); /* there still if the client had stopped itself */
    dhcp_cleanup(netif);
    netif_set_hostname(netif, NULL);
    state->hostname[0] = '\0';
    state->domain[0] = '\0';
    nameservers_forget(netif, PS_ORIGIN_DHCP, PS_INET);
}

static int dhcp_turn_on(struct service_state *state, const char *name)
{
    struct netif *netif = state->netif;
    int result = wants_the_address(netif);
    if (result < 0)
        return result;
    if (netif->mtu < SMALLEST_DHCP_MTU)
        return -EMSGSIZE;
    if (!runs_anywhere(PS_IF_DHCP) && port_is_taken(LWIP_IANA_PORT_DHCP_CLIENT))
        return -EADDRINUSE;
    dhcp_turn_off(state); /* dhcp_start on a running client would cut the list of ACD clients */
    if (name != NULL) {
        memcpy(state->hostname, name, strlen(name) + 1);
        netif_set_hostname(netif, state->hostname);
    }
    if (dhcp_start(netif) != ERR_OK) {
        dhcp_turn_off(state);
        return -ENOMEM;
    }
    return 0;
}

static int slaac_turn_on(struct service_state *state)
{
    struct netif *netif = state->netif;
    if (ip6_addr_isinvalid(netif_ip6_addr_state(netif, 0)))
        return -EADDRNOTAVAIL; /* solicitations come from a link-local address */
    netif_set_ip6_autoconfig_enabled(netif, 1);
    nd6_restart_netif(netif);
    return 0;
}

static void autoip_turn_off(struct service_state *state)
{
    struct netif *netif = state->netif;
    struct autoip *autoip = netif_autoip_data(netif);
    if (autoip == NULL)
        return;
    autoip_stop(netif);
    conflict_forget(netif, &autoip->acd);
    autoip_remove_struct(netif);
    mem_free(autoip);
}

static int autoip_turn_on(struct service_state *state)
{
    int result = wants_the_address(state->netif);
    if (result < 0)
        return result;
    return autoip_start(state->netif) == ERR_OK ? 0 : -ENOMEM;
}

static int turn_on(struct service_state *state, enum ps_service service, const char *name)
{
    switch (service) {
    case PS_SERVICE_DHCP:
        return dhcp_turn_on(state, name);
    case PS_SERVICE_SLAAC:
        return slaac_turn_on(state);
    case PS_SERVICE_AUTOIP:
        return autoip_turn_on(state);
    default:
        return mdns_start(state, name);
    }
}

static void turn_off(struct service_state *state, enum ps_service service)
{
    switch (service) {
    case PS_SERVICE_DHCP:
        dhcp_turn_off(state);
        break;
    case PS_SERVICE_SLAAC:
        /* The addresses stay until their lifetimes end, as in Linux. */
        netif_set_ip6_autoconfig_enabled(state->netif, 0);
        break;
    case PS_SERVICE_AUTOIP:
        autoip_turn_off(state);
        break;
    default:
        mdns_stop(state);
    }
}

static uint32_t flag_of(enum ps_service service)
{
    static const uint32_t flags[] = {
        [PS_SERVICE_DHCP] = PS_IF_DHCP,
        [PS_SERVICE_SLAAC] = PS_IF_SLAAC,
        [PS_SERVICE_AUTOIP] = PS_IF_AUTOIP,
        [PS_SERVICE_MDNS] = PS_IF_MDNS,
    };
    return flags[service];
}

int engine_service_set(ps_engine *engine, uint32_t index, enum ps_service service, bool on,
                       const char *name)
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    struct port_interface *interface = interface_of(netif);
    if (interface == NULL)
        return -EOPNOTSUPP; /* the loopback */
    if (service > PS_SERVICE_MDNS || (name != NULL && name[0] == '\0'))
        return -EINVAL;
    if (name != NULL && strlen(name) >= PS_LABEL_SIZE)
        return -ENAMETOOLONG;
    if (service == PS_SERVICE_DHCP6)
        return on ? -EOPNOTSUPP : 0; /* the host's */
    uint32_t flag = flag_of(service);
    if (!on && !(interface->services & flag))
        return 0;
    struct service_state *state = service_state_needed(netif);
    if (state == NULL)
        return -ENOMEM;
    int result = 0;
    if (on) {
        result = turn_on(state, service, name);
        /* A failed start of DHCP has ended the lease that there was. */
        if (result == 0)
            interface->services |= flag;
        else if (service == PS_SERVICE_DHCP && netif_dhcp_data(netif) == NULL)
            interface->services &= ~flag;
    } else {
        interface->services &= ~flag; /* first: what follows must not start it again */
        turn_off(state, service);
    }
    conflict_listen(state);
    if (interface->services == 0 && !state->watching)
        end(state);
    interface_changed(netif);
    return result;
}

void services_interface_removed(struct netif *netif)
{
    struct service_state *state = service_state_of(netif);
    struct port_interface *interface = interface_of(netif);
    if (state == NULL || interface == NULL)
        return;
    for (enum ps_service service = PS_SERVICE_DHCP; service <= PS_SERVICE_MDNS; service++)
        if (interface->services & flag_of(service)) {
            interface->services &= ~flag_of(service);
            turn_off(state, service);
        }
    end(state);
}

void services_init(void)
{
    nameservers_init();
    netif_add_ext_callback(&change_callback, on_change);
}

void services_close(void)
{
    resolver_close();
    nameservers_close();
    /* The PCBs left now are lwIP's own: those of lookups in progress, and mDNS's. */
    while (udp_pcbs != NULL)
        udp_remove(udp_pcbs);
}
