/*
 * See service_ticks.h. For each of lwIP's timers: how many of its calls only count, of all netifs,
 * and counting them at once. A count of 0 is one that does not run.
 */
#include "services/service_ticks.h"

#include "base/timeouts.h"
#include "lwip/acd.h"
#include "lwip/dhcp.h"
#include "lwip/netif.h"
#include "lwip/prot/dhcp.h"

static uint64_t moment(uint64_t next_ms, uint32_t calls, uint32_t interval_ms)
{
    return calls == UINT32_MAX ? NEVER_MS : next_ms + (uint64_t)calls * interval_ms;
}

static uint32_t sooner(uint32_t calls, uint32_t count)
{
    return count != 0 ? LWIP_MIN(calls, tick_calls_left(count)) : calls;
}

static uint32_t rest(uint32_t count, uint32_t calls)
{
    return count > calls ? count - calls : 0;
}

/* --- ACD ------------------------------------------------------------------------------------ */

static bool acd_waits(const struct acd *client)
{
    return client->state != ACD_STATE_OFF && client->state != ACD_STATE_ONGOING &&
           client->state != ACD_STATE_PASSIVE_ONGOING;
}

uint64_t acd_work_ms(uint64_t next_ms)
{
    uint32_t calls = UINT32_MAX;
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (const struct acd *client = netif->acd_list; client != NULL; client = client->next)
            if (acd_waits(client))
                calls = LWIP_MIN(calls, tick_calls_left(client->ttw));
    }
    return moment(next_ms, calls, ACD_TMR_INTERVAL);
}

void acd_skip(uint32_t calls)
{
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (struct acd *client = netif->acd_list; client != NULL; client = client->next) {
            client->lastconflict = (u8_t)rest(client->lastconflict, calls);
            client->ttw = (u16_t)rest(client->ttw, calls);
        }
    }
}

/* --- DHCP ----------------------------------------------------------------------------------- */

/* The client whose lease time is counted; NULL: there is none. */
static struct dhcp *dhcp_of(const struct netif *netif)
{
    struct dhcp *dhcp = netif_dhcp_data(netif);
    return dhcp != NULL && dhcp->state != DHCP_STATE_OFF ? dhcp : NULL;
}

uint64_t dhcp_coarse_work_ms(uint64_t next_ms)
{
    uint32_t calls = UINT32_MAX;
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        const struct dhcp *dhcp = dhcp_of(netif);
        if (dhcp == NULL)
            continue;
        if (dhcp->t0_timeout != 0)
            calls = LWIP_MIN(calls, dhcp->t0_timeout - dhcp->lease_used - 1);
        calls = sooner(calls, dhcp->t2_rebind_time);
        calls = sooner(calls, dhcp->t1_renew_time);
    }
    return moment(next_ms, calls, DHCP_COARSE_TIMER_MSECS);
}

void dhcp_coarse_skip(uint32_t calls)
{
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        struct dhcp *dhcp = dhcp_of(netif);
        if (dhcp == NULL)
            continue;
        if (dhcp->t0_timeout != 0)
            dhcp->lease_used += calls;
        dhcp->t2_rebind_time = rest(dhcp->t2_rebind_time, calls);
        dhcp->t1_renew_time = rest(dhcp->t1_renew_time, calls);
    }
}

uint64_t dhcp_fine_work_ms(uint64_t next_ms)
{
    uint32_t calls = UINT32_MAX;
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        const struct dhcp *dhcp = netif_dhcp_data(netif);
        if (dhcp != NULL)
            calls = sooner(calls, dhcp->request_timeout);
    }
    return moment(next_ms, calls, DHCP_FINE_TIMER_MSECS);
}

void dhcp_fine_skip(uint32_t calls)
{
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        struct dhcp *dhcp = netif_dhcp_data(netif);
        if (dhcp != NULL)
            dhcp->request_timeout = rest(dhcp->request_timeout, calls);
    }
}
