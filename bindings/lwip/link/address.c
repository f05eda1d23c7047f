/*
 * Addresses across the border: struct ps_address and lwIP's ip_addr_t.
 */
#include "link/address.h"

#include "base/hooks.h"
#include "base/port.h"
#include "link/interface.h"
#include "lwip/ip6_addr.h"

static const uint8_t mapped_prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

int address_to_lwip(const struct ps_address *address, ip_addr_t *out)
{
    if (address->family == PS_INET) {
        u32_t word;
        memcpy(&word, address->bytes, sizeof word);
        ip_addr_set_ip4_u32_val(*out, word);
        return 0;
    }
    if (address->family != PS_INET6)
        return -EAFNOSUPPORT;
    if (memcmp(address->bytes, mapped_prefix, sizeof mapped_prefix) == 0) {
        u32_t word;
        memcpy(&word, address->bytes + sizeof mapped_prefix, sizeof word);
        ip_addr_set_ip4_u32_val(*out, word);
        return 0;
    }
    ip_addr_set_zero_ip6(out);
    memcpy(ip_2_ip6(out)->addr, address->bytes, sizeof address->bytes);
    /* As in Linux, an address that is the same on all links may have a scope: it is ignored. */
    if (address->scope != 0 && ip6_addr_has_scope(ip_2_ip6(out), IP6_UNKNOWN)) {
        struct netif *netif = interface_by_index(address->scope);
        if (netif == NULL)
            return -ENODEV;
        ip6_addr_assign_zone(ip_2_ip6(out), IP6_UNKNOWN, netif);
    }
    return 0;
}

void address_from_lwip(const ip_addr_t *ip, uint16_t port_number, enum ps_family family,
                       struct ps_address *out)
{
    memset(out, 0, sizeof *out);
    out->port = port_number;
    if (IP_IS_ANY_TYPE_VAL(*ip)) {
        out->family = (uint8_t)family;
        return;
    }
    if (IP_IS_V6(ip)) {
        out->family = PS_INET6;
        memcpy(out->bytes, ip_2_ip6(ip)->addr, sizeof out->bytes);
        if (ip6_addr_has_zone(ip_2_ip6(ip)))
            out->scope = ip6_addr_zone(ip_2_ip6(ip));
        return;
    }
    uint8_t *bytes = out->bytes;
    out->family = (uint8_t)family;
    if (family == PS_INET6) {
        memcpy(bytes, mapped_prefix, sizeof mapped_prefix);
        bytes += sizeof mapped_prefix;
    } else {
        out->family = PS_INET;
    }
    memcpy(bytes, &ip_2_ip4(ip)->addr, 4);
}

bool address_is_ours(const ip_addr_t *ip)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    {
        if (IP_IS_V6(ip)) {
            if (netif_get_ip6_addr_match(netif, ip_2_ip6(ip)) >= 0)
                return true;
        } else if (ip4_addr_eq(netif_ip4_addr(netif), ip_2_ip4(ip))) {
            return true;
        }
    }
    /* All of 127.0.0.0/8 is this host (RFC 1122 3.2.1.3 g). */
    return IP_IS_V4(ip) && ip4_addr_isloopback(ip_2_ip4(ip));
}

bool address_is_elsewhere(const ip_addr_t *ip, uint32_t index)
{
    struct netif *netif = index != 0 ? interface_by_index(index) : NULL;
    return netif != NULL && interface_of(netif) != NULL && IP_IS_V6(ip) &&
           ip6_addr_isloopback(ip_2_ip6(ip));
}

bool hook_ip_is_ours(const ip_addr_t *address)
{
    return address_is_ours(address);
}

bool address_is_broadcast(const ip_addr_t *ip)
{
    struct netif *netif;
    if (!IP_IS_V4(ip) || ip4_addr_isany(ip_2_ip4(ip)))
        return false;
    if (ip_2_ip4(ip)->addr == IPADDR_BROADCAST || ip_2_ip4(ip)->addr == LOOPBACK_BROADCAST)
        return true;
    NETIF_FOREACH(netif)
    {
        if (!ip4_addr_isany_val(*netif_ip4_addr(netif)) &&
            ip4_addr_isbroadcast(ip_2_ip4(ip), netif))
            return true;
    }
    return false;
}

void address_replace_unspecified(const ip_addr_t *local, ip_addr_t *ip)
{
    if (IP_IS_ANY_TYPE_VAL(*ip) || !ip_addr_isany(ip))
        return;
    if (IP_IS_V4(ip) && IP_IS_V4(local) && address_is_ours(local))
        ip_addr_copy(*ip, *local);
    else
        ip_addr_set_loopback(IP_IS_V6(ip) && !IP_IS_V4(local), ip);
}

int address_may_reach(const ip_addr_t *local, const ip_addr_t *to)
{
    if (IP_IS_ANY_TYPE_VAL(*local) || IP_GET_TYPE(local) == IP_GET_TYPE(to))
        return 0;
    return IP_IS_V6(to) ? -EAFNOSUPPORT : -ENETUNREACH;
}
