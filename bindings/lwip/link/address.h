/*
 * Addresses across the border: struct ps_address and lwIP's ip_addr_t.
 */
#ifndef PYSTACK_LWIP_ADDRESS_H
#define PYSTACK_LWIP_ADDRESS_H

#include "engine.h"
#include "lwip/ip_addr.h"

/* -EINVAL for a family that is neither, or a scope that is no interface. */
int address_to_lwip(const struct ps_address *address, ip_addr_t *out);
/* ANY-type addresses become the wildcard of `family`. */
void address_from_lwip(const ip_addr_t *ip, uint16_t port_number, enum ps_family family,
                       struct ps_address *out);
bool address_is_ours(const ip_addr_t *ip);
/* Whether it is ::1, and the interface isn't its own (RFC 4291 2.5.3); index 0: of no interface. */
bool address_is_elsewhere(const ip_addr_t *ip, uint32_t index);
#define LOOPBACK_BROADCAST PP_HTONL(IPADDR_LOOPBACK | 0x00ffffffUL)
/* To all of a network of ours, or of the loopback's. */
bool address_is_broadcast(const ip_addr_t *ip);
/* The unspecified address as a destination means this host, as in Linux: the address that the
 * socket is bound to, or the loopback's. */
void address_replace_unspecified(const ip_addr_t *local, ip_addr_t *ip);
/* Whether what is bound to `local` can send to `to`; else what Linux says: an IPv6 socket may be
 * bound to an address of one version and be told one of the other. */
int address_may_reach(const ip_addr_t *local, const ip_addr_t *to);

#endif
