/*
 * Addresses across the border: struct ps_address and lwIP's ip_addr_t.
 */
#include "lwip/ip6_addr.h"
#include "port.h"

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
    if (address->scope != 0) {
        struct netif *netif = interface_by_index(address->scope);
        if (netif == NULL)
            return -EINVAL;
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
        if (ip4_addr_isany_val(*ip_2_ip4(ip)))
            return;
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
