/*
 * Behind which port of a switch an Ethernet address is.
 */
#include "nic/mac_table.h"

#include <stddef.h>
#include <string.h>

#define AGING_US (300 * UINT64_C(1000000)) /* IEEE 802.1D table 7-5 */

static size_t place(const uint8_t mac[6])
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (int i = 0; i < 6; i++)
        hash = (hash ^ mac[i]) * 16777619u;
    return hash % MAC_TABLE_SIZE;
}

void mac_table_learn(struct mac_table *table, const uint8_t mac[6], void *port, uint64_t now_us)
{
    if (mac[0] & 1)
        return;
    struct learned *entry = &table->rows[place(mac)];
    memcpy(entry->mac, mac, sizeof entry->mac);
    entry->port = port;
    entry->seen_us = now_us;
}

void *mac_table_find(const struct mac_table *table, const uint8_t mac[6], uint64_t now_us)
{
    const struct learned *entry = &table->rows[place(mac)];
    if ((mac[0] & 1) || entry->port == NULL || memcmp(entry->mac, mac, sizeof entry->mac) != 0)
        return NULL;
    return now_us - entry->seen_us < AGING_US ? entry->port : NULL;
}

void mac_table_forget(struct mac_table *table, const void *port)
{
    for (size_t i = 0; i < MAC_TABLE_SIZE; i++)
        if (table->rows[i].port == port)
            table->rows[i].port = NULL;
}
