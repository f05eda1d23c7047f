/*
 * Neighbours: ARP's table and ND's as one.
 */
#include <errno.h>

#include "base/entries.h"
#include "base/hooks.h"
#include "ip/neighbour.h"
#include "link/address.h"
#include "link/interface.h"

int engine_neighbour_at(ps_engine *engine, size_t position, struct ps_neighbour *out)
{
    (void)engine;
    int (*const tables[])(size_t, struct ps_neighbour *) = {arp_entry_at, nd_entry_at};
    for (size_t table = 0; table < 2; table++) {
        int found;
        for (size_t slot = 0; (found = tables[table](slot, out)) >= 0; slot++)
            if (found > 0 && position-- == 0)
                return 1;
    }
    return 0;
}

/* The netif that resolves an address on this interface: for IPv4 perhaps an alias. */
static struct netif *resolver_of(struct netif *netif, const ip_addr_t *ip)
{
    if (IP_IS_V6(ip))
        return netif;
    for (struct port_interface *each = interface_of(netif); each != NULL; each = each->next_alias)
        if (ip4_addr_net_eq(ip_2_ip4(ip), netif_ip4_addr(&each->netif),
                            netif_ip4_netmask(&each->netif)))
            return &each->netif;
    /* On none of our networks: the interface of an on-link route. */
    struct netif *way = hook_ip4_route(NULL, ip_2_ip4(ip));
    return way != NULL && interface_index(way) == interface_index(netif) ? way : netif;
}

int engine_neighbour_add(ps_engine *engine, const struct ps_neighbour *neighbour)
{
    (void)engine;
    ip_addr_t ip;
    struct netif *netif = interface_by_index(neighbour->interface);
    if (netif == NULL)
        return -ENODEV;
    if (interface_of(netif) == NULL || interface_of(netif)->layer != PS_LAYER_ETHERNET)
        return -EOPNOTSUPP;
    int result = address_to_lwip(&neighbour->address, &ip);
    if (result < 0)
        return result;
    if (ip_addr_isany(&ip) || ip_addr_ismulticast(&ip))
        return -EINVAL;
    if (IP_IS_V4(&ip))
        return arp_entry_add(resolver_of(netif, &ip), ip_2_ip4(&ip), neighbour->mac);
    ip6_addr_assign_zone(ip_2_ip6(&ip), IP6_UNICAST, netif);
    return nd_entry_add(netif, ip_2_ip6(&ip), neighbour->mac);
}

static bool matches(const struct ps_neighbour *entry, uint32_t index,
                    const struct ps_address *address)
{
    return entry->interface == index && entry->address.family == address->family &&
           memcmp(entry->address.bytes, address->bytes, sizeof address->bytes) == 0;
}

int engine_neighbour_remove(ps_engine *engine, uint32_t index, const struct ps_address *address)
{
    (void)engine;
    struct ps_neighbour entry;
    int found;
    if (interface_by_index(index) == NULL)
        return -ENODEV;
    for (size_t slot = 0; (found = arp_entry_at(slot, &entry)) >= 0; slot++)
        if (found > 0 && matches(&entry, index, address)) {
            arp_entry_free(slot);
            return 0;
        }
    for (size_t slot = 0; (found = nd_entry_at(slot, &entry)) >= 0; slot++)
        if (found > 0 && matches(&entry, index, address)) {
            nd_entry_free(slot);
            return 0;
        }
    return -ESRCH;
}

int engine_neighbour_flush(ps_engine *engine, uint32_t index, enum ps_family family, bool all)
{
    (void)engine;
    struct ps_neighbour entry;
    int found, freed = 0;
    if (index != 0 && interface_by_index(index) == NULL)
        return -ENODEV;
    for (size_t slot = 0; family != PS_INET6 && (found = arp_entry_at(slot, &entry)) >= 0; slot++)
        if (found > 0 && (index == 0 || entry.interface == index) &&
            (all || entry.state != PS_NEIGHBOUR_PERMANENT)) {
            arp_entry_free(slot);
            freed++;
        }
    for (size_t slot = 0; family != PS_INET && (found = nd_entry_at(slot, &entry)) >= 0; slot++)
        if (found > 0 && (index == 0 || entry.interface == index) &&
            (all || entry.state != PS_NEIGHBOUR_PERMANENT)) {
            nd_entry_free(slot);
            freed++;
        }
    return freed;
}
