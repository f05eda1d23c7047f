/*
 * How large a datagram may be, and who may cut it (Linux's ip(7) and ipv6(7): IP_MTU_DISCOVER,
 * IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_DONTFRAG).
 */
#include <errno.h>

#include "ip/path_mtu.h"
#include "link/address.h"
#include "sockets/datagram.h"
#include "sockets/error_queue.h"

static enum pmtu_mode mode(const struct port_socket *socket, const ip_addr_t *to)
{
    return (enum pmtu_mode)(IP_IS_V6(to) ? socket->discovery.mode6 : socket->discovery.mode4);
}

/* Ignores the MTU the user set. A packet too long for a link may be for an address of ours,
 * whichever interface has it. */
static uint16_t known_mtu(const struct port_socket *socket, const ip_addr_t *to,
                          const struct netif *netif, size_t size)
{
    uint16_t mtu = IP_IS_V6(to) ? netif->mtu6 : netif->mtu;
    if (mode(socket, to) < PMTU_PROBE)
        mtu = path_mtu(to, mtu);
    return size > mtu && address_is_ours(to) ? UINT16_MAX : mtu;
}

static uint16_t chosen_mtu(const struct port_socket *socket, const ip_addr_t *to, uint16_t mtu)
{
    uint32_t least = IP_IS_V6(to) ? socket->discovery.least6 : 0;
    return least != 0 && least < mtu ? (uint16_t)least : mtu;
}

uint16_t datagram_mtu(const struct port_socket *socket, const ip_addr_t *to,
                      const struct netif *netif, size_t size)
{
    return chosen_mtu(socket, to, known_mtu(socket, to, netif, size));
}

static bool may_be_cut(const struct port_socket *socket, const ip_addr_t *to,
                       const struct ps_send_control *control)
{
    enum pmtu_mode how = mode(socket, to);
    bool whole = socket->discovery.dont_fragment6;
    if (control != NULL && control->dont_fragment >= 0)
        whole = control->dont_fragment != 0;
    return (how < PMTU_DO || how == PMTU_OMIT) && !(IP_IS_V6(to) && whole);
}

int datagram_fit(struct port_socket *socket, const ip_addr_t *to, uint16_t port_number,
                 const struct netif *netif, const struct ps_send_control *control, size_t size)
{
    uint16_t known = known_mtu(socket, to, netif, size), mtu = chosen_mtu(socket, to, known);
    if (size > mtu && !may_be_cut(socket, to, control)) {
        errors_too_large(socket, to, port_number, mtu);
        return -EMSGSIZE;
    }
    int result = datagram_may_go(socket);
    if (result < 0)
        return result;
    enum pmtu_mode how = mode(socket, to);
    output_rules = (struct output_rules){
        .on = true,
        /* As in Linux, IPV6_MTU says how it is cut, and not whether. */
        .mtu = size <= known ? known : mtu,
        .dont_fragment = how == PMTU_DO || how == PMTU_PROBE ||
                         (how == PMTU_WANT && size <= mtu && !path_mtu_cuts(to)),
    };
    return 0;
}

int datagram_too_large(struct datagram_socket *socket, const ip_addr_t *local, const ip_addr_t *to,
                       uint16_t port_number, const struct ps_send_control *control)
{
    struct datagram_path path;
    ip_addr_t ip = *to;
    int result = datagram_route(socket, local, &ip, control, 0, &path);
    if (result < 0)
        return result;
    errors_too_large(&socket->head, to, port_number,
                     datagram_mtu(&socket->head, to, path.netif, UINT16_MAX));
    return -EMSGSIZE;
}

bool datagram_believes(const struct port_socket *socket, const ip_addr_t *remote)
{
    return mode(socket, remote) < PMTU_INTERFACE;
}

bool datagram_hears(const struct port_socket *socket, const struct icmp_report *report)
{
    enum pmtu_mode how = mode(socket, &report->remote);
    if (report->error != EMSGSIZE || socket->type == PS_RAW)
        return true;
    return IP_IS_V6(&report->remote) ? how < PMTU_INTERFACE : how != PMTU_DONT;
}

bool datagram_is_hard(const struct port_socket *socket, const struct icmp_report *report)
{
    enum pmtu_mode how = mode(socket, &report->remote);
    if (report->error != EMSGSIZE)
        return report->hard;
    return socket->type == PS_RAW && IP_IS_V6(&report->remote) ? how == PMTU_DO : how != PMTU_DONT;
}
