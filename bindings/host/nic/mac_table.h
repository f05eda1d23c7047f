/*
 * Behind which port of a switch an Ethernet address is (IEEE 802.1D 7.8, 7.9).
 */
#ifndef PYSTACK_HOST_MAC_TABLE_H
#define PYSTACK_HOST_MAC_TABLE_H

#include <stdint.h>

enum { MAC_TABLE_SIZE = 4096 }; /* a newer address takes the place of an older one */

struct learned {
    uint8_t mac[6];
    void *port;
    uint64_t seen_us;
};

struct mac_table {
    struct learned rows[MAC_TABLE_SIZE];
};

/* A frame from this address has come by the port. */
void mac_table_learn(struct mac_table *table, const uint8_t mac[6], void *port, uint64_t now_us);
/* NULL: it is not known, has not been seen for long, or is a group's. */
void *mac_table_find(const struct mac_table *table, const uint8_t mac[6], uint64_t now_us);
void mac_table_forget(struct mac_table *table, const void *port);

#endif
