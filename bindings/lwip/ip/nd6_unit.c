/*
 * lwIP's nd6.c, our way into the functions that it keeps to itself, and the order of its tables:
 * neighbours and destinations are found by hash, and what is in use stays (slots.h).
 */
#include "base/keyed_hash.h"
#include "base/port.h"
#include "base/slots.h"
#include "ip/neighbour.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"

static s8_t find_neighbour(const ip6_addr_t *ip);
static s8_t room_for_neighbour(const ip6_addr_t *ip);
static void neighbour_freed(s8_t slot);
static void neighbour_used(s8_t slot);
static void neighbour_changed(s8_t slot);
static s16_t find_destination(const ip6_addr_t *ip);
static s16_t room_for_destination(const ip6_addr_t *ip);
static void destination_freed(s16_t slot);
#define LWIP_HOOK_ND6_FIND_NEIGHBOR(ip) find_neighbour(ip)
#define LWIP_HOOK_ND6_NEW_NEIGHBOR(ip) room_for_neighbour(ip)
#define LWIP_HOOK_ND6_NEIGHBOR_FREED(slot) neighbour_freed(slot)
#define LWIP_HOOK_ND6_NEIGHBOR_USED(slot) neighbour_used(slot)
#define LWIP_HOOK_ND6_NEIGHBOR_CHANGED(slot) neighbour_changed(slot)
#define LWIP_HOOK_ND6_FIND_DESTINATION(ip) find_destination(ip)
#define LWIP_HOOK_ND6_NEW_DESTINATION(ip) room_for_destination(ip)
#define LWIP_HOOK_ND6_DESTINATION_FREED(slot) destination_freed(slot)

#include "ip/nd6_rules.h"

#define nd6_reachability_hint lwip_reachability_hint
#define nd6_neighbor_tmr nd_tick
#define nd6_tmr lwip_nd6_tmr
#include <src/core/ipv6/nd6.c>
#undef nd6_reachability_hint
#undef nd6_neighbor_tmr
#undef nd6_tmr

/* lwIP knows no permanent neighbours. One that stays reachable for longer than any router may say
 * is one: see ND6_IS_PERMANENT in vendor/patches. */
#define FOR_EVER UINT32_MAX

static bool any_permanent;

SLOTS(neighbours, LWIP_ND6_NUM_NEIGHBORS, 128);
SLOTS(destinations, LWIP_ND6_NUM_DESTINATIONS, 128);

void nd_init(void)
{
    slots_init(&neighbours);
    slots_init(&destinations);
}

/* --- asked by nd6.c ------------------------------------------------------------------------ */

static uint64_t hash_of(const ip6_addr_t *ip)
{
    uint64_t key[3] = {0};
    memcpy(key, ip->addr, sizeof ip->addr);
    key[2] = ip6_addr_zone(ip);
    return keyed_hash(key, 3);
}

static s8_t find_neighbour(const ip6_addr_t *ip)
{
    int slot = slots_find(&neighbours, hash_of(ip));
    while (slot != NO_SLOT && !ip6_addr_eq(&neighbor_cache[slot].next_hop_address, ip))
        slot = slots_next(&neighbours, slot);
    return (s8_t)slot;
}

static s8_t room_for_neighbour(const ip6_addr_t *ip)
{
    uint64_t hash = hash_of(ip);
    int slot = slots_take(&neighbours, hash);
    if (slot == NO_SLOT) {
        int victim = slots_victim(&neighbours, !port.answering);
        if (victim == NO_SLOT)
            return NO_SLOT;
        nd6_free_neighbor_cache_entry((s8_t)victim);
        slot = slots_take(&neighbours, hash);
    }
    return (s8_t)slot;
}

static void neighbour_freed(s8_t slot)
{
    slots_release(&neighbours, slot);
}

/* The next hop of a destination, the one that was looked for last, is sent to. */
static void neighbour_used(s8_t slot)
{
    slots_answered(&neighbours, slot,
                   neighbor_cache[slot].state == ND6_REACHABLE || neighbours.all[slot].answered);
    slots_use(&neighbours, slot, !port.answering, sys_now());
    slots_use(&destinations, nd6_cached_destination_index, !port.answering, sys_now());
}

/* A default router's entry has to stay while it is one, and what is set by hand for good. */
static void neighbour_changed(s8_t slot)
{
    slots_keep(&neighbours, slot,
               neighbor_cache[slot].isrouter || ND6_IS_PERMANENT(&neighbor_cache[slot]));
}

static s16_t find_destination(const ip6_addr_t *ip)
{
    int slot = slots_find(&destinations, hash_of(ip));
    while (slot != NO_SLOT && !ip6_addr_eq(&destination_cache[slot].destination_addr, ip))
        slot = slots_next(&destinations, slot);
    return (s16_t)slot;
}

/* There is always room: no destination has to stay. */
static s16_t room_for_destination(const ip6_addr_t *ip)
{
    uint64_t hash = hash_of(ip);
    int slot = slots_take(&destinations, hash);
    if (slot == NO_SLOT) {
        nd6_free_destination_cache_entry((s16_t)slots_victim(&destinations, true));
        slot = slots_take(&destinations, hash);
    }
    slots_use(&destinations, slot, !port.answering, sys_now());
    return (s16_t)slot;
}

static void destination_freed(s16_t slot)
{
    slots_release(&destinations, slot);
}

/* --- time, and what else confirms ----------------------------------------------------------- */

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

static bool is_permanent(const struct nd6_neighbor_cache_entry *entry)
{
    return ND6_IS_PERMANENT(entry);
}

void nd_doubt(const struct tcp_pcb *pcb)
{
    s16_t found = nd6_find_destination_cache_entry(ip_2_ip6(&pcb->remote_ip));
    s8_t slot =
        found < 0 ? -1 : nd6_find_neighbor_cache_entry(&destination_cache[found].next_hop_addr);
    if (slot < 0)
        return;
    struct nd6_neighbor_cache_entry *entry = &neighbor_cache[slot];
    if ((entry->state != ND6_REACHABLE && entry->state != ND6_STALE && entry->state != ND6_DELAY) ||
        is_permanent(entry))
        return;
    entry->state = ND6_DELAY;
    entry->due = sys_now();
}

/* Each second: what has not been sent to for a while is in use no more. */
static void age(void)
{
    for (s8_t slot = 0; slot < LWIP_ND6_NUM_NEIGHBORS; slot++)
        if (neighbor_cache[slot].state != ND6_NO_ENTRY)
            slots_age(&neighbours, slot, sys_now());
    for (s16_t slot = 0; slot < LWIP_ND6_NUM_DESTINATIONS; slot++)
        if (!ip6_addr_isany(&destination_cache[slot].destination_addr))
            slots_age(&destinations, slot, sys_now());
}

void nd6_tmr(void);
void nd6_tmr(void)
{
    lwip_nd6_tmr();
    age();
}

/* --- the table, from outside ---------------------------------------------------------------- */

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
        slot = nd6_new_neighbor_cache_entry(ip);
    if (slot < 0)
        return -ENOMEM;
    struct nd6_neighbor_cache_entry *entry = &neighbor_cache[slot];
    entry->netif = netif;
    memcpy(entry->lladdr, mac, 6);
    entry->state = ND6_REACHABLE;
    entry->counter.reachable_time = FOR_EVER;
    any_permanent = true;
    neighbour_changed(slot);
    if (entry->q != NULL)
        nd6_send_q(slot); /* packets that waited for an answer */
    return 0;
}
