/*
 * UDP's PCBs by their local port, and those that are connected by their peer, too: chains, where
 * lwIP itself walks one list (vendor/patches).
 */
#include "base/hooks.h"
#include "base/keyed_hash.h"
#include "lwip/udp.h"

#define BUCKETS 4096 /* a power of two */

static struct udp_pcb *ports[BUCKETS], *peers[BUCKETS];

static struct udp_pcb **port_bucket(uint16_t number)
{
    return &ports[number & (BUCKETS - 1)];
}

static struct udp_pcb **peer_bucket(uint16_t local_port, const ip_addr_t *remote,
                                    uint16_t remote_port)
{
    return &peers[address_hash(local_port, remote, remote_port) & (BUCKETS - 1)];
}

static void leave_chains(struct udp_pcb *pcb)
{
    if (pcb->port_link != NULL) {
        *pcb->port_link = pcb->port_next;
        if (pcb->port_next != NULL)
            pcb->port_next->port_link = pcb->port_link;
    }
    if (pcb->peer_link != NULL) {
        *pcb->peer_link = pcb->peer_next;
        if (pcb->peer_next != NULL)
            pcb->peer_next->peer_link = pcb->peer_link;
    }
    pcb->port_link = pcb->peer_link = NULL;
}

static void enter_list(struct udp_pcb *pcb)
{
    pcb->next = udp_pcbs;
    pcb->list_link = &udp_pcbs;
    if (pcb->next != NULL)
        pcb->next->list_link = &pcb->next;
    udp_pcbs = pcb;
}

void hook_udp_active(struct udp_pcb *pcb)
{
    if (pcb->list_link == NULL)
        enter_list(pcb);
    else
        leave_chains(pcb);
    struct udp_pcb **head = port_bucket(pcb->local_port);
    pcb->port_next = *head;
    pcb->port_link = head;
    if (*head != NULL)
        (*head)->port_link = &pcb->port_next;
    *head = pcb;
    /* One that is connected to anybody at a port, as DHCP's is, is found by its own port. */
    if (!(pcb->flags & UDP_FLAGS_CONNECTED) || ip_addr_isany(&pcb->remote_ip))
        return;
    head = peer_bucket(pcb->local_port, &pcb->remote_ip, pcb->remote_port);
    pcb->peer_next = *head;
    pcb->peer_link = head;
    if (*head != NULL)
        (*head)->peer_link = &pcb->peer_next;
    *head = pcb;
}

void hook_udp_free(struct udp_pcb *pcb)
{
    if (pcb->list_link == NULL)
        return;
    leave_chains(pcb);
    *pcb->list_link = pcb->next;
    if (pcb->next != NULL)
        pcb->next->list_link = pcb->list_link;
    pcb->list_link = NULL;
    pcb->next = NULL;
}

struct udp_pcb *hook_udp_port(uint16_t number)
{
    return *port_bucket(number);
}

struct udp_pcb *hook_udp_peer(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port)
{
    return *peer_bucket(local_port, remote, remote_port);
}
