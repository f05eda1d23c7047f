/*
 * ICMP redirects: those that a host follows (RFC 1122 3.2.2.2), and those that a router sends
 * (RFC 792, RFC 1812 5.2.7.2).
 *
 * What a redirect says counts for one destination, for as long as the next hop that it came from
 * would be the one, and for ten minutes at most: a router that has gone is left again.
 */
#include "hooks.h"
#include "lwip/icmp.h"
#include "lwip/prot/ip4.h"
#include "lwip/sys.h"
#include "port.h"

#define REDIRECTS 64 /* the oldest one gives way */
#define LIFETIME_MS UINT32_C(600000)
#define INTERVAL_MS UINT32_C(20) /* between two that are sent (RFC 1812 4.3.2.8) */

enum { LOOSE_ROUTE = 131, STRICT_ROUTE = 137 };

struct redirect {
    ip4_addr_t destination, from, gateway; /* gateway any: none */
    uint32_t since_ms;
};

static struct redirect redirects[REDIRECTS];
static size_t next_place;
static uint32_t last_sent_ms;
static bool has_sent;

void redirect_init(void)
{
    memset(redirects, 0, sizeof redirects);
    next_place = 0;
    has_sent = false;
}

static struct redirect *find(const ip4_addr_t *destination)
{
    for (size_t i = 0; i < REDIRECTS; i++)
        if (!ip4_addr_isany_val(redirects[i].gateway) &&
            ip4_addr_eq(&redirects[i].destination, destination))
            return &redirects[i];
    return NULL;
}

const ip4_addr_t *redirect_of(const ip4_addr_t *destination, const ip4_addr_t *next_hop)
{
    if (next_place == 0)
        return next_hop;
    struct redirect *redirect = find(destination);
    if (redirect == NULL || !ip4_addr_eq(&redirect->from, next_hop))
        return next_hop;
    if (sys_now() - redirect->since_ms > LIFETIME_MS) {
        ip4_addr_set_any(&redirect->gateway);
        return next_hop;
    }
    return &redirect->gateway;
}

void redirect_follow(struct netif *netif, const ip4_addr_t *from, const ip4_addr_t *destination,
                     const ip4_addr_t *gateway)
{
    ip_addr_t as_any;
    ip_addr_copy_from_ip4(as_any, *gateway);
    const ip4_addr_t *next_hop = hook_arp_gateway(netif, destination);
    if (tunables.ip_forward || !tunables.ip_accept_redirects || ip4_addr_ismulticast(gateway) ||
        ip4_addr_isbroadcast(gateway, netif) || address_is_ours(&as_any) ||
        !route_on_link(netif, gateway))
        return;
    /* Whoever is not our next hop has no say in it; nor is a neighbour's address routed. */
    if (next_hop == NULL || next_hop == destination || !ip4_addr_eq(next_hop, from))
        return;
    struct redirect *redirect = find(destination);
    if (redirect == NULL)
        redirect = &redirects[next_place++ % REDIRECTS];
    /* The second redirect comes from whom the first one named: both are about the route's own. */
    const ip4_addr_t *first = route_next_hop(netif, destination);
    *redirect = (struct redirect){*destination, *first, *gateway, sys_now()};
}

/* --- a router's ------------------------------------------------------------------------------ */

static bool is_source_routed(const struct ip_hdr *header)
{
    const uint8_t *bytes = (const uint8_t *)header;
    size_t size = IPH_HL_BYTES(header);
    for (size_t i = IP_HLEN; i < size && bytes[i] != 0;) {
        if (bytes[i] == LOOSE_ROUTE || bytes[i] == STRICT_ROUTE)
            return true;
        if (bytes[i] == 1)
            i++;
        else if (i + 1 < size && bytes[i + 1] >= 2)
            i += bytes[i + 1];
        else
            return true; /* malformed: nothing is said about it */
    }
    return false;
}

void hook_ip4_forward(struct pbuf *p, const struct netif *in, struct netif *out)
{
    const struct ip_hdr *header = p->payload;
    ip4_addr_t source, destination;
    if (!tunables.ip_send_redirects || interface_index(in) != interface_index(out) ||
        is_source_routed(header) || (has_sent && sys_now() - last_sent_ms < INTERVAL_MS))
        return;
    ip4_addr_copy(source, header->src);
    ip4_addr_copy(destination, header->dest);
    const ip4_addr_t *next_hop = hook_arp_gateway(out, &destination);
    if (next_hop == NULL || !route_share_network(out, &source, next_hop))
        return;
    has_sent = true;
    last_sent_ms = sys_now();
    icmp_redirect(p, next_hop);
}
