// SPDX-License-Identifier: GPL-2.0
/* Addresses: those of engine.h, and those of socket calls and netlink. */
#ifndef PYSTACK_LINUX_ADDRESS_H
#define PYSTACK_LINUX_ADDRESS_H

#include <sys/socket.h>

#include "engine/linux.h"

/* Bytes of an address of this family. */
size_t width(uint8_t family);
/* AF_INET or AF_INET6. */
int af(uint8_t family);

/* What a socket of `family` takes as its address; an IPv4 one is mapped for an IPv6 socket. An
 * address without a family becomes AF_UNSPEC, which dissolves an association. Returns its size. */
socklen_t to_sockaddr(struct sockaddr_storage *out, const struct ps_address *address,
                      uint8_t family);
void from_sockaddr(struct ps_address *out, const struct sockaddr_storage *address);

/* An address without port or scope. */
void set_ip(struct ps_address *out, int family, const void *bytes);
bool is_mapped(const struct ps_address *address);
/* Whether it is in fe80::/10. */
bool is_link_local(const struct ps_address *address);
/* Not unspecified, multicast or broadcast: a host can have it. */
bool is_unicast(const struct ps_address *address);

#endif
