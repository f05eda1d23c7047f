/*
 * lwIP's nd6.c, and our way into the functions that it keeps to itself.
 */
#define nd6_reachability_hint lwip_reachability_hint
#define nd6_neighbor_tmr lwip_neighbor_tmr
#include <src/core/ipv6/nd6.c>
#undef nd6_reachability_hint
#undef nd6_neighbor_tmr

#include "neighbour_tables.h"

/* lwIP knows no permanent neighbours. One that stays reachable for longer than any router may say
 * is one: see ND6_IS_PERMANENT in vendor/patches. */
#define FOR_EVER UINT32_MAX

static bool any_permanent;

/* TCP makes progress with a destination: its next hop is reachable. One that was made by hand is
 * that for good. */
void nd6_reachability_hint(const ip6_addr_t *destination);
void nd6_reachability_hint(const ip6_addr_t *destination)
{
    s16_t found = any_permanent ? nd6_find_destination_cache_entry(destination) : -1;
    s8_t slot =
        found < 0 ? -1 : nd6_find_neighbor_cache_entry(&destination_cache[found].next_hop_addr);
    if (slot < 0 || !ND6_IS_PERMANENT(&neighbor_cache[slot]))
        lwip_reachability_hint(destination);
}

/* The timer of both families' neighbours */
void nd6_neighbor_tmr(void);
void nd6_neighbor_tmr(void)
{
    arp_tick();
    lwip_neighbor_tmr();
}

static bool is_permanent(const struct nd6_neighbor_cache_entry *entry)
{
    return ND6_IS_PERMANENT(entry);
}

int nd_entry_at(size_t slot, struct ps_neighbour *out)
{
    static const uint8_t states[] = {
        [ND6_INCOMPLETE] = PS_NEIGHBOUR_INCOMPLETE, [ND6_REACHABLE] = PS_NEIGHBOUR_REACHABLE,
        [ND6_STALE] = PS_NEIGHBOUR_STALE,           [ND6_DELAY] = PS_NEIGHBOUR_DELAY,
        [ND6_PROBE] = PS_NEIGHBOUR_PROBE,
    };
    if (slot >= LWIP_ND6_NUM_NEIGHBORS)
        return -1;
    const struct nd6_neighbor_cache_entry *entry = &neighbor_cache[slot];
    if (entry->state == ND6_NO_ENTRY)
        return 0;
    ip_addr_t ip;
    ip_addr_copy_from_ip6(ip, entry->next_hop_address);
    memset(out, 0, sizeof *out);
    out->interface = interface_index(entry->netif);
    address_from_lwip(&ip, 0, PS_INET6, &out->address);
    memcpy(out->mac, entry->lladdr, sizeof out->mac);
    out->state = is_permanent(entry) ? PS_NEIGHBOUR_PERMANENT : states[entry->state];
    out->router = entry->isrouter;
    return 1;
}

void nd_entry_free(size_t slot)
{
    /* A default router goes with its neighbour; its next advertisement brings both back. */
    for (s8_t i = 0; i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry == &neighbor_cache[slot])
            nd6_remove_router(i);
    neighbor_cache[slot].isrouter = 0;
    nd6_free_neighbor_cache_entry((s8_t)slot);
    nd6_clear_destination_cache();
}

bool nd_mac_of(const ip6_addr_t *ip, uint8_t mac[6])
{
    s8_t slot = nd6_find_neighbor_cache_entry(ip);
    if (slot < 0 || neighbor_cache[slot].state == ND6_INCOMPLETE)
        return false;
    memcpy(mac, neighbor_cache[slot].lladdr, 6);
    return true;
}

int nd_entry_add(struct netif *netif, const ip6_addr_t *ip, const uint8_t mac[6])
{
    s8_t slot = nd6_find_neighbor_cache_entry(ip);
    if (slot < 0)
        slot = nd6_new_neighbor_cache_entry();
    if (slot < 0)
        return -ENOMEM;
    struct nd6_neighbor_cache_entry *entry = &neighbor_cache[slot];
    ip6_addr_copy(entry->next_hop_address, *ip);
    entry->netif = netif;
    memcpy(entry->lladdr, mac, 6);
    entry->state = ND6_REACHABLE;
    entry->counter.reachable_time = FOR_EVER;
    any_permanent = true;
    if (entry->q != NULL)
        nd6_send_q(slot); /* packets that waited for an answer */
    return 0;
}
