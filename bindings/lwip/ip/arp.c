/*
 * ARP (RFC 826, RFC 1122 2.3.2), in the place of lwIP's etharp.c, whose functions it has.
 *
 * Neighbours are watched as those of IPv6 are (RFC 4861 7.3), and as Linux watches them: what has
 * not been confirmed for a while is stale; a stale one that is sent to is asked, at the hardware
 * address that is known, and given up if it is silent, so that the next packet asks everybody.
 * Packets go on to it meanwhile. An answer confirms, and so does a connection's progress.
 *
 * Others make an entry only by asking for an address of ours. What else they say counts for an
 * entry that there is. The table is searched by hash, and what is in use stays when it is full:
 * see slots.h.
 */
#include "base/hooks.h"
#include "base/keyed_hash.h"
#include "base/port.h"
#include "base/slots.h"
#include "base/timeouts.h"
#include "base/tunables.h"
#include "ip/arp_queue.h"
#include "ip/neighbour.h"
#include "ip/route.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/acd.h"
#include "lwip/etharp.h"
#include "lwip/ip.h"
#include "lwip/prot/iana.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/tcp.h"
#include "netif/ethernet.h"

#define SOLICITATIONS 3 /* by broadcast, then as many by unicast: Linux's *cast_solicit */
#define DELAY_MS 5000   /* from the first use of a stale entry to the first question */
#define LOCK_MS 1000    /* for which the first of two answers counts */
#define ROOM_KEPT 65536 /* bytes that may wait however short memory is */

struct arp_entry {
    struct netif *netif; /* from which it is asked for, and sent to */
    ip4_addr_t ip;
    struct eth_addr mac;
    uint8_t state;   /* enum ps_neighbour_state */
    uint8_t probes;  /* sent, of the present state */
    uint32_t due_ms; /* INCOMPLETE, DELAY, PROBE: the next step; REACHABLE: the end */
    uint32_t confirmed_ms, changed_ms;
    struct waiting waiting;
};

_Static_assert(ARP_TABLE_SIZE <= NETIF_ADDR_IDX_MAX, "a PCB remembers an entry's place");

static struct arp_entry table[ARP_TABLE_SIZE];
SLOTS(order, ARP_TABLE_SIZE, ARP_TABLE_SIZE);

void arp_init(void)
{
    memset(table, 0, sizeof table);
    slots_init(&order);
}

/* --- entries ------------------------------------------------------------------------------ */

static const struct port_interface *link_of(const struct netif *netif)
{
    return interface_owner(interface_of(netif));
}

static bool is_of(const struct arp_entry *entry, const struct netif *netif, const ip4_addr_t *ip)
{
    return entry->netif != NULL && ip4_addr_eq(&entry->ip, ip) &&
           (entry->netif == netif || link_of(entry->netif) == link_of(netif));
}

static uint64_t hash_of(const struct netif *netif, const ip4_addr_t *ip)
{
    uint64_t key = (uint64_t)interface_index(netif) << 32 | ip->addr;
    return keyed_hash(&key, 1);
}

static struct arp_entry *find(const struct netif *netif, const ip4_addr_t *ip)
{
    int slot = slots_find(&order, hash_of(netif, ip));
    while (slot != NO_SLOT && !is_of(&table[slot], netif, ip))
        slot = slots_next(&order, slot);
    return slot == NO_SLOT ? NULL : &table[slot];
}

static int slot_of(const struct arp_entry *entry)
{
    return (int)(entry - table);
}

static void release(struct arp_entry *entry)
{
    slots_release(&order, slot_of(entry));
    waiting_drop(&entry->waiting);
    memset(entry, 0, sizeof *entry);
}

void arp_shed(void)
{
    uint64_t rest = LWIP_MAX(waiting_bytes() / 2, ROOM_KEPT);
    for (size_t i = 0; i < ARP_TABLE_SIZE && waiting_bytes() > rest; i++)
        waiting_drop(&table[i].waiting);
}

/* NULL: all that there is is worth more. */
static struct arp_entry *make(struct netif *netif, const ip4_addr_t *ip, bool ours)
{
    uint64_t hash = hash_of(netif, ip);
    int slot = slots_take(&order, hash);
    if (slot == NO_SLOT) {
        int victim = slots_victim(&order, ours);
        if (victim == NO_SLOT) {
            ETHARP_STATS_INC(etharp.memerr);
            return NULL;
        }
        release(&table[victim]);
        slot = slots_take(&order, hash);
    }
    struct arp_entry *entry = &table[slot];
    entry->netif = netif;
    ip4_addr_copy(entry->ip, *ip);
    entry->confirmed_ms = entry->changed_ms = sys_now();
    return entry;
}

/* An address that a station can have. */
static bool is_station(const struct netif *netif, const ip4_addr_t *ip)
{
    return !ip4_addr_isany(ip) && !ip4_addr_isbroadcast(ip, netif) && !ip4_addr_ismulticast(ip) &&
           !ip4_addr_isloopback(ip);
}

/* --- sending ------------------------------------------------------------------------------ */

static err_t send_message(struct netif *netif, uint16_t operation, const struct eth_addr *to,
                          const ip4_addr_t *sender, const struct eth_addr *target_mac,
                          const ip4_addr_t *target)
{
    struct pbuf *p = pbuf_alloc(PBUF_LINK, SIZEOF_ETHARP_HDR, PBUF_RAM);
    if (p == NULL) {
        ETHARP_STATS_INC(etharp.memerr);
        return ERR_MEM;
    }
    struct etharp_hdr *header = p->payload;
    header->hwtype = PP_HTONS(LWIP_IANA_HWTYPE_ETHERNET);
    header->proto = PP_HTONS(ETHTYPE_IP);
    header->hwlen = ETH_HWADDR_LEN;
    header->protolen = sizeof(ip4_addr_t);
    header->opcode = lwip_htons(operation);
    memcpy(&header->shwaddr, netif->hwaddr, ETH_HWADDR_LEN);
    memcpy(&header->sipaddr, sender, sizeof *sender);
    memcpy(&header->dhwaddr, target_mac, ETH_HWADDR_LEN);
    memcpy(&header->dipaddr, target, sizeof *target);
    /* From a link-local address everybody is told (RFC 3927 2.5). */
    ethernet_output(netif, p, (const struct eth_addr *)netif->hwaddr,
                    ip4_addr_islinklocal(sender) ? &ethbroadcast : to, ETHTYPE_ARP);
    ETHARP_STATS_INC(etharp.xmit);
    pbuf_free(p);
    return ERR_OK;
}

err_t etharp_request(struct netif *netif, const ip4_addr_t *ip)
{
    return send_message(netif, ARP_REQUEST, &ethbroadcast, netif_ip4_addr(netif), &ethzero, ip);
}

err_t etharp_acd_probe(struct netif *netif, const ip4_addr_t *ip)
{
    return send_message(netif, ARP_REQUEST, &ethbroadcast, IP4_ADDR_ANY4, &ethzero, ip);
}

err_t etharp_acd_announce(struct netif *netif, const ip4_addr_t *ip)
{
    return send_message(netif, ARP_REQUEST, &ethbroadcast, ip, &ethzero, ip);
}

static void probe(struct arp_entry *entry)
{
    bool known = entry->state == PS_NEIGHBOUR_PROBE;
    entry->probes++;
    entry->due_ms = sys_now() + (uint32_t)tunables.arp_retransmit_ms;
    send_message(entry->netif, ARP_REQUEST, known ? &entry->mac : &ethbroadcast,
                 netif_ip4_addr(entry->netif), &ethzero, &entry->ip);
}

/* --- states ------------------------------------------------------------------------------- */

static void reachable(struct arp_entry *entry)
{
    uint32_t base = (uint32_t)tunables.arp_reachable_ms;
    entry->state = PS_NEIGHBOUR_REACHABLE;
    entry->confirmed_ms = sys_now();
    /* RFC 4861 6.3.2: from a half to one and a half */
    entry->due_ms = entry->confirmed_ms + base / 2 + port_random() % (base + 1);
    slots_answered(&order, slot_of(entry), true);
}

/* A stale one is used: upper layers get some time to confirm it before it is probed. */
static void delay(struct arp_entry *entry)
{
    entry->state = PS_NEIGHBOUR_DELAY;
    entry->due_ms = sys_now() + DELAY_MS;
}

/* A packet is about to be sent to a neighbour. */
static void use(struct arp_entry *entry)
{
    if (entry->state == PS_NEIGHBOUR_STALE)
        delay(entry);
    slots_use(&order, slot_of(entry), !port.answering, sys_now());
}

static err_t send_to(struct netif *netif, struct pbuf *packet, const struct arp_entry *entry)
{
    return ethernet_output(netif, packet, (const struct eth_addr *)netif->hwaddr, &entry->mac,
                           ETHTYPE_IP);
}

/* The hardware address has become known. */
static void send_waiting(struct arp_entry *entry)
{
    if (entry->waiting.first != NULL && entry->state == PS_NEIGHBOUR_STALE)
        delay(entry);
    for (struct pbuf *packet; (packet = waiting_take(&entry->waiting)) != NULL;) {
        send_to(entry->netif, packet, entry);
        pbuf_free(packet);
    }
}

static void set_mac(struct arp_entry *entry, const struct eth_addr *mac)
{
    if (entry->state == PS_NEIGHBOUR_INCOMPLETE || !eth_addr_eq(&entry->mac, mac)) {
        entry->mac = *mac;
        entry->changed_ms = sys_now();
        entry->state = PS_NEIGHBOUR_STALE;
        slots_answered(&order, slot_of(entry), false);
    }
}

/* No answer: the senders of waiting packets hear of it. */
static void unreachable(struct arp_entry *entry)
{
    struct waiting queue = entry->waiting;
    memset(&entry->waiting, 0, sizeof entry->waiting);
    release(entry); /* first: the hook may send, and so change the table */
    for (struct pbuf *packet; (packet = waiting_take(&queue)) != NULL;) {
        hook_arp_unanswered(packet);
        pbuf_free(packet);
    }
}

static void step(struct arp_entry *entry)
{
    switch (entry->state) {
    case PS_NEIGHBOUR_REACHABLE:
        entry->state = PS_NEIGHBOUR_STALE;
        break;
    case PS_NEIGHBOUR_DELAY:
        entry->state = PS_NEIGHBOUR_PROBE;
        entry->probes = 0;
        probe(entry);
        break;
    case PS_NEIGHBOUR_INCOMPLETE:
    case PS_NEIGHBOUR_PROBE:
        if (entry->probes < SOLICITATIONS)
            probe(entry);
        else
            unreachable(entry);
        break;
    default:
        break;
    }
}

/* Calls `act` for each entry that is not permanent; it may release that one. */
static void for_each(void (*act)(struct arp_entry *))
{
    for (int worth = SLOT_STRANGER; worth < SLOT_KEPT; worth++)
        for (int slot = order.first[worth], after; slot != NO_SLOT; slot = after) {
            after = order.all[slot].after;
            if (table[slot].netif == NULL)
                break; /* what was done to the one before has released it */
            act(&table[slot]);
        }
}

static void step_if_due(struct arp_entry *entry)
{
    if (entry->state != PS_NEIGHBOUR_STALE && (int32_t)(sys_now() - entry->due_ms) >= 0)
        step(entry);
}

void arp_tick(void)
{
    for_each(step_if_due);
}

static uint32_t most_age_ms(void)
{
    return (uint32_t)tunables.arp_max_age_s * 1000;
}

static void age(struct arp_entry *entry)
{
    uint32_t now = sys_now();
    if (entry->state == PS_NEIGHBOUR_STALE && now - entry->confirmed_ms >= most_age_ms())
        release(entry);
    else
        slots_age(&order, slot_of(entry), now);
}

void etharp_tmr(void)
{
    for_each(age);
}

/* --- when there is something to do ---------------------------------------------------------- */

static uint64_t first_ms; /* of those that were looked at */

static void look_at_step(struct arp_entry *entry)
{
    if (entry->state != PS_NEIGHBOUR_STALE)
        first_ms = LWIP_MIN(first_ms, timeouts_due_ms(entry->due_ms));
}

static void look_at_age(struct arp_entry *entry)
{
    uint32_t since_ms;
    if (entry->state == PS_NEIGHBOUR_STALE)
        first_ms = LWIP_MIN(first_ms, timeouts_since_ms(entry->confirmed_ms) + most_age_ms());
    if (slots_will_age(&order, slot_of(entry), &since_ms))
        first_ms = LWIP_MIN(first_ms, timeouts_since_ms(since_ms) + SLOT_IDLE_MS);
}

uint64_t arp_step_ms(void)
{
    first_ms = NEVER_MS;
    for_each(look_at_step);
    return first_ms;
}

uint64_t arp_age_ms(uint64_t next_ms)
{
    (void)next_ms;
    first_ms = NEVER_MS;
    for_each(look_at_age);
    return first_ms;
}

/* --- packets that leave ------------------------------------------------------------------- */

static err_t query(struct netif *netif, struct pbuf *packet, const ip4_addr_t *ip)
{
    if (!is_station(netif, ip))
        return ERR_ARG;
    bool ours = !port.answering;
    struct arp_entry *entry = make(netif, ip, ours);
    if (entry == NULL)
        return ERR_MEM;
    entry->state = PS_NEIGHBOUR_INCOMPLETE;
    use(entry);
    err_t error = waiting_add(&entry->waiting, packet, ours, (uint32_t)tunables.arp_queue_bytes);
    probe(entry);
    return error;
}

static err_t send_by(struct netif *netif, struct pbuf *packet, struct arp_entry *entry)
{
    use(entry);
    if (entry->state == PS_NEIGHBOUR_INCOMPLETE)
        return waiting_add(&entry->waiting, packet, !port.answering,
                           (uint32_t)tunables.arp_queue_bytes);
    return send_to(netif, packet, entry);
}

/* A packet's next hop: its destination, or a router; NULL: no route. */
static const ip4_addr_t *next_hop(struct netif *netif, const struct pbuf *packet,
                                  const ip4_addr_t *destination)
{
    if (ip4_addr_net_eq(destination, netif_ip4_addr(netif), netif_ip4_netmask(netif)) ||
        ip4_addr_islinklocal(destination))
        return destination;
    /* What comes from a link-local address is for no router (RFC 3927 2.6.2). */
    const struct ip_hdr *header = packet->payload;
    if (ip4_addr_islinklocal(&header->src))
        return destination;
    return hook_arp_gateway(netif, destination);
}

static err_t send_to_group(struct netif *netif, struct pbuf *packet, const ip4_addr_t *group)
{
    struct eth_addr mac = {{LL_IP4_MULTICAST_ADDR_0, LL_IP4_MULTICAST_ADDR_1,
                            LL_IP4_MULTICAST_ADDR_2, ip4_addr2(group) & 0x7f, ip4_addr3(group),
                            ip4_addr4(group)}};
    return ethernet_output(netif, packet, (const struct eth_addr *)netif->hwaddr, &mac, ETHTYPE_IP);
}

err_t etharp_output(struct netif *netif, struct pbuf *packet, const ip4_addr_t *destination)
{
    if (ip4_addr_isbroadcast(destination, netif))
        return ethernet_output(netif, packet, (const struct eth_addr *)netif->hwaddr, &ethbroadcast,
                               ETHTYPE_IP);
    if (ip4_addr_ismulticast(destination))
        return send_to_group(netif, packet, destination);
    const ip4_addr_t *next = next_hop(netif, packet, destination);
    if (next == NULL)
        return ERR_RTE;
    /* Where a PCB's last packet found it */
    netif_addr_idx_t hint = netif->hints != NULL ? netif->hints->addr_hint : ARP_TABLE_SIZE;
    if (hint < ARP_TABLE_SIZE && is_of(&table[hint], netif, next)) {
        ETHARP_STATS_INC(etharp.cachehit);
        return send_by(netif, packet, &table[hint]);
    }
    struct arp_entry *entry = find(netif, next);
    if (entry == NULL)
        return query(netif, packet, next);
    if (netif->hints != NULL)
        netif->hints->addr_hint = (netif_addr_idx_t)slot_of(entry);
    return send_by(netif, packet, entry);
}

/* The next hop of a connection, unless it is still being looked for, or was set by hand. */
static struct arp_entry *entry_of(const struct tcp_pcb *pcb)
{
    const ip4_addr_t *remote = ip_2_ip4(&pcb->remote_ip);
    struct netif *netif = hook_ip4_route(ip_2_ip4(&pcb->local_ip), remote);
    if (netif == NULL || interface_of(netif) == NULL ||
        interface_of(netif)->layer != PS_LAYER_ETHERNET)
        return NULL;
    const ip4_addr_t *next = hook_arp_gateway(netif, remote);
    struct arp_entry *entry = next != NULL ? find(netif, next) : NULL;
    return entry != NULL && entry->state != PS_NEIGHBOUR_INCOMPLETE &&
                   entry->state != PS_NEIGHBOUR_PERMANENT
               ? entry
               : NULL;
}

/* Whether a connection's last packet found its next hop confirmed a moment ago. */
static bool is_fresh(const struct tcp_pcb *pcb)
{
    enum { FRESH_MS = 1000 };
    netif_addr_idx_t hint = pcb->netif_hints.addr_hint;
    return hint < ARP_TABLE_SIZE && table[hint].state == PS_NEIGHBOUR_REACHABLE &&
           sys_now() - table[hint].confirmed_ms < FRESH_MS;
}

void arp_progress(const struct tcp_pcb *pcb)
{
    struct arp_entry *entry = is_fresh(pcb) ? NULL : entry_of(pcb);
    if (entry != NULL)
        reachable(entry);
}

void arp_doubt(const struct tcp_pcb *pcb)
{
    struct arp_entry *entry = is_fresh(pcb) ? NULL : entry_of(pcb);
    if (entry == NULL || entry->state == PS_NEIGHBOUR_PROBE)
        return;
    delay(entry);
    entry->due_ms = sys_now();
}

/* --- packets that come -------------------------------------------------------------------- */

/* A host asks for an address of ours: what it sends next will need an answer. */
static void learn_asker(struct netif *netif, const ip4_addr_t *ip, const struct eth_addr *mac)
{
    struct arp_entry *entry = find(netif, ip);
    if (entry == NULL) {
        if (!route_on_link(netif, ip))
            return;
        entry = make(netif, ip, false);
    }
    if (entry == NULL || entry->state == PS_NEIGHBOUR_PERMANENT)
        return;
    set_mac(entry, mac);
    send_waiting(entry);
}

/* Anything else that tells a neighbour's address. */
static void update(struct netif *netif, const struct etharp_hdr *header, const ip4_addr_t *ip,
                   bool announced, bool to_us)
{
    struct arp_entry *entry = find(netif, ip);
    if (entry == NULL || entry->state == PS_NEIGHBOUR_PERMANENT)
        return;
    bool asked = entry->state == PS_NEIGHBOUR_INCOMPLETE || entry->state == PS_NEIGHBOUR_PROBE;
    bool same = eth_addr_eq(&entry->mac, &header->shwaddr);
    if (entry->state != PS_NEIGHBOUR_INCOMPLETE && !same && !announced &&
        sys_now() - entry->changed_ms < LOCK_MS)
        return; /* two answer: the first one counts */
    set_mac(entry, &header->shwaddr);
    if (asked && to_us && header->opcode == PP_HTONS(ARP_REPLY))
        reachable(entry);
    send_waiting(entry);
}

static void take(struct netif *netif, const struct pbuf *p)
{
    const struct etharp_hdr *header = p->payload;
    ip4_addr_t sender, target;
    memcpy(&sender, &header->sipaddr, sizeof sender);
    memcpy(&target, &header->dipaddr, sizeof target);
    bool request = header->opcode == PP_HTONS(ARP_REQUEST);
    bool for_us =
        !ip4_addr_isany_val(*netif_ip4_addr(netif)) && ip4_addr_eq(&target, netif_ip4_addr(netif));
    ip_addr_t as_any;
    ip_addr_copy_from_ip4(as_any, sender);
    bool from_us = !ip4_addr_isany_val(sender) && address_is_ours(&as_any);
    bool counts =
        !from_us && is_station(netif, &sender) && !eth_addr_eq(&header->shwaddr, &ethzero);
    if (request && for_us && !from_us) {
        if (counts)
            learn_asker(netif, &sender, &header->shwaddr);
        send_message(netif, ARP_REPLY, &header->shwaddr, netif_ip4_addr(netif), &header->shwaddr,
                     &sender);
    } else if (counts) {
        update(netif, header, &sender, ip4_addr_eq(&sender, &target),
               for_us && (p->flags & (PBUF_FLAG_LLBCAST | PBUF_FLAG_LLMCAST)) == 0);
    }
}

void etharp_input(struct pbuf *p, struct netif *netif)
{
    struct etharp_hdr *header = p->payload;
    ETHARP_STATS_INC(etharp.recv);
    if (p->len < SIZEOF_ETHARP_HDR) {
        ETHARP_STATS_INC(etharp.lenerr);
        ETHARP_STATS_INC(etharp.drop);
    } else if (header->hwtype != PP_HTONS(LWIP_IANA_HWTYPE_ETHERNET) ||
               header->proto != PP_HTONS(ETHTYPE_IP) || header->hwlen != ETH_HWADDR_LEN ||
               header->protolen != sizeof(ip4_addr_t)) {
        ETHARP_STATS_INC(etharp.proterr);
        ETHARP_STATS_INC(etharp.drop);
    } else {
        acd_arp_reply(netif, header);
        if (header->opcode == PP_HTONS(ARP_REQUEST) || header->opcode == PP_HTONS(ARP_REPLY))
            take(netif, p);
        else
            ETHARP_STATS_INC(etharp.err);
    }
    pbuf_free(p);
}

/* --- neighbour.c's part ------------------------------------------------------------------- */

void etharp_cleanup_netif(struct netif *netif)
{
    for (size_t slot = 0; slot < ARP_TABLE_SIZE; slot++)
        if (table[slot].netif == netif)
            release(&table[slot]);
}

int arp_entry_at(size_t slot, struct ps_neighbour *out)
{
    if (slot >= ARP_TABLE_SIZE)
        return -1;
    const struct arp_entry *entry = &table[slot];
    if (entry->netif == NULL)
        return 0;
    ip_addr_t ip;
    ip_addr_copy_from_ip4(ip, entry->ip);
    memset(out, 0, sizeof *out);
    out->interface = interface_index(entry->netif);
    address_from_lwip(&ip, 0, PS_INET, &out->address);
    memcpy(out->mac, entry->mac.addr, sizeof out->mac);
    out->age_s = (sys_now() - entry->confirmed_ms) / 1000;
    out->state = entry->state;
    return 1;
}

void arp_entry_free(size_t slot)
{
    release(&table[slot]);
}

int arp_entry_add(struct netif *netif, const ip4_addr_t *ip, const uint8_t mac[6])
{
    if (!is_station(netif, ip))
        return -EINVAL;
    struct arp_entry *entry = find(netif, ip);
    if (entry == NULL)
        entry = make(netif, ip, true);
    if (entry == NULL)
        return -ENOMEM;
    memcpy(entry->mac.addr, mac, sizeof entry->mac.addr);
    entry->netif = netif;
    entry->state = PS_NEIGHBOUR_PERMANENT;
    entry->confirmed_ms = sys_now();
    slots_keep(&order, slot_of(entry), true);
    send_waiting(entry);
    return 0;
}
