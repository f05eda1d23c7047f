/*
 * ICMP errors about datagrams: which socket has sent what one is about (Linux's udp(7), ip(7)).
 */
#include "base/hooks.h"
#include "lwip/prot/udp.h"
#include "sockets/error_queue.h"
#include "sockets/udp_socket.h"

static struct udp_socket *connected_sender(const struct icmp_report *report)
{
    struct udp_pcb *pcb = hook_udp_peer(report->local_port, &report->remote, report->remote_port);
    for (; pcb != NULL; pcb = pcb->peer_next) {
        struct udp_socket *udp = udp_socket_of_pcb(pcb);
        if (udp != NULL && udp_is_connected(udp) && pcb->local_port == report->local_port &&
            pcb->remote_port == report->remote_port &&
            ip_addr_eq(&pcb->remote_ip, &report->remote) &&
            ip_addr_eq(&pcb->local_ip, &report->local))
            return udp;
    }
    return NULL;
}

/* Whether a PCB that is bound to an address, or to none, may send from `local`. */
static bool covers(const struct udp_pcb *pcb, const ip_addr_t *local)
{
    if (IP_IS_ANY_TYPE_VAL(pcb->local_ip))
        return true;
    return IP_GET_TYPE(&pcb->local_ip) == IP_GET_TYPE(local) &&
           (ip_addr_isany(&pcb->local_ip) || ip_addr_eq(&pcb->local_ip, local));
}

/* Of the unconnected sockets that want errors, the most specifically bound. */
static struct udp_socket *unconnected_sender(const struct icmp_report *report)
{
    struct udp_socket *found = NULL;
    struct udp_pcb *pcb = hook_udp_port(report->local_port);
    for (; pcb != NULL; pcb = pcb->port_next) {
        struct udp_socket *udp = udp_socket_of_pcb(pcb);
        if (udp == NULL || udp_is_connected(udp) || pcb->local_port != report->local_port ||
            !errors_wanted(&udp->base.head, &report->remote) || !covers(pcb, &report->local))
            continue;
        if (found == NULL || ip_addr_eq(&pcb->local_ip, &report->local))
            found = udp;
    }
    return found;
}

void udp_icmp_error(const struct icmp_report *report)
{
    struct udp_socket *udp = connected_sender(report);
    bool is_lite = report->protocol == IP_PROTO_UDPLITE;
    if (udp == NULL)
        udp = unconnected_sender(report);
    if (udp == NULL || (udp->base.head.protocol == IP_PROTO_UDPLITE) != is_lite ||
        !datagram_hears(&udp->base.head, report))
        return;
    bool wanted = errors_wanted(&udp->base.head, &report->remote);
    if (wanted)
        errors_report(&udp->base.head, report, (u16_t)(report->transport + UDP_HLEN),
                      report->remote_port);
    /* Without the queue it hears of hard errors alone. */
    if (wanted || datagram_is_hard(&udp->base.head, report))
        socket_fail(&udp->base.head, report->error);
}

bool udp_may_have_sent(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                       uint16_t remote_port, bool believes)
{
    for (struct udp_pcb *pcb = hook_udp_port(local_port); pcb != NULL; pcb = pcb->port_next) {
        if (pcb->local_port != local_port ||
            !(ip_addr_isany(&pcb->local_ip) || ip_addr_eq(&pcb->local_ip, local)))
            continue;
        const struct udp_socket *udp = udp_socket_of_pcb(pcb);
        if (believes && udp != NULL && !datagram_believes(&udp->base.head, remote))
            continue;
        if (!(pcb->flags & UDP_FLAGS_CONNECTED) ||
            (pcb->remote_port == remote_port && ip_addr_eq(&pcb->remote_ip, remote)))
            return true;
    }
    return false;
}
