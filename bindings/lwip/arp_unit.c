/*
 * lwIP's etharp.c, and our way into the table that it keeps to itself.
 */
#include <src/core/ipv4/etharp.c>

#include "neighbour_tables.h"

int arp_entry_at(size_t slot, struct ps_neighbour *out)
{
    if (slot >= ARP_TABLE_SIZE)
        return -1;
    const struct etharp_entry *entry = &arp_table[slot];
    if (entry->state == ETHARP_STATE_EMPTY)
        return 0;
    ip_addr_t ip;
    ip_addr_copy_from_ip4(ip, entry->ipaddr);
    memset(out, 0, sizeof *out);
    out->interface = interface_index(entry->netif);
    address_from_lwip(&ip, 0, PS_INET, &out->address);
    memcpy(out->mac, entry->ethaddr.addr, sizeof out->mac);
    out->age_s = entry->ctime * ARP_TMR_INTERVAL / 1000;
    out->state = entry->state == ETHARP_STATE_PENDING  ? PS_NEIGHBOUR_INCOMPLETE
                 : entry->state == ETHARP_STATE_STATIC ? PS_NEIGHBOUR_PERMANENT
                 : entry->state == ETHARP_STATE_STABLE ? PS_NEIGHBOUR_REACHABLE
                                                       : PS_NEIGHBOUR_PROBE;
    return 1;
}

void arp_entry_free(size_t slot)
{
    etharp_free_entry((int)slot);
}

int arp_entry_add(struct netif *netif, const ip4_addr_t *ip, const uint8_t mac[6])
{
    struct eth_addr address;
    memcpy(address.addr, mac, sizeof address.addr);
    return port_errno(etharp_update_arp_entry(netif, ip, &address,
                                              ETHARP_FLAG_TRY_HARD | ETHARP_FLAG_STATIC_ENTRY));
}
