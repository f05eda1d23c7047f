/*
 * Address conflict detection for IPv4 (RFC 5227), over lwIP's ACD.
 *
 * DHCP and AutoIP bring their own clients; ours only looks over their shoulder, so that a
 * conflict is logged. A static address gets a client here: it is probed, announced and
 * defended. Before that is done, and when it turns out to be another host's too, it is listed
 * (PS_ADDRESS_TENTATIVE, PS_ADDRESS_DUPLICATE) but not in use: the netif goes without it. What
 * to do about a conflict is left to the user; an address that a service gave is removed by lwIP.
 */
#include "services/acd.h"

#include <errno.h>

#include "base/errors.h"
#include "link/interface.h"
#include "lwip/autoip.h"
#include "lwip/dhcp.h"

static void log_conflict(const struct netif *netif, const ip4_addr_t *ip)
{
    char text[IP4ADDR_STRLEN_MAX];
    ip4addr_ntoa_r(ip, text, sizeof text);
    port_log(PS_LOG_WARNING, "%s: another host has the address %s too", interface_of(netif)->name,
             text);
}

void conflict_forget(struct netif *netif, struct acd *client)
{
    for (const struct acd *each = netif->acd_list; each != NULL; each = each->next)
        if (each == client) {
            acd_remove(netif, client);
            return;
        }
}

/* --- DHCP's and AutoIP's clients ------------------------------------------------------- */

static void on_dhcp(struct netif *netif, acd_callback_enum_t what)
{
    struct service_state *state = service_state_of(netif);
    if (what == ACD_DECLINE)
        log_conflict(netif, &netif_dhcp_data(netif)->acd.ipaddr);
    state->dhcp_conflict(netif, what);
}

static void on_autoip(struct netif *netif, acd_callback_enum_t what)
{
    struct service_state *state = service_state_of(netif);
    if (what == ACD_DECLINE)
        log_conflict(netif, &netif_autoip_data(netif)->acd.ipaddr);
    state->autoip_conflict(netif, what);
}

static bool dhcp_is_alone(const struct dhcp *dhcp)
{
    return dhcp != NULL && dhcp->acd.acd_conflict_callback != NULL &&
           dhcp->acd.acd_conflict_callback != on_dhcp;
}

static bool autoip_is_alone(const struct autoip *autoip)
{
    return autoip != NULL && autoip->acd.acd_conflict_callback != NULL &&
           autoip->acd.acd_conflict_callback != on_autoip;
}

bool conflict_has_to_listen(const struct service_state *state)
{
    return dhcp_is_alone(netif_dhcp_data(state->netif)) ||
           autoip_is_alone(netif_autoip_data(state->netif));
}

void conflict_listen(struct service_state *state)
{
    struct dhcp *dhcp = netif_dhcp_data(state->netif);
    struct autoip *autoip = netif_autoip_data(state->netif);
    if (dhcp_is_alone(dhcp)) {
        state->dhcp_conflict = dhcp->acd.acd_conflict_callback;
        dhcp->acd.acd_conflict_callback = on_dhcp;
    }
    if (autoip_is_alone(autoip)) {
        state->autoip_conflict = autoip->acd.acd_conflict_callback;
        autoip->acd.acd_conflict_callback = on_autoip;
    }
}

/* --- a static address ------------------------------------------------------------------ */

static void take_out_of_use(struct service_state *state, enum ps_address_state why)
{
    state->address_state = (uint8_t)why;
    interface_of(state->netif)->unused_address = state->watch.ipaddr;
    netif_set_ipaddr(state->netif, IP4_ADDR_ANY4);
}

static void put_into_use(struct service_state *state)
{
    state->address_state = PS_ADDRESS_PREFERRED;
    ip4_addr_set_any(&interface_of(state->netif)->unused_address);
    netif_set_ipaddr(state->netif, &state->watch.ipaddr);
}

static void start(struct service_state *state)
{
    take_out_of_use(state, PS_ADDRESS_TENTATIVE);
    acd_start(state->netif, &state->watch, state->watch.ipaddr);
    /* One try a minute once so many have failed (RFC 5227 2.1.1). */
    if (interface_owner(interface_of(state->netif))->conflicts >= MAX_CONFLICTS)
        state->watch.ttw =
            (u16_t)(state->watch.ttw + RATE_LIMIT_INTERVAL * 1000 / ACD_TMR_INTERVAL);
}

static void on_watch(struct netif *netif, acd_callback_enum_t what)
{
    struct service_state *state = service_state_of(netif);
    struct port_interface *owner = interface_owner(interface_of(netif));
    if (what == ACD_IP_OK) {
        owner->conflicts = 0;
        put_into_use(state);
    } else if (what == ACD_DECLINE) {
        if (owner->conflicts < MAX_CONFLICTS)
            owner->conflicts++;
        log_conflict(netif, &state->watch.ipaddr);
        take_out_of_use(state, PS_ADDRESS_DUPLICATE);
    } else {
        return; /* ACD_RESTART_CLIENT: there is no other address to try */
    }
    interface_changed(netif);
}

static struct netif *holder(struct netif *netif, const ip4_addr_t *ip)
{
    for (struct port_interface *each = interface_of(netif); each; each = each->next_alias)
        if (ip4_addr_eq(netif_ip4_addr(&each->netif), ip))
            return &each->netif;
    return NULL;
}

int service_watch_conflicts(struct netif *netif, const ip4_addr_t *ip)
{
    netif = holder(netif, ip);
    if (netif == NULL || !(netif->flags & NETIF_FLAG_ETHARP))
        return 0;
    struct service_state *state = service_state_needed(netif);
    if (state == NULL)
        return -ENOMEM;
    state->watching = true;
    ip4_addr_copy(state->watch.ipaddr, *ip);
    acd_add(netif, &state->watch, on_watch);
    start(state);
    return 0;
}

void service_address_removed(struct netif *netif)
{
    struct service_state *state = service_state_of(netif);
    if (state != NULL && state->watching)
        conflict_watch_end(state);
}

enum ps_address_state service_address_state(const struct netif *netif)
{
    const struct service_state *state = service_state_of(netif);
    return state != NULL && state->watching ? (enum ps_address_state)state->address_state
                                            : PS_ADDRESS_PREFERRED;
}

void conflict_watch_end(struct service_state *state)
{
    conflict_forget(state->netif, &state->watch);
    ip4_addr_set_any(&interface_of(state->netif)->unused_address);
    state->watching = false;
}

void conflict_address_changed(struct service_state *state)
{
    const ip4_addr_t *now = netif_ip4_addr(state->netif);
    if (state->watching && !ip4_addr_eq(&state->watch.ipaddr, now) &&
        !(ip4_addr_isany(now) && !ip4_addr_isany_val(interface_of(state->netif)->unused_address)))
        conflict_watch_end(state);
}

void conflict_link_up(struct service_state *state)
{
    /* Another link, perhaps another network: lwIP stopped the client with the old one. */
    if (state->watching)
        start(state);
}
