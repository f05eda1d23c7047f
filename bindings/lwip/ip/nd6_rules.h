/*
 * What lwIP's nd6.c asks of a message, a prefix, a router and its table of destinations, where the
 * answer takes more than a line. nd6_unit.c includes this in front of nd6.c, whose patches call it.
 */
#ifndef ND6_RULES_H
#define ND6_RULES_H

#include "lwip/pbuf.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/prot/nd6.h"

/* --- messages --------------------------------------------------------------------------------- */

/* Whether a message's options are whole: none has the length zero or ends past the message. */
static int nd6_options_valid(struct pbuf *p, u16_t offset)
{
    while (offset < p->tot_len) {
        int octets = pbuf_try_get_at(p, (u16_t)(offset + 1)) * 8;
        if (octets <= 0 || octets > p->tot_len - offset)
            return 0;
        offset = (u16_t)(offset + octets);
    }
    return 1;
}

/* The offset of the first option of a type and of a length within bounds, in a message whose
 * options are valid; the message's end: there is none. */
static u16_t nd6_find_option(struct pbuf *p, u16_t offset, u8_t type, u16_t least, u16_t most)
{
    while (offset < p->tot_len) {
        u16_t octets = (u16_t)(pbuf_get_at(p, (u16_t)(offset + 1)) * 8);
        if (pbuf_get_at(p, offset) == type && octets >= least && octets <= most)
            break;
        offset = (u16_t)(offset + octets);
    }
    return offset;
}

/* The hardware address in an option of this type, to be used before the next call; NULL: none. */
static const u8_t *nd6_get_lladdr(struct pbuf *p, u16_t offset, u8_t type,
                                  const struct netif *netif)
{
    static u8_t lladdr[NETIF_MAX_HWADDR_LEN];
    u16_t least = (u16_t)(ND6_LLADDR_OPTION_MIN_LENGTH + netif->hwaddr_len);
    offset = nd6_find_option(p, offset, type, least, UINT16_MAX);
    if (offset >= p->tot_len)
        return NULL;
    pbuf_copy_partial(p, lladdr, netif->hwaddr_len, (u16_t)(offset + 2));
    return lladdr;
}

/* Whether a hardware address can be a station's own: not a group's, and not none. */
static int nd6_is_station(const u8_t *lladdr, const struct netif *netif)
{
    u8_t any = 0;
    for (u8_t i = 0; i < netif->hwaddr_len; i++)
        any |= lladdr[i];
    return netif->hwaddr_len == 0 || (any != 0 && (lladdr[0] & 1) == 0);
}

/* What tells our own solicitations, should they come back, from others' (RFC 7527). */
#define ND6_NONCE_LENGTH 6
static u8_t nd6_nonce[ND6_NONCE_LENGTH];

/* Whether a solicitation has our nonce in it. */
static int nd6_is_ours(struct pbuf *p)
{
    const u16_t size = 2 + ND6_NONCE_LENGTH;
    u16_t offset = nd6_find_option(p, sizeof(struct ns_header), ND6_OPTION_TYPE_NONCE, size, size);
    return offset < p->tot_len &&
           pbuf_memcmp(p, (u16_t)(offset + 2), nd6_nonce, ND6_NONCE_LENGTH) == 0;
}

/* --- prefixes and routers --------------------------------------------------------------------- */

/* Whether the first bits of two addresses are the same. */
static int nd6_is_in_network(const ip6_addr_t *addr, const ip6_addr_t *network, u8_t length)
{
    for (u8_t i = 0; length > 0; i++) {
        u8_t bits = LWIP_MIN(length, 32);
        u32_t mask = lwip_htonl(0xffffffffUL << (32 - bits));
        if ((network->addr[i] ^ addr->addr[i]) & mask)
            return 0;
        length = (u8_t)(length - bits);
    }
    return 1;
}

/* Whether an address is in a prefix, of whatever length (RFC 4861 4.6.2). */
static int nd6_is_in_prefix(const struct nd6_prefix_list_entry *entry, const ip6_addr_t *addr)
{
    return nd6_is_in_network(addr, &entry->prefix, entry->prefix_length);
}

/* How much a router wants to be used: 0 little, 1, 2 much (RFC 4191 2.1). */
static int nd6_router_preference(const struct nd6_router_list_entry *router)
{
    switch (router->flags & ND6_RA_PREFERENCE_MASK) {
    case ND6_RA_PREFERENCE_HIGH:
        return 2;
    case ND6_RA_PREFERENCE_LOW:
        return 0;
    default:
        return 1;
    }
}

/* ReachableTime: a random part or multiple of what is advertised (RFC 4861 6.3.4). */
static u32_t nd6_random_reachable_time(void)
{
    return reachable_time / 2 + LWIP_RAND() % (reachable_time + 1);
}

/* --- destinations ----------------------------------------------------------------------------- */

/* Forget a destination, if there is one in the entry. */
static void nd6_free_destination_cache_entry(s16_t i)
{
    if (ip6_addr_isany(&destination_cache[i].destination_addr))
        return;
    ip6_addr_set_any(&destination_cache[i].destination_addr);
    LWIP_HOOK_ND6_DESTINATION_FREED(i);
}

/* Forget the destinations that are reached by a neighbour: another next hop is looked for. */
static void nd6_forget_next_hop(const ip6_addr_t *next_hop)
{
    for (s16_t i = 0; i < LWIP_ND6_NUM_DESTINATIONS; i++)
        if (ip6_addr_eq(&destination_cache[i].next_hop_addr, next_hop))
            nd6_free_destination_cache_entry(i);
}

/* Forget the destinations that are reached by default routers: there is a new order of them. */
static void nd6_forget_routed_destinations(void)
{
    for (s8_t i = 0; i < LWIP_ND6_NUM_ROUTERS; i++)
        if (default_router_list[i].neighbor_entry != NULL)
            nd6_forget_next_hop(&default_router_list[i].neighbor_entry->next_hop_address);
}

#endif
