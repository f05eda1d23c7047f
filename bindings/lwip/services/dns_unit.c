/*
 * lwIP's dns.c, and when its timer has something to do: see service_ticks.h.
 */
#include "base/timeouts.h"
#include "ip/route.h"
#include "lwip/udp.h"
#include "services/service_ticks.h"

/* lwIP finds no way to mDNS's group of IPv6, which has a link's scope and names none: as with IPv4,
 * any interface will do. */
static err_t send_question(struct udp_pcb *pcb, struct pbuf *p, const ip_addr_t *to, u16_t port)
{
    if (!IP_IS_V6(to) || !ip6_addr_lacks_zone(ip_2_ip6(to), IP6_MULTICAST))
        return udp_sendto(pcb, p, to, port);
    struct netif *netif = route_any_interface();
    if (netif == NULL)
        return ERR_RTE;
    ip_addr_t there = *to;
    ip6_addr_assign_zone(ip_2_ip6(&there), IP6_MULTICAST, netif);
    return udp_sendto(pcb, p, &there, port);
}

#define udp_sendto send_question
#include <src/core/dns.c>
#undef udp_sendto

/* How many calls only count a lookup's time. */
static u32_t entry_calls(const struct dns_table_entry *entry)
{
    switch (entry->state) {
    case DNS_STATE_UNUSED:
        return UINT32_MAX;
    case DNS_STATE_ASKING:
        return tick_calls_left(entry->tmr);
    case DNS_STATE_DONE:
        return tick_calls_left(entry->ttl);
    default:
        return 0;
    }
}

uint64_t dns_work_ms(uint64_t next_ms)
{
    u32_t calls = UINT32_MAX;
    for (u8_t i = 0; i < DNS_TABLE_SIZE; i++)
        calls = LWIP_MIN(calls, entry_calls(&dns_table[i]));
    return calls == UINT32_MAX ? NEVER_MS : next_ms + (uint64_t)calls * DNS_TMR_INTERVAL;
}

void dns_skip(uint32_t calls)
{
    for (u8_t i = 0; i < DNS_TABLE_SIZE; i++) {
        struct dns_table_entry *entry = &dns_table[i];
        if (entry->state == DNS_STATE_ASKING)
            entry->tmr = (u8_t)(entry->tmr - calls);
        else if (entry->state == DNS_STATE_DONE)
            entry->ttl -= calls;
    }
}
