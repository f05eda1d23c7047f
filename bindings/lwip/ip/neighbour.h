/*
 * Neighbours (neighbour.c), and the ARP and ND tables that it works on. ND's is private to a file
 * of lwIP's, which nd6_unit.c takes in whole to reach it.
 */
#ifndef PYSTACK_LWIP_NEIGHBOUR_H
#define PYSTACK_LWIP_NEIGHBOUR_H

#include "engine.h"
#include "lwip/netif.h"

struct tcp_pcb;

/* A connection has been without an answer for more than one timeout: its next hop is asked whether
 * it is there (RFC 1122 2.3.2.1). */
void neighbour_doubt(const struct tcp_pcb *pcb);
/* When any of them is to be asked again. */
uint64_t neighbours_work_ms(uint64_t next_ms);
/* Whether the tables, by themselves, may send something, give a packet up, or take an address of
 * ours away: more than forget an entry. */
bool neighbours_act_alone(void);
/* A netif is about to go: so do its entries, those too that were set while it was down. */
void neighbours_forget(struct netif *netif);

/* --- the tables ------------------------------------------------------------------------- */

void arp_init(void);
/* Where memory has run out: half of the packets that wait for an address are dropped. */
void arp_shed(void);
void nd_init(void);
/* Asks neighbours again, and gives up those that don't answer: ten times a second. And when there
 * is something to ask, on timeouts.h's clock. */
void arp_tick(void);
void nd_tick(void);
uint64_t arp_step_ms(void);
uint64_t nd_step_ms(void);
/* When lwIP's timer of each family, once a second, has something to do. */
uint64_t arp_age_ms(uint64_t next_ms);
uint64_t nd_work_ms(uint64_t next_ms);
/* Whether the latter may do more than forget an entry. */
bool nd_acts_alone(void);
void nd_skip(uint32_t calls);
/* A connection has got an answer to what it sent, or none for longer than it should have taken: its
 * next hop is there, or is to be asked whether it is. */
void arp_progress(const struct tcp_pcb *pcb);
void arp_doubt(const struct tcp_pcb *pcb);
void nd_doubt(const struct tcp_pcb *pcb);
/* Fills `out` from slot `slot`: 1; 0 for a slot that is empty; -1 past the end. */
int arp_entry_at(size_t slot, struct ps_neighbour *out);
int nd_entry_at(size_t slot, struct ps_neighbour *out);
/* Frees the slot's entry and the packets that wait for it. */
void arp_entry_free(size_t slot);
void nd_entry_free(size_t slot);
/* Whether the MAC of a neighbour is known, and which it is. */
bool nd_mac_of(const ip6_addr_t *ip, uint8_t mac[6]);
/* The netif on whose link an address is because a router says so, of `prefix` bits; NULL: none. */
struct netif *nd_on_link(const ip6_addr_t *ip, unsigned *prefix);
/* How long the prefix is by which an address is on a netif's link; -1: it is behind a router. */
int nd_link_prefix(struct netif *netif, const ip6_addr_t *ip);
/* Makes a permanent entry, in place of one that is there. -ENOMEM: the table is full. */
int arp_entry_add(struct netif *netif, const ip4_addr_t *ip, const uint8_t mac[6]);
int nd_entry_add(struct netif *netif, const ip6_addr_t *ip, const uint8_t mac[6]);

#endif
