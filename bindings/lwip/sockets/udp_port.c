/*
 * The ports of UDP sockets: who may share one, and which are free.
 */
#include <errno.h>

#include "base/errors.h"
#include "base/hooks.h"
#include "base/tunables.h"
#include "sockets/udp_socket.h"

static bool addresses_overlap(const ip_addr_t *a, const ip_addr_t *b)
{
    if (IP_IS_ANY_TYPE_VAL(*a) || IP_IS_ANY_TYPE_VAL(*b))
        return true;
    return IP_GET_TYPE(a) == IP_GET_TYPE(b) &&
           (ip_addr_isany(a) || ip_addr_isany(b) || ip_addr_eq(a, b));
}

static bool may_share(const struct port_socket *socket, const struct udp_pcb *pcb)
{
    const struct udp_socket *other = udp_socket_of_pcb(pcb);
    if (other == NULL) /* one of lwIP's own, such as mDNS's */
        return socket->options.reuse_address && ip_get_option(pcb, SOF_REUSEADDR);
    return (socket->options.reuse_address && other->base.head.options.reuse_address) ||
           (socket->options.reuse_port && other->base.head.options.reuse_port);
}

static bool port_is_taken(const struct udp_socket *udp, const ip_addr_t *ip, uint16_t port_number)
{
    for (const struct udp_pcb *pcb = hook_udp_port(port_number); pcb != NULL; pcb = pcb->port_next)
        if (pcb != udp->pcb && pcb->local_port == port_number &&
            (pcb->netif_idx == NETIF_NO_INDEX || udp->pcb->netif_idx == NETIF_NO_INDEX ||
             pcb->netif_idx == udp->pcb->netif_idx) &&
            addresses_overlap(&pcb->local_ip, ip) && !may_share(&udp->base.head, pcb))
            return true;
    return false;
}

/* A free port of the local range, looked for from a random place on (RFC 6056 3.3.1); 0:
 * all are in use. */
static uint16_t ephemeral_port(const ip_addr_t *ip)
{
    uint32_t first = (uint32_t)tunables.local_port_first;
    uint32_t count = (uint32_t)(tunables.local_port_last - tunables.local_port_first + 1);
    uint32_t start = LWIP_RAND() % count;
    for (uint32_t i = 0; i < count; i++) {
        uint16_t candidate = (uint16_t)(first + (start + i) % count);
        const struct udp_pcb *pcb = hook_udp_port(candidate);
        while (pcb != NULL &&
               (pcb->local_port != candidate || !addresses_overlap(&pcb->local_ip, ip)))
            pcb = pcb->port_next;
        if (pcb == NULL)
            return candidate;
    }
    return 0;
}

int udp_take_port(struct udp_socket *udp, const ip_addr_t *ip, uint16_t port_number)
{
    if (port_number == 0)
        port_number = ephemeral_port(ip);
    else if (port_is_taken(udp, ip, port_number))
        return -EADDRINUSE;
    if (port_number == 0)
        return -EADDRINUSE;
    return port_errno(udp_bind(udp->pcb, ip, port_number));
}

int udp_take_any_port(struct udp_socket *udp)
{
    if (udp->pcb->local_port != 0)
        return 0;
    ip_addr_t ip = udp->pcb->local_ip;
    return udp_take_port(udp, &ip, 0) < 0 ? -EAGAIN : 0;
}

void udp_give_port_back(struct udp_socket *udp)
{
    hook_udp_free(udp->pcb);
    udp->pcb->local_port = 0;
}

void udp_set_wildcard(const struct udp_socket *udp, ip_addr_t *ip)
{
    if (udp->base.head.family == PS_INET || udp->v4_is_bound)
        ip_addr_copy(*ip, *IP4_ADDR_ANY);
    else if (udp->base.head.options.v6only)
        ip_addr_copy(*ip, *IP6_ADDR_ANY);
    else
        ip_addr_copy(*ip, *IP_ANY_TYPE);
}
