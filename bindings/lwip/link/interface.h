/*
 * An interface: a netif of lwIP's and what we keep of it.
 */
#ifndef PYSTACK_LWIP_INTERFACE_H
#define PYSTACK_LWIP_INTERFACE_H

#include "engine.h"
#include "lwip/netif.h"

/* Kept here and not in lwIP's MIB, which has 32 bits: a busy minute would wrap them. */
struct port_counters {
    uint64_t in_octets, in_unicast_packets, in_group_packets, in_discards, in_errors;
    uint64_t out_octets, out_unicast_packets, out_group_packets, out_discards;
};

/* A netif of ours. A second IPv4 address on an interface is an alias: a separate netif
 * on the owner's wire, because an lwIP netif has room for one. */
struct port_interface {
    struct netif netif;           /* first: a netif pointer is an interface pointer */
    struct port_interface *owner; /* the interface that an alias belongs to, else NULL */
    struct port_interface *next_alias;
    struct port_counters counters; /* the owner's */
    uint32_t services;             /* PS_IF_DHCP ... */
    uint32_t offloads;             /* enum ps_offloads; the owner's */
    ip4_addr_t unused_address;     /* listed, and out of use (acd.c); any: none */
    uint8_t conflicts;             /* of addresses tried since one was good; the owner's */
    uint8_t layer;
    uint8_t prefix6[LWIP_IPV6_NUM_ADDRESSES]; /* lengths; 64 where nobody said another one */
    char name[PS_NAME_SIZE];
};

/* NULL when there is none; an alias is never found by index. */
struct netif *interface_by_index(uint32_t index);
/* What a PCB that is bound to the interface has for it; one that isn't there fits no packet. */
uint8_t interface_bound_index(uint32_t index);
/* An alias's owner, else the interface itself. */
struct port_interface *interface_owner(struct port_interface *interface);
/* The index that the user knows a netif by: an alias gives its owner's. */
uint32_t interface_index(const struct netif *netif);
struct netif *interface_loopback(void);
/* Ours: every netif but lwIP's own loopback. */
struct port_interface *interface_of(const struct netif *netif);
/* Tells the host that addresses, link or lease of this netif changed. */
void interface_changed(const struct netif *netif);
/* A netif's IPv4 address, in use or not; any: it has none. */
const ip4_addr_t *interface_address(const struct netif *netif);
/* lwIP has just started: its loopback is there. */
void interface_init(void);

#endif
