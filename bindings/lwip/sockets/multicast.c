/*
 * Multicast memberships of sockets (RFC 1112, RFC 3376 for the filter by source).
 *
 * A membership belongs to the socket: it is left when the socket closes. lwIP speaks
 * IGMPv2 and MLDv1, which know no sources, so a membership with a source joins the whole
 * group on the link and filters what arrives.
 */
#include <errno.h>

#include "base/errors.h"
#include "base/memory.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/igmp.h"
#include "lwip/mld6.h"
#include "sockets/datagram.h"

struct membership {
    struct membership *next;
    ip_addr_t group;
    ip_addr_t source; /* IPADDR_TYPE_ANY: every source */
    uint32_t interface;
};

static bool has_source(const struct membership *membership)
{
    return !IP_IS_ANY_TYPE_VAL(membership->source);
}

/* An interface that goes takes the memberships on it along; lwIP has its own part of them
 * freed by then or frees it next. */
static void on_netif_change(struct netif *netif, netif_nsc_reason_t reason,
                            const netif_ext_callback_args_t *arguments)
{
    (void)arguments;
    if (!(reason & LWIP_NSC_NETIF_REMOVED))
        return;
    size_t position = 0;
    struct port_socket *head;
    while ((head = socket_next(&position)) != NULL) {
        if (head->kind->membership == NULL)
            continue;
        struct membership **link = &((struct datagram_socket *)head)->memberships;
        while (*link != NULL) {
            struct membership *membership = *link;
            if (membership->interface == netif_get_index(netif)) {
                *link = membership->next;
                port_free(membership);
            } else {
                link = &membership->next;
            }
        }
    }
}

static void watch_interfaces(void)
{
    static netif_ext_callback_t callback;
    static bool watching;
    if (!watching)
        netif_add_ext_callback(&callback, on_netif_change);
    watching = true;
}

static struct netif *group_netif(const ip_addr_t *group, uint32_t index)
{
    if (index != 0)
        return interface_by_index(index);
    ip_addr_t any;
    ip_addr_set_any(IP_IS_V6(group), &any);
    struct netif *netif = ip_route(&any, group);
    if (netif != NULL)
        return interface_by_index(interface_index(netif));
    /* Linux has a route for ff00::/8 on each interface. */
    if (IP_IS_V6(group))
        NETIF_FOREACH(netif)
        {
            const struct port_interface *interface = interface_of(netif);
            if (interface != NULL && interface->owner == NULL && netif_is_up(netif))
                return netif;
        }
    return NULL;
}

static int join_on_link(struct netif *netif, const ip_addr_t *group)
{
    err_t error = IP_IS_V6(group) ? mld6_joingroup_netif(netif, ip_2_ip6(group))
                                  : igmp_joingroup_netif(netif, ip_2_ip4(group));
    /* ERR_VAL: the interface does not speak IGMP. */
    return error == ERR_VAL ? -ENODEV : port_errno(error);
}

static void leave(struct membership *membership)
{
    struct netif *netif = interface_by_index(membership->interface);
    if (netif != NULL) {
        if (IP_IS_V6(&membership->group))
            mld6_leavegroup_netif(netif, ip_2_ip6(&membership->group));
        else
            igmp_leavegroup_netif(netif, ip_2_ip4(&membership->group));
    }
    port_free(membership);
}

void multicast_leave_all(struct datagram_socket *socket)
{
    while (socket->memberships != NULL) {
        struct membership *membership = socket->memberships;
        socket->memberships = membership->next;
        leave(membership);
    }
}

static bool is_same_group(const struct membership *a, const struct membership *b)
{
    return a->interface == b->interface && ip_addr_eq(&a->group, &b->group);
}

static int join(struct datagram_socket *socket, struct netif *netif,
                const struct membership *wanted)
{
    for (const struct membership *each = socket->memberships; each; each = each->next) {
        if (!is_same_group(each, wanted))
            continue;
        if (!has_source(wanted))
            return -EADDRINUSE;
        if (!has_source(each))
            return -EINVAL;
        if (ip_addr_eq(&each->source, &wanted->source))
            return -EADDRNOTAVAIL;
    }
    struct membership *membership = port_allocate(sizeof *membership);
    if (membership == NULL)
        return -ENOMEM;
    *membership = *wanted;
    int result = join_on_link(netif, &membership->group);
    if (result < 0) {
        port_free(membership);
        return result;
    }
    watch_interfaces();
    membership->next = socket->memberships;
    socket->memberships = membership;
    return 0;
}

/* Without a source all of the group's memberships go, as in Linux. */
static int leave_matching(struct datagram_socket *socket, const struct membership *wanted)
{
    int result = -EADDRNOTAVAIL;
    struct membership **link = &socket->memberships;
    while (*link != NULL) {
        struct membership *each = *link;
        if (is_same_group(each, wanted) &&
            (!has_source(wanted) ||
             (has_source(each) && ip_addr_eq(&each->source, &wanted->source)))) {
            *link = each->next;
            leave(each);
            result = 0;
        } else {
            link = &each->next;
        }
    }
    return result;
}

int multicast_membership(struct port_socket *head, bool joining,
                         const struct ps_membership *membership)
{
    struct datagram_socket *socket = (struct datagram_socket *)head;
    struct membership wanted = {.source = IPADDR_ANY_TYPE_INIT};
    /* An IPv6 socket may join IPv4 groups (Linux's IPPROTO_IP on it), not the reverse. */
    if (head->family == PS_INET && membership->group.family == PS_INET6)
        return -ENOPROTOOPT;
    int result = address_to_lwip(&membership->group, &wanted.group);
    if (result == 0 && membership->source.family != PS_UNSPECIFIED)
        result = address_to_lwip(&membership->source, &wanted.source);
    if (result < 0)
        return result;
    if (!ip_addr_ismulticast(&wanted.group) ||
        (has_source(&wanted) && IP_GET_TYPE(&wanted.source) != IP_GET_TYPE(&wanted.group)))
        return -EINVAL;
    struct netif *netif = group_netif(&wanted.group, membership->interface);
    if (netif == NULL)
        return -ENODEV;
    wanted.interface = interface_index(netif);
    if (IP_IS_V6(&wanted.group)) {
        ip6_addr_assign_zone(ip_2_ip6(&wanted.group), IP6_MULTICAST, netif);
        if (has_source(&wanted))
            ip6_addr_assign_zone(ip_2_ip6(&wanted.source), IP6_UNICAST, netif);
    }
    return joining ? join(socket, netif, &wanted) : leave_matching(socket, &wanted);
}

bool multicast_accepts(const struct datagram_socket *socket, const ip_addr_t *group,
                       const ip_addr_t *from, uint32_t interface)
{
    bool is_member = false;
    for (const struct membership *each = socket->memberships; each; each = each->next) {
        if (each->interface != interface || !ip_addr_eq(&each->group, group))
            continue;
        if (!has_source(each) || ip_addr_eq(&each->source, from))
            return true;
        is_member = true;
    }
    /* A socket that has not joined hears what others have joined, if it is to. */
    return !is_member && (IP_IS_V6(group) ? socket->multicast_all6 : socket->multicast_all4);
}
