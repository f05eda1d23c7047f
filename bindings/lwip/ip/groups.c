/*
 * See groups.h. A group whose report waits has a count of calls, and so has the group of all
 * systems while there is a version 1 router (RFC 2236 4).
 */
#include "ip/groups.h"

#include "base/timeouts.h"
#include "lwip/igmp.h"
#include "lwip/mld6.h"
#include "lwip/netif.h"

static uint64_t sooner(uint64_t found_ms, uint64_t next_ms, uint16_t count, uint32_t interval_ms)
{
    uint64_t at_ms = next_ms + (uint64_t)tick_calls_left(count) * interval_ms;
    return count != 0 && at_ms < found_ms ? at_ms : found_ms;
}

static uint16_t rest(uint16_t count, uint32_t calls)
{
    return (uint16_t)(count > calls ? count - calls : 0);
}

uint64_t igmp_work_ms(uint64_t next_ms)
{
    uint64_t found_ms = NEVER_MS;
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (const struct igmp_group *group = netif_igmp_data(netif); group; group = group->next)
            found_ms = sooner(found_ms, next_ms, group->timer, IGMP_TMR_INTERVAL);
    }
    return found_ms;
}

void igmp_skip(uint32_t calls)
{
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (struct igmp_group *group = netif_igmp_data(netif); group; group = group->next)
            group->timer = rest(group->timer, calls);
    }
}

uint64_t mld_work_ms(uint64_t next_ms)
{
    uint64_t found_ms = NEVER_MS;
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (const struct mld_group *group = netif_mld6_data(netif); group; group = group->next)
            found_ms = sooner(found_ms, next_ms, group->timer, MLD6_TMR_INTERVAL);
    }
    return found_ms;
}

void mld_skip(uint32_t calls)
{
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (struct mld_group *group = netif_mld6_data(netif); group; group = group->next)
            group->timer = rest(group->timer, calls);
    }
}
