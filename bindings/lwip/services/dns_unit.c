/*
 * lwIP's dns.c, and when its timer has something to do: see service_ticks.h.
 */
#include "base/timeouts.h"
#include "services/service_ticks.h"

#include <src/core/dns.c>

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
