/*
 * Connections by their addresses and ports, those in TIME-WAIT included: a hash, where lwIP
 * itself walks lists (vendor/patches).
 */
#include "tcp/tcp_hash.h"

#include "base/hooks.h"
#include "base/keyed_hash.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/udp.h"

#define BUCKETS 8192 /* a power of two */

static struct tcp_pcb *buckets[BUCKETS];
static uint16_t users[65536]; /* of each local port; stays at its largest number */

static struct tcp_pcb **bucket(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port)
{
    return &buckets[address_hash(local_port, remote, remote_port) & (BUCKETS - 1)];
}

void tcp_hash_add(struct tcp_pcb *pcb)
{
    struct tcp_pcb **head = bucket(pcb->local_port, &pcb->remote_ip, pcb->remote_port);
    if (users[pcb->local_port] < UINT16_MAX)
        users[pcb->local_port]++;
    pcb->lookup_next = *head;
    pcb->lookup_link = head;
    if (*head != NULL)
        (*head)->lookup_link = &pcb->lookup_next;
    *head = pcb;
}

void tcp_hash_remove(struct tcp_pcb *pcb)
{
    if (pcb->lookup_link == NULL)
        return;
    if (users[pcb->local_port] < UINT16_MAX)
        users[pcb->local_port]--;
    *pcb->lookup_link = pcb->lookup_next;
    if (pcb->lookup_next != NULL)
        pcb->lookup_next->lookup_link = pcb->lookup_link;
    pcb->lookup_link = NULL;
}

struct tcp_pcb *hook_tcp_lookup(const ip_addr_t *local, uint16_t local_port,
                                const ip_addr_t *remote, uint16_t remote_port)
{
    struct tcp_pcb *old = NULL;
    for (struct tcp_pcb *pcb = *bucket(local_port, remote, remote_port); pcb != NULL;
         pcb = pcb->lookup_next) {
        if (pcb->remote_port != remote_port || pcb->local_port != local_port ||
            pcb->state == CLOSED || !ip_addr_eq(&pcb->remote_ip, remote) ||
            !ip_addr_eq(&pcb->local_ip, local))
            continue;
        if (pcb->state != TIME_WAIT)
            return pcb;
        old = pcb;
    }
    return old;
}

bool hook_tcp_port_is_active(uint16_t port_number)
{
    return users[port_number] > 0;
}
