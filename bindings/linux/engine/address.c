// SPDX-License-Identifier: GPL-2.0
/* Addresses: those of engine.h, and those of socket calls and netlink. */
#include <arpa/inet.h>
#include <string.h>

#include "engine/address.h"

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

size_t width(uint8_t family)
{
    return family == PS_INET ? 4 : 16;
}

int af(uint8_t family)
{
    return family == PS_INET ? AF_INET : AF_INET6;
}

bool is_mapped(const struct ps_address *address)
{
    return address->family == PS_INET6 && memcmp(address->bytes, mapped, sizeof mapped) == 0;
}

static socklen_t to_ipv4(struct sockaddr_in *out, const struct ps_address *address)
{
    out->sin_family = AF_INET;
    out->sin_port = htons(address->port);
    memcpy(&out->sin_addr, address->bytes, 4);
    return sizeof *out;
}

static socklen_t to_ipv6(struct sockaddr_in6 *out, const struct ps_address *address)
{
    out->sin6_family = AF_INET6;
    out->sin6_port = htons(address->port);
    out->sin6_flowinfo = htonl(address->flow);
    out->sin6_scope_id = address->scope;
    if (address->family == PS_INET) {
        memcpy(out->sin6_addr.s6_addr, mapped, sizeof mapped);
        memcpy(out->sin6_addr.s6_addr + sizeof mapped, address->bytes, 4);
    } else {
        memcpy(out->sin6_addr.s6_addr, address->bytes, 16);
    }
    return sizeof *out;
}

socklen_t to_sockaddr(struct sockaddr_storage *out, const struct ps_address *address,
                      uint8_t family)
{
    memset(out, 0, sizeof *out);
    if (address->family == PS_UNSPECIFIED) {
        out->ss_family = AF_UNSPEC;
        return sizeof(struct sockaddr_in);
    }
    /* An IPv6 address for an IPv4 socket is for the kernel to refuse. */
    return family == PS_INET && address->family == PS_INET
               ? to_ipv4((struct sockaddr_in *)out, address)
               : to_ipv6((struct sockaddr_in6 *)out, address);
}

void from_sockaddr(struct ps_address *out, const struct sockaddr_storage *address)
{
    memset(out, 0, sizeof *out);
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        set_ip(out, AF_INET, &in->sin_addr);
        out->port = ntohs(in->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        set_ip(out, AF_INET6, &in->sin6_addr);
        out->port = ntohs(in->sin6_port);
        out->scope = in->sin6_scope_id;
        out->flow = ntohl(in->sin6_flowinfo) & 0xfffff;
    }
}

void set_ip(struct ps_address *out, int family, const void *bytes)
{
    out->family = family == AF_INET ? PS_INET : PS_INET6;
    memcpy(out->bytes, bytes, width(out->family));
}

bool is_link_local(const struct ps_address *a)
{
    return a->family == PS_INET6 && a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
}

bool is_unicast(const struct ps_address *a)
{
    static const uint8_t none[16], all[4] = {255, 255, 255, 255};
    if (memcmp(a->bytes, none, width(a->family)) == 0)
        return false;
    return a->family == PS_INET ? a->bytes[0] >> 4 != 14 && memcmp(a->bytes, all, 4) != 0
                                : a->bytes[0] != 0xff;
}
