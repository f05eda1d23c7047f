/*
 * lwIP's nd6.c, our way into the functions that it keeps to itself, and the order of its tables:
 * neighbours and destinations are found by hash, and what is in use stays (slots.h).
 */
#include "base/keyed_hash.h"
#include "base/port.h"
#include "base/slots.h"
#include "base/timeouts.h"
#include "ip/neighbour.h"
#include "ip/route.h"
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

/* --- when there is something to do ---------------------------------------------------------- */

uint64_t nd_step_ms(void)
{
    uint64_t first_ms = NEVER_MS;
    for (s8_t i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++) {
        const struct nd6_neighbor_cache_entry *entry = &neighbor_cache[i];
        bool asks = entry->state == ND6_INCOMPLETE && entry->counter.probes_sent != 0;
        if (asks || entry->state == ND6_DELAY || entry->state == ND6_PROBE)
            first_ms = LWIP_MIN(first_ms, timeouts_due_ms(entry->due));
    }
    return first_ms;
}

static u32_t neighbours_calls(void)
{
    u32_t calls = UINT32_MAX;
    for (s8_t i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++) {
        const struct nd6_neighbor_cache_entry *entry = &neighbor_cache[i];
        if (entry->state != ND6_REACHABLE)
            continue;
        if (entry->q != NULL)
            return 0;
        if (!is_permanent(entry))
            calls = LWIP_MIN(calls,
                             tick_calls_left(entry->counter.reachable_time / ND6_TMR_INTERVAL +
                                                 entry->counter.reachable_time % ND6_TMR_INTERVAL !=
                                             0));
    }
    return calls;
}

static u32_t routers_calls(void)
{
    u32_t calls = UINT32_MAX;
    for (s8_t i = 0; i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry != NULL)
            calls = LWIP_MIN(calls, tick_calls_left(default_router_list[i].invalidation_timer));
    for (s8_t i = 0; i < LWIP_ND6_NUM_PREFIXES; i++)
        if (prefix_list[i].netif != NULL && prefix_list[i].invalidation_timer != UINT32_MAX)
            calls = LWIP_MIN(calls, tick_calls_left(prefix_list[i].invalidation_timer));
    return calls;
}

static bool can_send(const struct netif *netif)
{
    return netif_is_up(netif) && netif_is_link_up(netif);
}

static bool is_mortal(const struct netif *netif, s8_t i)
{
    return !ip6_addr_isinvalid(netif_ip6_addr_state(netif, i)) &&
           !netif_ip6_addr_isstatic(netif, i);
}

static u32_t address_calls(const struct netif *netif, s8_t i)
{
    u8_t state = netif_ip6_addr_state(netif, i);
    u32_t calls = UINT32_MAX;
    if (ip6_addr_istentative(state) &&
        ((state & IP6_ADDR_TENTATIVE_COUNT_MASK) >= LWIP_IPV6_DUP_DETECT_ATTEMPTS ||
         can_send(netif)))
        return 0;
    if (!is_mortal(netif, i))
        return calls;
    u32_t valid = netif_ip6_addr_valid_life(netif, i);
    u32_t preferred = netif_ip6_addr_pref_life(netif, i);
    if (!ip6_addr_life_isinfinite(valid))
        calls = LWIP_MIN(calls, tick_calls_left(valid));
    if (!ip6_addr_life_isinfinite(preferred) && (preferred != 0 || state == IP6_ADDR_PREFERRED))
        calls = LWIP_MIN(calls, tick_calls_left(preferred));
    return calls;
}

/* Whether a router is to be asked for at one of the calls that are for that. */
static bool solicits(const struct netif *netif)
{
    u8_t state = netif_ip6_addr_state(netif, 0);
    return netif->rs_count > 0 && can_send(netif) && !ip6_addr_isinvalid(state) &&
           !ip6_addr_isduplicated(state);
}

static u32_t netifs_calls(void)
{
    u32_t calls = UINT32_MAX;
    const struct netif *netif;
    NETIF_FOREACH(netif)
    {
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            calls = LWIP_MIN(calls, address_calls(netif, i));
        if (solicits(netif))
            calls = LWIP_MIN(calls, nd6_tmr_rs_reduction);
    }
    return calls;
}

/* When age() has something to do. */
static uint64_t table_age_ms(const struct slots *slots)
{
    uint64_t first_ms = NEVER_MS;
    for (int rank = SLOT_STRANGER; rank < SLOT_FREE; rank++)
        for (int slot = slots->first[rank]; slot != NO_SLOT; slot = slots->all[slot].after) {
            uint32_t since_ms;
            if (slots_will_age(slots, slot, &since_ms))
                first_ms = LWIP_MIN(first_ms, timeouts_since_ms(since_ms) + SLOT_IDLE_MS);
        }
    return first_ms;
}

uint64_t nd_work_ms(uint64_t next_ms)
{
    uint64_t first_ms = LWIP_MIN(table_age_ms(&neighbours), table_age_ms(&destinations));
    u32_t calls = LWIP_MIN(LWIP_MIN(neighbours_calls(), routers_calls()), netifs_calls());
    if (calls == UINT32_MAX)
        return first_ms;
    return LWIP_MIN(first_ms, next_ms + (uint64_t)calls * ND6_TMR_INTERVAL);
}

bool nd_acts_alone(void)
{
    for (s8_t i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++)
        if (neighbor_cache[i].q != NULL)
            return true;
    return routers_calls() != UINT32_MAX || netifs_calls() != UINT32_MAX;
}

static void count_address(struct netif *netif, s8_t i, u32_t calls)
{
    u32_t valid = netif_ip6_addr_valid_life(netif, i);
    u32_t preferred = netif_ip6_addr_pref_life(netif, i);
    if (!ip6_addr_life_isinfinite(valid))
        netif_ip6_addr_set_valid_life(netif, i, valid - calls);
    if (!ip6_addr_life_isinfinite(preferred) && preferred != 0)
        netif_ip6_addr_set_pref_life(netif, i, preferred - calls);
}

/* As often as nothing but this happens: nd_work_ms() says so. */
void nd_skip(u32_t calls)
{
    const u32_t solicitation_calls = ND6_RTR_SOLICITATION_INTERVAL / ND6_TMR_INTERVAL;
    struct netif *netif;
    for (s8_t i = 0; i < LWIP_ND6_NUM_NEIGHBORS; i++) {
        struct nd6_neighbor_cache_entry *entry = &neighbor_cache[i];
        if (entry->state == ND6_STALE)
            entry->counter.stale_time += calls;
        else if (entry->state == ND6_REACHABLE && !is_permanent(entry))
            entry->counter.reachable_time -= calls * ND6_TMR_INTERVAL;
    }
    for (s16_t i = 0; i < LWIP_ND6_NUM_DESTINATIONS; i++)
        destination_cache[i].age += calls;
    for (s8_t i = 0; i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry != NULL)
            default_router_list[i].invalidation_timer -= calls;
    for (s8_t i = 0; i < LWIP_ND6_NUM_PREFIXES; i++)
        if (prefix_list[i].netif != NULL && prefix_list[i].invalidation_timer != UINT32_MAX)
            prefix_list[i].invalidation_timer -= calls;
    NETIF_FOREACH(netif)
    {
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (is_mortal(netif, i))
                count_address(netif, i, calls);
    }
    nd6_tmr_rs_reduction =
        (u8_t)((nd6_tmr_rs_reduction + solicitation_calls - calls % solicitation_calls) %
               solicitation_calls);
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

struct netif *nd_on_link(const ip6_addr_t *ip, unsigned *prefix)
{
    struct netif *found = NULL;
    for (s8_t i = 0; i < LWIP_ND6_NUM_PREFIXES; i++) {
        const struct nd6_prefix_list_entry *entry = &prefix_list[i];
        if (!route_usable(entry->netif) || entry->invalidation_timer == 0 ||
            !nd6_is_in_prefix(entry, ip) || (found != NULL && entry->prefix_length <= *prefix))
            continue;
        found = entry->netif;
        *prefix = entry->prefix_length;
    }
    return found;
}

int nd_link_prefix(struct netif *netif, const ip6_addr_t *ip)
{
    return ip6_addr_islinklocal(ip) ? 128 : nd6_on_link_prefix(ip, netif);
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
