/*
 * TCP sockets' local ports: which are free, and which may be shared.
 */
#include <errno.h>

#include "base/errors.h"
#include "base/hooks.h"
#include "base/tunables.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/sys.h"
#include "tcp/tcp_socket.h"

/* RFC 6056: start at a random port, so that an outsider can't guess the next one. */
static uint16_t ephemeral_port(uint32_t start, uint32_t tried)
{
    uint32_t span = (uint32_t)(tunables.local_port_last - tunables.local_port_first) + 1;
    return (uint16_t)(tunables.local_port_first + (start + tried) % span);
}

int tcp_bind_ephemeral(struct tcp_pcb *pcb)
{
    uint32_t span = (uint32_t)(tunables.local_port_last - tunables.local_port_first) + 1;
    uint32_t start = port_random() % span;
    ip_addr_t local;
    ip_addr_copy(local, pcb->local_ip);
    /* A port in use is shared only on request, never by chance. */
    u8_t options = pcb->so_options;
    ip_reset_option(pcb, SOF_REUSEADDR);
    err_t error = ERR_USE;
    for (uint32_t tried = 0; error == ERR_USE && tried < span; tried++)
        error = tcp_bind(pcb, &local, ephemeral_port(start, tried));
    pcb->so_options = options;
    return error == ERR_USE ? -EADDRNOTAVAIL : port_errno(error);
}

static bool overlap(const ip_addr_t *a, const ip_addr_t *b)
{
    if (IP_IS_ANY_TYPE_VAL(*a) || IP_IS_ANY_TYPE_VAL(*b))
        return true;
    return IP_IS_V6(a) == IP_IS_V6(b) && (ip_addr_isany(a) || ip_addr_isany(b) || ip_addr_eq(a, b));
}

/* Two sockets share a port if both set SO_REUSEADDR and the other does not listen, or both set
 * SO_REUSEPORT (socket(7)). To lwIP the two are one option; it judges what has no socket any more.
 */
bool tcp_port_is_taken(const struct tcp_socket *self, const ip_addr_t *ip, uint16_t port_number)
{
    for (int list = 0; list < NUM_TCP_PCB_LISTS_NO_TIME_WAIT; list++)
        for (const struct tcp_pcb *pcb = *tcp_pcb_lists[list]; pcb != NULL; pcb = pcb->next) {
            const struct tcp_socket *other = pcb->ext_args[OWNER].data;
            if (pcb->local_port != port_number || other == NULL || other == self ||
                !overlap(ip, &pcb->local_ip))
                continue;
            if (other->head.options.reuse_port && self->head.options.reuse_port)
                continue;
            if (other->head.options.reuse_address && self->head.options.reuse_address &&
                pcb->state != LISTEN)
                continue;
            return true;
        }
    /* Whose connect has failed keeps its port, though not the PCB. */
    size_t position = 0;
    for (struct port_socket *head; (head = socket_next(&position)) != NULL;) {
        const struct tcp_socket *other = tcp_socket_of(head);
        if (head->type == PS_STREAM && other->port_is_bound && other->pcb == NULL &&
            other != self && other->local_port == port_number && overlap(ip, &other->bound_to) &&
            !(head->options.reuse_port && self->head.options.reuse_port) &&
            !(head->options.reuse_address && self->head.options.reuse_address))
            return true;
    }
    /* In TIME-WAIT the socket is gone, but its SO_REUSEADDR still counts. */
    for (const struct tcp_pcb *pcb = tcp_tw_pcbs; pcb != NULL; pcb = pcb->next)
        if (pcb->local_port == port_number && overlap(ip, &pcb->local_ip) &&
            !(self->head.options.reuse_address && ip_get_option(pcb, SOF_REUSEADDR)))
            return true;
    return false;
}

/* Whether a socket that listens, or is bound and not connected, has the port. */
static bool is_held(const ip_addr_t *ip, uint16_t port_number)
{
    const struct tcp_pcb *lists[] = {tcp_bound_pcbs, tcp_listen_pcbs.pcbs};
    for (int list = 0; list < 2; list++)
        for (const struct tcp_pcb *pcb = lists[list]; pcb != NULL; pcb = pcb->next)
            if (pcb->local_port == port_number && overlap(ip, &pcb->local_ip))
                return true;
    return false;
}

/* How many ports to try for a free one before one in TIME-WAIT will do. */
#define PICKY 64

/* RFC 6191: a connection may take the place of one in TIME-WAIT, whose other end is closed, if
 * nothing of the old one can be taken for the new one's. Sequence numbers and timestamps go on with
 * the clock, so that a second is enough (Linux: net.ipv4.tcp_tw_reuse). */
static bool give_up_time_wait(struct tcp_pcb *pcb)
{
    if (pcb->state != TIME_WAIT || tcp_ticks - pcb->tmr <= 1000)
        return false;
    tcp_pcb_remove(&tcp_tw_pcbs, pcb);
    tcp_free(pcb);
    return true;
}

/* Connections to different places may have one local port, as in Linux: what has to be unique is
 * all four. So a Stack has as many connections as its memory allows, not as many as ports. */
int tcp_bind_toward(struct tcp_pcb *pcb, const ip_addr_t *remote, uint16_t remote_port)
{
    struct netif *netif = pcb->netif_idx != NETIF_NO_INDEX ? netif_get_by_index(pcb->netif_idx)
                                                           : ip_route(&pcb->local_ip, remote);
    const ip_addr_t *local = &pcb->local_ip;
    if (netif != NULL && ip_addr_isany(local))
        local = ip_netif_get_local_ip(netif, remote);
    if (netif == NULL || local == NULL)
        return tcp_bind_ephemeral(pcb); /* tcp_connect() says what is wrong */
    uint32_t span = (uint32_t)(tunables.local_port_last - tunables.local_port_first) + 1;
    uint32_t start = port_random() % span;
    for (uint32_t tried = 0; tried < span + PICKY; tried++) {
        uint16_t port_number = ephemeral_port(start, tried);
        if (is_held(local, port_number))
            continue;
        struct tcp_pcb *other = hook_tcp_lookup(local, port_number, remote, remote_port);
        if (other != NULL && (tried < PICKY || !give_up_time_wait(other)))
            continue;
        pcb->local_port = port_number;
        TCP_REG(&tcp_bound_pcbs, pcb);
        return 0;
    }
    return -EADDRNOTAVAIL;
}
