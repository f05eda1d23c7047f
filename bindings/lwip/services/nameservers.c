/*
 * The name servers that the resolver asks: the user's own first, then those that interfaces learnt
 * from routers (RFC 8106), DHCP and DHCPv6, in order of arrival.
 *
 * Learnt ones never displace the user's. They go with their source: a router's when their lifetime
 * or the router's own ends (RFC 8106 5.3.1), a lease's with the lease, an interface's with the
 * interface.
 */
#include "services/nameservers.h"

#include "base/entries.h"
#include "base/hooks.h"
#include "base/port.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/dns.h"
#include "lwip/timeouts.h"

#define OWN 4     /* the user's own */
#define LEARNT 12 /* of all interfaces; a full list loses what expires first (RFC 8106 6.2) */
#define FOR_EVER UINT64_MAX
#define LONGEST_TIMER_MS UINT32_C(86400000)

_Static_assert(DNS_MAX_SERVERS <= OWN + LEARNT, "the resolver asks no more than there are");

struct learnt {
    ip_addr_t ip; /* any: a place that is free */
    ip6_addr_t router;
    uint32_t interface;
    uint8_t origin; /* enum ps_address_origin */
    uint64_t end_us;
};

static ip_addr_t own[OWN];
static struct learnt learnt[LEARNT]; /* those in use come first */

static size_t learnt_count(void)
{
    size_t count = 0;
    while (count < LEARNT && !ip_addr_isany(&learnt[count].ip))
        count++;
    return count;
}

static bool is_own(const ip_addr_t *ip)
{
    for (size_t i = 0; i < OWN; i++)
        if (ip_addr_eq(&own[i], ip))
            return true;
    return false;
}

/* Two may have told of one server, as a router and DHCPv6 do; it is in the list once. */
static bool is_before(size_t position)
{
    const ip_addr_t *ip = &learnt[position].ip;
    for (size_t i = 0; i < position; i++)
        if (ip_addr_eq(&learnt[i].ip, ip))
            return true;
    return is_own(ip);
}

/* Puts the list where lwIP's resolver has it. */
static void tell_resolver(void)
{
    u8_t place = 0;
    for (size_t i = 0; i < OWN && place < DNS_MAX_SERVERS; i++)
        if (!ip_addr_isany(&own[i]))
            dns_setserver(place++, &own[i]);
    for (size_t i = 0; i < learnt_count() && place < DNS_MAX_SERVERS; i++)
        if (!is_before(i))
            dns_setserver(place++, &learnt[i].ip);
    while (place < DNS_MAX_SERVERS)
        dns_setserver(place++, NULL);
}

static void drop(size_t position)
{
    size_t count = learnt_count();
    memmove(&learnt[position], &learnt[position + 1],
            (count - position - 1) * sizeof learnt[position]);
    memset(&learnt[count - 1], 0, sizeof learnt[count - 1]);
}

/* --- lifetimes -------------------------------------------------------------------------- */

static void expire(void *argument);

static void set_timer(void)
{
    uint64_t first_us = FOR_EVER;
    for (size_t i = 0; i < learnt_count(); i++)
        first_us = LWIP_MIN(first_us, learnt[i].end_us);
    sys_untimeout(expire, NULL);
    if (first_us == FOR_EVER)
        return;
    uint64_t left_ms = first_us > port.now_us ? (first_us - port.now_us + 999) / 1000 : 0;
    sys_timeout((u32_t)LWIP_MIN(left_ms, LONGEST_TIMER_MS), expire, NULL);
}

static void changed(void)
{
    tell_resolver();
    set_timer();
}

static void expire(void *argument)
{
    (void)argument;
    for (size_t i = learnt_count(); i-- > 0;)
        if (learnt[i].end_us <= port.now_us)
            drop(i);
    changed();
}

/* --- what is learnt ----------------------------------------------------------------------- */

static struct learnt *find(const struct netif *netif, enum ps_address_origin origin,
                           const ip6_addr_t *router, const ip_addr_t *ip)
{
    for (size_t i = 0; i < learnt_count(); i++)
        if (learnt[i].interface == interface_index(netif) && learnt[i].origin == origin &&
            ip_addr_eq(&learnt[i].ip, ip) &&
            (router == NULL || ip6_addr_eq(&learnt[i].router, router)))
            return &learnt[i];
    return NULL;
}

static void make_room(void)
{
    size_t first = 0;
    if (learnt_count() < LEARNT)
        return;
    for (size_t i = 1; i < LEARNT; i++)
        if (learnt[i].end_us < learnt[first].end_us)
            first = i;
    drop(first);
}

static void learn(const struct netif *netif, enum ps_address_origin origin,
                  const ip6_addr_t *router, const ip_addr_t *ip, uint64_t end_us)
{
    if (ip_addr_isany(ip) || ip_addr_ismulticast(ip) || ip_addr_isloopback(ip))
        return;
    struct learnt *entry = find(netif, origin, router, ip);
    if (entry == NULL) {
        make_room();
        entry = &learnt[learnt_count()];
        ip_addr_copy(entry->ip, *ip);
        if (router != NULL)
            ip6_addr_copy(entry->router, *router);
        entry->interface = interface_index(netif);
        entry->origin = (uint8_t)origin;
    }
    entry->end_us = end_us;
    changed();
}

void hook_nd_nameserver(const struct netif *netif, const ip6_addr_t *router,
                        const ip_addr_t *server, u32_t lifetime_s)
{
    if (lifetime_s == 0) {
        struct learnt *entry = find(netif, PS_ORIGIN_SLAAC, router, server);
        if (entry != NULL) {
            drop((size_t)(entry - learnt));
            changed();
        }
        return;
    }
    if (interface_of(netif)->services & PS_IF_SLAAC)
        learn(netif, PS_ORIGIN_SLAAC, router, server,
              lifetime_s == UINT32_MAX ? FOR_EVER : port.now_us + lifetime_s * UINT64_C(1000000));
}

/* The first of a message's servers takes the place of those of the message before. */
void hook_dhcp_nameserver(const struct netif *netif, u8_t position, const ip_addr_t *server)
{
    if (position == 0)
        nameservers_forget(netif, PS_ORIGIN_DHCP, IP_IS_V6(server) ? PS_INET6 : PS_INET);
    learn(netif, PS_ORIGIN_DHCP, NULL, server, FOR_EVER);
}

void hook_nd_router_gone(const struct netif *netif, const ip6_addr_t *router)
{
    for (size_t i = learnt_count(); i-- > 0;)
        if (learnt[i].interface == interface_index(netif) && learnt[i].origin == PS_ORIGIN_SLAAC &&
            ip6_addr_eq(&learnt[i].router, router))
            drop(i);
    changed();
}

void nameservers_forget(const struct netif *netif, enum ps_address_origin origin,
                        enum ps_family family)
{
    for (size_t i = learnt_count(); i-- > 0;)
        if (learnt[i].interface == interface_index(netif) && learnt[i].origin == origin &&
            (IP_IS_V6(&learnt[i].ip) ? PS_INET6 : PS_INET) == family)
            drop(i);
    changed();
}

void nameservers_interface_removed(const struct netif *netif)
{
    nameservers_forget(netif, PS_ORIGIN_SLAAC, PS_INET6);
    nameservers_forget(netif, PS_ORIGIN_DHCP, PS_INET6);
    nameservers_forget(netif, PS_ORIGIN_DHCP, PS_INET);
}

const ip4_addr_t *nameservers_of_lease(const struct netif *netif, size_t position)
{
    for (size_t i = 0; i < learnt_count(); i++)
        if (learnt[i].interface == interface_index(netif) && learnt[i].origin == PS_ORIGIN_DHCP &&
            IP_IS_V4(&learnt[i].ip) && position-- == 0)
            return ip_2_ip4(&learnt[i].ip);
    return NULL;
}

void nameservers_init(void)
{
    memset(own, 0, sizeof own);
    memset(learnt, 0, sizeof learnt);
}

void nameservers_close(void)
{
    sys_untimeout(expire, NULL);
}

int engine_nameservers_learnt(ps_engine *engine, uint32_t index, const struct ps_address *addresses,
                              size_t count)
{
    (void)engine;
    struct netif *netif = interface_by_index(index);
    if (netif == NULL)
        return -ENODEV;
    nameservers_forget(netif, PS_ORIGIN_DHCP, PS_INET6);
    for (size_t i = 0; i < count; i++) {
        ip_addr_t ip;
        int result = address_to_lwip(&addresses[i], &ip);
        if (result < 0)
            return result;
        learn(netif, PS_ORIGIN_DHCP, NULL, &ip, FOR_EVER);
    }
    return 0;
}

/* --- the user's own, and the listing ---------------------------------------------------- */

int engine_nameserver_set(ps_engine *engine, size_t position, const struct ps_address *address)
{
    (void)engine;
    ip_addr_t ip;
    if (position >= OWN)
        return -ENOSPC;
    if (address == NULL || address->family == PS_UNSPECIFIED) {
        ip_addr_set_any(false, &own[position]);
        changed();
        return 0;
    }
    int result = address_to_lwip(address, &ip);
    if (result < 0)
        return result;
    if (ip_addr_isany(&ip) || ip_addr_ismulticast(&ip))
        return -EINVAL;
    own[position] = ip;
    changed();
    return 0;
}

static void describe(const ip_addr_t *ip, enum ps_address_origin origin, uint32_t interface,
                     struct ps_nameserver *out)
{
    memset(out, 0, sizeof *out);
    address_from_lwip(ip, 0, IP_IS_V6(ip) ? PS_INET6 : PS_INET, &out->address);
    out->origin = (uint8_t)origin;
    out->interface = interface;
}

int engine_nameserver_at(ps_engine *engine, size_t position, struct ps_nameserver *out)
{
    (void)engine;
    for (size_t i = 0; i < OWN; i++)
        if (!ip_addr_isany(&own[i]) && position-- == 0) {
            describe(&own[i], PS_ORIGIN_STATIC, 0, out);
            return 1;
        }
    for (size_t i = 0; i < learnt_count(); i++)
        if (!is_before(i) && position-- == 0) {
            describe(&learnt[i].ip, learnt[i].origin, learnt[i].interface, out);
            return 1;
        }
    return 0;
}
