/*
 * The mDNS responder: one host name per interface (RFC 6762).
 *
 * lwIP sends no goodbye when it stops, and answers for an interface's first eight IPv6
 * addresses only in reverse look-ups.
 */
#include "services/mdns.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/errors.h"
#include "link/interface.h"
#include "lwip/apps/mdns.h"
#include "lwip/apps/mdns_out.h"
#include "lwip/apps/mdns_priv.h"
#include "lwip/dns.h"
#include "lwip/igmp.h"
#include "lwip/mem.h"
#include "lwip/priv/memp_priv.h"
#include "lwip/timeouts.h"

/* --- lwIP's pool of packets that wait -------------------------------------------------- */

/* Truncated questions wait half a second for the rest, each with its packet: few, so that
 * a flood of them can't eat the arena. */
#define MOST_WAITING 16

static unsigned packets_waiting;

void memp_init_pool(const struct memp_desc *pool)
{
    (void)pool;
}

void *memp_malloc_pool(const struct memp_desc *pool)
{
    if (packets_waiting == MOST_WAITING)
        return NULL;
    void *memory = mem_malloc(pool->size);
    if (memory != NULL)
        packets_waiting++;
    return memory;
}

void memp_free_pool(const struct memp_desc *pool, void *memory)
{
    (void)pool;
    packets_waiting--;
    mem_free(memory);
}

/* --- names ----------------------------------------------------------------------------- */

/* Another host has the name: ours gets a number (RFC 6762 9). */
static void on_probed(struct netif *netif, u8_t result, s8_t slot)
{
    struct service_state *state = service_state_of(netif);
    char name[PS_LABEL_SIZE], number[16];
    (void)slot;
    if (state == NULL || result != MDNS_PROBING_CONFLICT)
        return;
    int digits = snprintf(number, sizeof number, "-%u", ++state->mdns_renamed + 1);
    snprintf(name, sizeof name, "%.*s%s", (int)sizeof name - 1 - digits, state->mdns_name, number);
    port_log(PS_LOG_WARNING, "%s: another host is called %s.local; trying %s.local",
             interface_of(netif)->name, state->mdns_name, name);
    mdns_resp_rename_netif(netif, name);
}

int mdns_start(struct service_state *state, const char *name)
{
    struct netif *netif = state->netif;
    if (name == NULL)
        name = state->hostname; /* DHCP's */
    if (name[0] == '\0' || strchr(name, '.') != NULL)
        return -EINVAL;
    if (get_mdns_pcb() == NULL) {
        static bool registered;
        if (registered)
            return -EADDRINUSE;
        mdns_resp_init();
        if (get_mdns_pcb() == NULL)
            return -EADDRINUSE;
        registered = true;
        mdns_resp_register_name_result_cb(on_probed);
    }
    memmove(state->mdns_name, name, strlen(name) + 1);
    state->mdns_renamed = 0;
    err_t error = mdns_resp_netif_active(netif) ? mdns_resp_rename_netif(netif, name)
                                                : mdns_resp_add_netif(netif, name);
    if (error == ERR_OK)
        return 0;
    /* lwIP may have joined one of the two groups. */
    igmp_leavegroup_netif(netif, ip_2_ip4(&dns_mquery_v4group));
    return -ENOMEM;
}

void mdns_stop(struct service_state *state)
{
    static const sys_timeout_handler handlers[] = {
        mdns_multicast_timeout_reset_ipv4,       mdns_multicast_timeout_reset_ipv6,
        mdns_multicast_probe_timeout_reset_ipv4, mdns_multicast_probe_timeout_reset_ipv6,
        mdns_multicast_timeout_25ttl_reset_ipv4, mdns_multicast_timeout_25ttl_reset_ipv6,
        mdns_send_multicast_msg_delayed_ipv4,    mdns_send_multicast_msg_delayed_ipv6,
        mdns_send_unicast_msg_delayed_ipv4,      mdns_send_unicast_msg_delayed_ipv6,
    };
    struct netif *netif = state->netif;
    /* lwIP leaves these behind, and they would look for the responder. */
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        sys_untimeout(handlers[i], netif);
    if (mdns_resp_netif_active(netif))
        mdns_resp_remove_netif(netif);
    state->mdns_name[0] = '\0';
}
