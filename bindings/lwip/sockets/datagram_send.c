/*
 * The way out of a datagram: destination, interface, source address, and IP's settings.
 */
#include <errno.h>

#include "base/errors.h"
#include "base/tunables.h"
#include "ip/path_mtu.h"
#include "ip/route.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/ip4.h"
#include "lwip/ip6.h"
#include "lwip/ip6_addr.h"
#include "sockets/datagram.h"

/* Why nothing goes by a scope that isn't there. As in Linux, IPV6_PKTINFO looks for the interface
 * before any route is looked for. */
static int absent_scope(uint32_t scope, const struct ps_send_control *control)
{
    if (control == NULL || control->source.family == PS_UNSPECIFIED)
        return -ENETUNREACH;
    return control->interface != 0 && control->interface != scope ? -EINVAL : -ENODEV;
}

int datagram_destination(const struct port_socket *socket, const struct ps_address *to,
                         const ip_addr_t *local, const struct ps_send_control *control,
                         ip_addr_t *ip)
{
    if (to->family != socket->family)
        return -EAFNOSUPPORT;
    int result = address_to_lwip(to, ip);
    if (result < 0)
        return result == -ENODEV ? absent_scope(to->scope, control) : result;
    if (socket->family == PS_INET6 && socket->options.v6only && IP_IS_V4(ip))
        return -ENETUNREACH;
    address_replace_unspecified(local, ip);
    return 0;
}

/* --- route ---------------------------------------------------------------------------- */

/* The netif of this interface that `to` goes out by: an alias when its network holds the
 * destination, else the interface itself. */
static struct netif *netif_of_interface(uint32_t index, const ip_addr_t *to)
{
    if (IP_IS_V4(to)) {
        struct netif *netif;
        NETIF_FOREACH(netif)
        {
            if (interface_index(netif) == index && netif_is_up(netif) &&
                ip4_addr_net_eq(ip_2_ip4(to), netif_ip4_addr(netif), netif_ip4_netmask(netif)) &&
                !ip4_addr_isany_val(*netif_ip4_addr(netif)))
                return netif;
        }
    }
    return interface_by_index(index);
}

/* Whether some interface has a network that holds the address. */
static bool is_on_link(const ip_addr_t *to)
{
    struct netif *netif;
    if (ip_addr_ismulticast(to) || ip_addr_islinklocal(to) || address_is_ours(to))
        return true;
    NETIF_FOREACH(netif)
    {
        if (IP_IS_V4(to)) {
            if (ip4_addr_isbroadcast(ip_2_ip4(to), netif) ||
                (!ip4_addr_isany_val(*netif_ip4_addr(netif)) &&
                 ip4_addr_net_eq(ip_2_ip4(to), netif_ip4_addr(netif), netif_ip4_netmask(netif))))
                return true;
            continue;
        }
        unsigned prefix;
        if (route_connected(to, interface_index(netif), &prefix) != NULL)
            return true;
    }
    return false;
}

/* The interface that the user asked for in one way or another; 0: none. */
static int chosen_interface(const struct datagram_socket *socket, const ip_addr_t *to,
                            const struct ps_send_control *control, uint32_t *index)
{
    uint32_t zone =
        IP_IS_V6(to) && ip6_addr_has_zone(ip_2_ip6(to)) ? ip6_addr_zone(ip_2_ip6(to)) : 0;
    /* As in Linux, a destination's scope comes before the socket's interface. */
    *index = zone != 0 ? zone : socket->head.options.bound_interface;
    if (control != NULL && control->interface != 0) {
        if (IP_IS_V6(to) && *index != 0 && *index != control->interface)
            return -EINVAL;
        *index = control->interface;
    }
    if (*index == 0 && ip_addr_ismulticast(to))
        *index = IP_IS_V6(to) ? socket->multicast_interface6 : socket->multicast_interface4;
    else if (*index == 0)
        *index = IP_IS_V6(to) ? socket->unicast_interface6 : socket->unicast_interface4;
    return 0;
}

/* What Linux says where the interface that is to be sent by isn't there. */
static int absent_interface(const ip_addr_t *to, const struct ps_send_control *control)
{
    bool asked = control != NULL && control->source.family != PS_UNSPECIFIED;
    return IP_IS_V6(to) && !asked ? -ENETUNREACH : -ENODEV;
}

/* A packet for another host on the loopback interface. */
static bool leads_nowhere(const struct netif *netif, const ip_addr_t *to)
{
    return interface_of(netif) == NULL && !ip_addr_ismulticast(to) && !address_is_ours(to);
}

/* Where a packet goes whose destination is on every link, and that names none: as in Linux, by the
 * first one. NULL: there is none, or none that has the source address. */
static struct netif *first_link(const ip_addr_t *source)
{
    struct netif *netif, *first = NULL;
    NETIF_FOREACH(netif)
    {
        if (interface_of(netif) != NULL && netif_is_up(netif) && netif_is_link_up(netif) &&
            (ip_addr_isany(source) || netif_get_ip6_addr_match(netif, ip_2_ip6(source)) >= 0) &&
            (first == NULL || interface_index(netif) < interface_index(first)))
            first = netif;
    }
    return first;
}

int datagram_check_link(const struct datagram_socket *socket, const ip_addr_t *to)
{
    return IP_IS_V6(to) && ip6_addr_lacks_zone(ip_2_ip6(to), IP6_UNKNOWN) &&
                   socket->head.options.bound_interface == 0 &&
                   !(ip_addr_ismulticast(to) && socket->multicast_interface6 != 0)
               ? -EINVAL
               : 0;
}

/* The source address that was asked for or bound; the wildcard of `to`'s version: none.
 * Group and broadcast addresses may be bound to, but are never a source. */
static int wanted_source(const struct port_socket *socket, const ip_addr_t *local,
                         const ip_addr_t *to, const struct ps_send_control *control, uint32_t index,
                         ip_addr_t *source)
{
    bool asked = control != NULL && control->source.family != PS_UNSPECIFIED;
    if (asked) {
        int result = address_to_lwip(&control->source, source);
        if (result < 0)
            return result;
        if (!ip_addr_isany(source)) {
            if (IP_GET_TYPE(source) != IP_GET_TYPE(to) || ip_addr_ismulticast(source))
                return -EINVAL;
            if (!address_is_ours(source) && !socket->options.transparent &&
                !(socket->options.free_bind && IP_IS_V6(to)))
                return IP_IS_V6(to) ? -EINVAL : -ENETUNREACH;
            return address_is_elsewhere(source, index) ? -EINVAL : 0;
        }
    }
    /* To name none is to take the socket's own in IPv6, and in IPv4 to have one chosen. */
    if ((!asked || IP_IS_V6(to)) && !IP_IS_ANY_TYPE_VAL(*local) && !ip_addr_isany(local) &&
        !ip_addr_ismulticast(local) && !address_is_broadcast(local)) {
        ip_addr_copy(*source, *local);
        /* As in Linux, to be bound to an address that isn't the host's makes no source of it in
         * IPv4 yet. */
        if (socket->options.free_bind && !socket->options.transparent && IP_IS_V4(local) &&
            !address_is_ours(local))
            return -ENETUNREACH;
        return address_may_reach(local, to);
    }
    ip_addr_set_any(IP_IS_V6(to), source);
    return asked ? 0 : address_may_reach(local, to);
}

int datagram_route(const struct datagram_socket *socket, const ip_addr_t *local, ip_addr_t *to,
                   const struct ps_send_control *control, uint32_t flags, struct datagram_path *out)
{
    uint32_t index = 0;
    int result = chosen_interface(socket, to, control, &index);
    /* As in Linux, IPV6_PKTINFO's interface comes before its address. */
    if (result == 0 && IP_IS_V6(to) && control != NULL &&
        control->source.family != PS_UNSPECIFIED && index != 0 &&
        netif_of_interface(index, to) == NULL)
        result = -ENODEV;
    if (result == 0)
        result = wanted_source(&socket->head, local, to, control, index, &out->source);
    if (result < 0)
        return result;
    if ((flags & PS_MSG_DONTROUTE || socket->head.options.dont_route) && !is_on_link(to))
        return -ENETUNREACH;
    if (index != 0) {
        out->netif = netif_of_interface(index, to);
        if (out->netif == NULL)
            return absent_interface(to, control);
        if (!netif_is_up(out->netif) || leads_nowhere(out->netif, to))
            return -ENETUNREACH;
        /* ::1 is on no other link, not even where the destination is an address of ours. */
        if (IP_IS_V6(to) && interface_of(out->netif) != NULL &&
            ip6_addr_isloopback(ip_2_ip6(&out->source)))
            return -ENETUNREACH;
    } else {
        out->netif = IP_IS_V6(to) && ip6_addr_has_scope(ip_2_ip6(to), IP6_UNKNOWN)
                         ? first_link(&out->source)
                         : ip_route(&out->source, to);
        if (out->netif == NULL && IP_IS_V6(to) && ip_addr_ismulticast(to))
            out->netif = first_link(&out->source);
        if (out->netif == NULL || (IP_IS_V6(to) && leads_nowhere(out->netif, to)))
            return -ENETUNREACH;
    }
    if (IP_IS_V6(to) && !(index == 0 && address_is_ours(to)) && !route_reaches6(out->netif, to))
        return -ENETUNREACH;
    if (IP_IS_V6(to)) {
        if (ip6_addr_lacks_zone(ip_2_ip6(to), IP6_UNKNOWN))
            ip6_addr_assign_zone(ip_2_ip6(to), IP6_UNKNOWN, out->netif);
    } else if (!socket->head.options.broadcast && (ip4_addr_isbroadcast(ip_2_ip4(to), out->netif) ||
                                                   ip_2_ip4(to)->addr == LOOPBACK_BROADCAST)) {
        return -EACCES;
    }
    if (ip_addr_isany(&out->source)) {
        const ip_addr_t *source = ip_netif_get_local_ip(out->netif, to);
        if (source == NULL)
            return -EADDRNOTAVAIL;
        ip_addr_copy(out->source, *source);
    }
    /* RFC 1122 3.2.1.3 g: the loopback's addresses never appear outside a host. */
    if (ip_addr_isloopback(&out->source) && interface_of(out->netif) != NULL &&
        !address_is_ours(to))
        return -EINVAL;
    return 0;
}

int datagram_check_bind(const struct port_socket *socket, const ip_addr_t *ip)
{
    if (IP_IS_ANY_TYPE_VAL(*ip) || ip_addr_isany(ip))
        return 0;
    if (socket->family == PS_INET6 && socket->options.bound_interface != 0 &&
        interface_by_index(socket->options.bound_interface) == NULL)
        return -ENODEV;
    if (IP_IS_V6(ip) && ip6_addr_lacks_zone(ip_2_ip6(ip), IP6_UNKNOWN) &&
        socket->options.bound_interface == 0)
        return -EINVAL;
    if (ip_addr_ismulticast(ip))
        return 0;
    if (address_is_elsewhere(ip, socket->options.bound_interface))
        return -EADDRNOTAVAIL;
    return address_is_ours(ip) || address_is_broadcast(ip) || socket->options.free_bind ||
                   socket->options.transparent
               ? 0
               : -EADDRNOTAVAIL;
}

/* --- IP's settings --------------------------------------------------------------------- */

int datagram_ttl(const struct datagram_socket *socket, const ip_addr_t *to,
                 const struct ps_send_control *control)
{
    bool is_v6 = IP_IS_V6(to);
    if (control != NULL && control->ttl != -1)
        return control->ttl < (is_v6 ? 0 : 1) || control->ttl > UINT8_MAX ? -EINVAL : control->ttl;
    if (ip_addr_ismulticast(to))
        return is_v6 ? socket->multicast_hop_limit : socket->multicast_ttl;
    if (is_v6)
        return socket->hop_limit < 0 ? (int)tunables.ip6_hop_limit : socket->hop_limit;
    return socket->ttl < 0 ? (int)tunables.ip_ttl : socket->ttl;
}

int datagram_tos(const struct datagram_socket *socket, const ip_addr_t *to,
                 const struct ps_send_control *control)
{
    if (control != NULL && control->tos != -1)
        return control->tos < 0 || control->tos > UINT8_MAX ? -EINVAL : control->tos;
    return IP_IS_V6(to) ? socket->traffic_class : socket->tos;
}

bool datagram_loops(const struct datagram_socket *socket, const ip_addr_t *to,
                    const struct netif *netif)
{
    /* The loopback interface gives back everything as it is: no second copy. */
    return ip_addr_ismulticast(to) && interface_of(netif) != NULL &&
           (IP_IS_V6(to) ? socket->multicast_loop6 : socket->multicast_loop4);
}

struct pbuf *datagram_payload(pbuf_layer layer, const struct ps_piece *pieces, size_t count,
                              size_t size)
{
    struct pbuf *p = pbuf_alloc(layer, (u16_t)size, PBUF_RAM);
    if (p == NULL)
        return NULL;
    uint8_t *end = p->payload;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size != 0)
            memcpy(end, pieces[i].base, pieces[i].size);
        end += pieces[i].size;
    }
    return p;
}

int datagram_may_send(size_t size, uint32_t flags)
{
    if (size > UINT16_MAX)
        return -EMSGSIZE;
    return flags & PS_MSG_OOB ? -EOPNOTSUPP : 0;
}

int datagram_may_go(struct port_socket *head)
{
    if (head->error != 0)
        return socket_take_error(head);
    return head->shut_write ? -EPIPE : 0;
}

uint64_t datagram_discards(const struct netif *netif)
{
    struct port_interface *interface = netif == NULL ? NULL : interface_of(netif);
    return interface == NULL ? 0 : interface_owner(interface)->counters.out_discards;
}

int datagram_sent(err_t error, const struct netif *netif, uint64_t discards)
{
    output_rules.on = false;
    return error == ERR_MEM && datagram_discards(netif) != discards ? 0 : port_errno(error);
}
