/*
 * Interfaces and their addresses, over lwIP's netifs.
 *
 * An lwIP netif has one IPv4 address. A second one on the same interface is an alias: a
 * separate netif with the same MAC that writes to the same wire. IPv4 packets find an
 * alias by themselves (lwIP accepts a packet for any netif's address); ARP is handed to the
 * netif whose address it is about.
 */
#include <errno.h>
#include <stdio.h>

#include "base/entries.h"
#include "base/hooks.h"
#include "base/memory.h"
#include "ip/neighbour.h"
#include "ip/route.h"
#include "link/address.h"
#include "link/frames.h"
#include "link/offload.h"
#include "lwip/dhcp.h"
#include "lwip/etharp.h"
#include "lwip/ethip6.h"
#include "lwip/igmp.h"
#include "lwip/nd6.h"
#include "lwip/snmp.h"
#include "netif/ethernet.h"
#include "services/acd.h"
#include "services/nameservers.h"
#include "services/services.h"
#include "tables/tables.h"

/* How long an IPv6 prefix is where nobody says another length (RFC 4291 2.5.4). */
enum { PREFIX6 = 64 };

static netif_ext_callback_t change_callback;

static void on_change(struct netif *netif, netif_nsc_reason_t reason,
                      const netif_ext_callback_args_t *arguments)
{
    enum {
        /* Changes that affect which link a destination is on, or which links are usable */
        ROUTES = LWIP_NSC_IPV6_SET | LWIP_NSC_IPV6_ADDR_STATE_CHANGED | LWIP_NSC_STATUS_CHANGED |
                 LWIP_NSC_LINK_CHANGED | LWIP_NSC_NETIF_REMOVED,
    };
    (void)arguments;
    if (reason & ROUTES)
        nd6_clear_destination_cache(); /* RFC 4861 6.3.5 */
    if (reason & ~LWIP_NSC_NETIF_REMOVED)
        interface_changed(netif);
}

void interfaces_init(void)
{
    netif_add_ext_callback(&change_callback, on_change);
}

/* --- life ----------------------------------------------------------------------------- */

static err_t set_up_netif(struct netif *netif)
{
    struct port_interface *interface = (struct port_interface *)netif;
    netif->name[0] = interface->name[0];
    netif->name[1] = interface->name[1];
    netif->linkoutput = interface_frame_out;
    /* The last address of a subnet is its broadcast on point-to-point links, too, as on Linux. */
    netif->flags = NETIF_FLAG_IGMP | NETIF_FLAG_MLD6 | NETIF_FLAG_BROADCAST;
    if (interface_owner(interface)->offloads & PS_OFFLOAD_CHECKSUM)
        netif->chksum_flags &= (u16_t)~NETIF_CHECKSUM_GEN_TCP;
    if (interface->layer == PS_LAYER_ETHERNET) {
        netif->flags |= NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
        netif->output = etharp_output;
        netif->output_ip6 = ethip6_output;
        netif->hwaddr_len = ETH_HWADDR_LEN;
        MIB2_INIT_NETIF(netif, snmp_ifType_ethernet_csmacd, 0);
    } else {
        netif->output = interface_packet_out4;
        netif->output_ip6 = interface_packet_out6;
        MIB2_INIT_NETIF(netif, snmp_ifType_other, 0);
    }
    return ERR_OK;
}

/* Whether lwIP found the memory for the group of all systems (RFC 1112 7.2). It does not say,
 * and asserts later that the group is there. */
static bool joined_all_systems(const struct netif *netif)
{
    return netif_igmp_data(netif) != NULL;
}

static bool mtu_fits(uint32_t mtu)
{
    /* RFC 791: every host takes 68 bytes; above, the 16-bit length of a buffer. */
    return mtu >= 68 && mtu <= PS_MTU_MAXIMUM;
}

static void apply_mtu(struct port_interface *interface, uint32_t mtu)
{
    for (; interface != NULL; interface = interface->next_alias) {
        interface->netif.mtu = (u16_t)mtu;
        interface->netif.mtu6 = (u16_t)mtu;
    }
}

int engine_interface_add(ps_engine *engine, const struct ps_interface *spec)
{
    (void)engine;
    if (!mtu_fits(spec->mtu) || (spec->layer != PS_LAYER_ETHERNET && spec->layer != PS_LAYER_IP))
        return -EINVAL;
    size_t name_length = strnlen(spec->name, PS_NAME_SIZE);
    if (name_length == 0 || name_length == PS_NAME_SIZE)
        return -EINVAL;
    struct netif *other;
    NETIF_FOREACH(other)
    {
        struct port_interface *existing = interface_of(other);
        if (strcmp(existing ? existing->name : "lo", spec->name) == 0)
            return -EEXIST;
    }
    struct port_interface *interface = port_allocate(sizeof *interface);
    if (interface == NULL)
        return -ENOMEM;
    memset(interface->prefix6, PREFIX6, sizeof interface->prefix6);
    interface->layer = spec->layer;
    interface->offloads = spec->offloads;
    memcpy(interface->name, spec->name, name_length + 1);
    struct netif *netif = &interface->netif;
    if (netif_add(netif, NULL, NULL, NULL, NULL, set_up_netif,
                  spec->layer == PS_LAYER_ETHERNET ? ethernet_input : ip_input) == NULL) {
        port_free(interface);
        return -ENFILE; /* lwIP numbers interfaces in 8 bits */
    }
    if (!joined_all_systems(netif)) {
        netif_remove(netif);
        port_free(interface);
        return -ENOMEM;
    }
    memcpy(netif->hwaddr, spec->mac, ETH_HWADDR_LEN);
    apply_mtu(interface, spec->mtu);
    if (spec->layer == PS_LAYER_ETHERNET)
        netif_create_ip6_linklocal_address(netif, 1); /* at index 0, where nd6 looks for it */
    if (spec->flags & PS_IF_LINK)
        netif_set_link_up(netif);
    if (spec->flags & PS_IF_UP)
        netif_set_up(netif);
    return netif_get_index(netif);
}

static void drop_alias(struct port_interface *interface, struct port_interface *alias)
{
    struct port_interface **link = &interface->next_alias;
    while (*link != alias)
        link = &(*link)->next_alias;
    *link = alias->next_alias;
    route_interface_removed(&alias->netif);
    neighbours_forget(&alias->netif);
    netif_remove(&alias->netif);
    port_free(alias);
}

static void remove_interface(struct port_interface *interface)
{
    offload_flush();
    while (interface->next_alias != NULL)
        drop_alias(interface, interface->next_alias);
    services_interface_removed(&interface->netif);
    nameservers_interface_removed(&interface->netif);
    route_interface_removed(&interface->netif);
    neighbours_forget(&interface->netif);
    netif_remove(&interface->netif);
    port_free(interface);
}

int engine_interface_remove(ps_engine *engine, uint32_t index)
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    if (interface_of(netif) == NULL)
        return -EPERM;
    remove_interface(interface_of(netif));
    return 0;
}

void interfaces_close_all(void)
{
    struct netif *netif = netif_list;
    while (netif != NULL) {
        struct port_interface *interface = interface_of(netif);
        if (interface != NULL && interface->owner == NULL) {
            remove_interface(interface);
            netif = netif_list;
        } else {
            netif = netif->next;
        }
    }
}

static int describe(const struct netif *netif, struct ps_interface *out)
{
    const struct port_interface *interface = interface_of(netif);
    memset(out, 0, sizeof *out);
    out->index = netif_get_index(netif);
    out->mtu = netif->mtu;
    out->offloads = interface ? interface->offloads : 0;
    out->layer = interface ? interface->layer : PS_LAYER_IP;
    out->flags = interface ? interface->services : PS_IF_LOOPBACK;
    if (netif_is_up(netif))
        out->flags |= PS_IF_UP;
    if (netif_is_link_up(netif))
        out->flags |= PS_IF_LINK;
    if (netif->flags & NETIF_FLAG_ETHARP)
        out->flags |= PS_IF_BROADCAST;
    memcpy(out->mac, netif->hwaddr, sizeof out->mac);
    snprintf(out->name, sizeof out->name, "%s", interface ? interface->name : "lo");
    return 1;
}

int engine_interface_at(ps_engine *engine, size_t position, struct ps_interface *out)
{
    (void)engine;
    for (uint32_t index = 1; index <= UINT8_MAX; index++) {
        const struct netif *netif = interface_by_index(index);
        if (netif != NULL && position-- == 0)
            return describe(netif, out);
    }
    return 0;
}

/* --- settings ------------------------------------------------------------------------- */

/* The loopback interface has no port_interface, and no aliases. */
static void set_with_aliases(struct netif *netif, void (*set)(struct netif *))
{
    set(netif);
    if (interface_of(netif) != NULL)
        for (struct port_interface *alias = interface_of(netif)->next_alias; alias;
             alias = alias->next_alias)
            set(&alias->netif);
}

int engine_interface_set_up(ps_engine *engine, uint32_t index, bool up)
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    set_with_aliases(netif, up ? netif_set_up : netif_set_down);
    return 0;
}

int engine_interface_set_link(ps_engine *engine, uint32_t index, bool up)
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL || interface_of(netif) == NULL)
        return -ENODEV;
    set_with_aliases(netif, up ? netif_set_link_up : netif_set_link_down);
    return 0;
}

int engine_interface_set_mtu(ps_engine *engine, uint32_t index, uint32_t mtu)
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    if (!mtu_fits(mtu))
        return -EINVAL;
    if (interface_of(netif) == NULL)
        netif->mtu = netif->mtu6 = (u16_t)mtu;
    else
        apply_mtu(interface_of(netif), mtu);
    nd6_clear_destination_cache(); /* which remembers the MTU of each path, at first this one */
    interface_changed(netif);
    return 0;
}

int engine_interface_set_mac(ps_engine *engine, uint32_t index, const uint8_t mac[6])
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    struct port_interface *interface = interface_of(netif);
    if (interface == NULL || interface->layer != PS_LAYER_ETHERNET)
        return -EOPNOTSUPP;
    if (mac[0] & 1 || memcmp(mac, (const uint8_t[6]){0}, ETH_HWADDR_LEN) == 0)
        return -EADDRNOTAVAIL; /* no host has a group's address, or the unspecified one */
    for (struct port_interface *each = interface; each != NULL; each = each->next_alias)
        memcpy(each->netif.hwaddr, mac, ETH_HWADDR_LEN);
    /* Neighbours learn of it as they do from Linux: by a gratuitous ARP, and by a new
     * link-local address. */
    netif_create_ip6_linklocal_address(netif, 1);
    for (struct port_interface *each = interface; each != NULL; each = each->next_alias)
        if (netif_is_up(&each->netif) && netif_is_link_up(&each->netif) &&
            !ip4_addr_isany_val(*netif_ip4_addr(&each->netif)))
            etharp_gratuitous(&each->netif);
    interface_changed(netif);
    return 0;
}

/* --- addresses ------------------------------------------------------------------------ */

static void network_mask(uint8_t prefix, ip4_addr_t *mask)
{
    mask->addr = prefix == 0 ? 0 : lwip_htonl(UINT32_MAX << (32 - prefix));
}

static int add_alias(struct port_interface *interface, const ip4_addr_t *ip, const ip4_addr_t *mask)
{
    struct port_interface *alias = port_allocate(sizeof *alias);
    if (alias == NULL)
        return -ENOMEM;
    alias->owner = interface;
    alias->layer = interface->layer;
    memcpy(alias->name, interface->name, sizeof alias->name);
    struct netif *netif = &alias->netif;
    if (netif_add(netif, ip, mask, NULL, NULL, set_up_netif, interface->netif.input) == NULL) {
        port_free(alias);
        return -ENFILE;
    }
    if (!joined_all_systems(netif)) {
        netif_remove(netif);
        port_free(alias);
        return -ENOMEM;
    }
    memcpy(netif->hwaddr, interface->netif.hwaddr, ETH_HWADDR_LEN);
    netif->mtu = interface->netif.mtu;
    netif->mtu6 = interface->netif.mtu6;
    alias->next_alias = interface->next_alias;
    interface->next_alias = alias;
    if (netif_is_link_up(&interface->netif))
        netif_set_link_up(netif);
    if (netif_is_up(&interface->netif))
        netif_set_up(netif);
    return 0;
}

/* Whether a netif has an address that is not in use. */
static bool is_held(const ip4_addr_t *ip)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (ip4_addr_eq(interface_address(netif), ip))
        return true;
    return false;
}

static int add_ip4(struct netif *netif, const struct ps_address *address, const ip_addr_t *ip)
{
    ip4_addr_t mask;
    if (address->prefix > 32)
        return -EINVAL;
    network_mask(address->prefix, &mask);
    if (address_is_ours(ip) || is_held(ip_2_ip4(ip)))
        return -EEXIST;
    if (ip4_addr_ismulticast(ip_2_ip4(ip)) || ip4_addr_isany(ip_2_ip4(ip)) ||
        ip_2_ip4(ip)->addr == IPADDR_BROADCAST)
        return -EINVAL;
    if (interface_of(netif) == NULL)
        return -EOPNOTSUPP; /* the loopback keeps 127.0.0.1 and ::1 */
    /* A service that is to configure the interface needs the netif's own address. */
    if (!ip4_addr_isany(interface_address(netif)) ||
        (interface_of(netif)->services & (PS_IF_DHCP | PS_IF_AUTOIP)))
        return add_alias(interface_of(netif), ip_2_ip4(ip), &mask);
    netif_set_addr(netif, ip_2_ip4(ip), &mask, netif_ip4_gw(netif));
    return 0;
}

static int add_ip6(struct netif *netif, const struct ps_address *address, ip_addr_t *ip,
                   bool detect)
{
    s8_t position;
    if (address->prefix > 128 || ip6_addr_ismulticast(ip_2_ip6(ip)) || ip6_addr_isany(ip_2_ip6(ip)))
        return -EINVAL;
    if (interface_of(netif) == NULL)
        return -EOPNOTSUPP;
    ip6_addr_assign_zone(ip_2_ip6(ip), IP6_UNICAST, netif);
    if (netif_get_ip6_addr_match(netif, ip_2_ip6(ip)) >= 0)
        return -EEXIST;
    err_t error = netif_add_ip6_address(netif, ip_2_ip6(ip), &position);
    if (error != ERR_OK)
        return -ENOSPC;
    interface_of(netif)->prefix6[position] = address->prefix;
    netif_ip6_addr_set_valid_life(netif, position, IP6_ADDR_LIFE_STATIC);
    netif_ip6_addr_set_pref_life(netif, position, IP6_ADDR_LIFE_INFINITE);
    netif_ip6_addr_set_state(netif, position, detect ? IP6_ADDR_TENTATIVE : IP6_ADDR_PREFERRED);
    return 0;
}

/* Whose address is meant, and which. */
static int find(uint32_t index, const struct ps_address *address, struct netif **netif,
                ip_addr_t *ip)
{
    *netif = interface_by_index(index);
    return *netif == NULL ? -ENODEV : address_to_lwip(address, ip);
}

int engine_address_add(ps_engine *engine, uint32_t index, const struct ps_address *address,
                       bool detect)
{
    (void)engine;
    ip_addr_t ip;
    struct netif *netif;
    int result = find(index, address, &netif, &ip);
    if (result < 0)
        return result;
    if (IP_IS_V6(&ip))
        return add_ip6(netif, address, &ip, detect);
    result = add_ip4(netif, address, &ip);
    if (result == 0 && detect) {
        result = service_watch_conflicts(netif, ip_2_ip4(&ip));
        if (result < 0)
            engine_address_remove(engine, index, address);
    }
    return result;
}

int engine_address_remove(ps_engine *engine, uint32_t index, const struct ps_address *address)
{
    (void)engine;
    ip_addr_t ip;
    struct netif *netif;
    int result = find(index, address, &netif, &ip);
    if (result < 0)
        return result;
    struct port_interface *interface = interface_of(netif);
    if (interface == NULL)
        return -EOPNOTSUPP;
    if (IP_IS_V6(&ip)) {
        ip6_addr_assign_zone(ip_2_ip6(&ip), IP6_UNICAST, netif);
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (!ip6_addr_isinvalid(netif_ip6_addr_state(netif, i)) &&
                ip6_addr_eq(netif_ip6_addr(netif, i), ip_2_ip6(&ip))) {
                netif_ip6_addr_set_state(netif, i, IP6_ADDR_INVALID);
                interface->prefix6[i] = PREFIX6;
                return 0;
            }
        return -EADDRNOTAVAIL;
    }
    for (struct port_interface *alias = interface->next_alias; alias; alias = alias->next_alias)
        if (ip4_addr_eq(interface_address(&alias->netif), ip_2_ip4(&ip))) {
            drop_alias(interface, alias);
            return 0;
        }
    if (ip4_addr_isany(ip_2_ip4(&ip)) || !ip4_addr_eq(interface_address(netif), ip_2_ip4(&ip)))
        return -EADDRNOTAVAIL;
    service_address_removed(netif);
    netif_set_addr(netif, NULL, NULL, NULL);
    return 0;
}

int engine_address_prefer(ps_engine *engine, uint32_t index, const struct ps_address *address,
                          bool preferred)
{
    (void)engine;
    ip_addr_t ip;
    struct netif *netif;
    int result = find(index, address, &netif, &ip);
    if (result < 0)
        return result;
    if (!IP_IS_V6(&ip))
        return -EINVAL;
    ip6_addr_assign_zone(ip_2_ip6(&ip), IP6_UNICAST, netif);
    s8_t i = netif_get_ip6_addr_match(netif, ip_2_ip6(&ip));
    if (i < 0 || !ip6_addr_isvalid(netif_ip6_addr_state(netif, i)))
        return -EADDRNOTAVAIL;
    netif_ip6_addr_set_state(netif, i, preferred ? IP6_ADDR_PREFERRED : IP6_ADDR_DEPRECATED);
    return 0;
}

static uint8_t prefix_length(const ip4_addr_t *mask)
{
    return (uint8_t)__builtin_popcount(mask->addr);
}

static void describe_ip4(struct netif *netif, struct ps_interface_address *out)
{
    ip_addr_t ip;
    ip_addr_copy_from_ip4(ip, *interface_address(netif));
    memset(out, 0, sizeof *out);
    address_from_lwip(&ip, 0, PS_INET, &out->address);
    out->address.prefix = prefix_length(netif_ip4_netmask(netif));
    out->interface = interface_index(netif);
    out->origin = (uint8_t)service_origin(netif);
    out->state = (uint8_t)service_address_state(netif);
    out->valid_s = out->preferred_s = UINT32_MAX;
}

static void describe_ip6(struct netif *netif, s8_t position, struct ps_interface_address *out)
{
    u8_t state = netif_ip6_addr_state(netif, position);
    memset(out, 0, sizeof *out);
    address_from_lwip(netif_ip_addr6(netif, position), 0, PS_INET6, &out->address);
    out->interface = interface_index(netif);
    out->address.prefix = hook_ip6_prefix_length(netif, position);
    out->state = ip6_addr_isduplicated(state)  ? PS_ADDRESS_DUPLICATE
                 : ip6_addr_istentative(state) ? PS_ADDRESS_TENTATIVE
                 : ip6_addr_ispreferred(state) || interface_of(netif) == NULL
                     ? PS_ADDRESS_PREFERRED
                     : PS_ADDRESS_DEPRECATED;
    bool is_static = netif_ip6_addr_isstatic(netif, position);
    out->origin = !is_static ? PS_ORIGIN_SLAAC
                  : ip6_addr_islinklocal(netif_ip6_addr(netif, position)) && position == 0
                      ? PS_ORIGIN_LINK_LOCAL
                      : PS_ORIGIN_STATIC;
    out->valid_s = is_static ? UINT32_MAX : netif_ip6_addr_valid_life(netif, position);
    out->preferred_s = is_static ? UINT32_MAX : netif_ip6_addr_pref_life(netif, position);
}

int engine_address_at(ps_engine *engine, size_t position, struct ps_interface_address *out)
{
    (void)engine;
    for (uint32_t index = 1; index <= UINT8_MAX; index++) {
        struct netif *netif = netif_get_by_index((u8_t)index);
        if (netif == NULL)
            continue;
        if (!ip4_addr_isany(interface_address(netif)) && position-- == 0) {
            describe_ip4(netif, out);
            return 1;
        }
        for (s8_t i = 0; i < LWIP_IPV6_NUM_ADDRESSES; i++)
            if (!ip6_addr_isinvalid(netif_ip6_addr_state(netif, i)) && position-- == 0) {
                describe_ip6(netif, i, out);
                return 1;
            }
    }
    return 0;
}
