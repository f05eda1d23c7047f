/*
 * The MTU of paths, as routers report it (RFC 1191, RFC 8201), and what that makes of a packet. A
 * path is known by its destination.
 *
 * A report only ever reduces, IPv6's never below 1280 octets and IPv4's never below 552, and is
 * forgotten ten minutes later (RFC 8201 4, 5.3): the next large packet tries the link's MTU again.
 * icmp_error.c brings those that are about packets of ours.
 */
#include "ip/path_mtu.h"

#include "base/hooks.h"
#include "base/keyed_hash.h"
#include "base/port.h"
#include "lwip/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"

/* Paths that are smaller than their first link. Each has a few places, by a keyed hash, where the
 * oldest gives way: forging many reports does not make us search them. */
#define SETS 64
#define PLACES 4
#define FORGET_US UINT64_C(600000000)
#define MINIMUM4 552 /* as Linux: what is said to be less is cut on its way, and not here */
#define MINIMUM6 1280
#define NEVER_CUT 68 /* octets that every link takes whole (RFC 791 3.2) */

struct path {
    ip_addr_t destination;
    uint16_t mtu; /* 0: unused */
    bool cut;     /* routers are to cut what goes this way */
    uint64_t reported_us;
};

static struct path paths[SETS][PLACES];
static bool used; /* the packets of most Stacks ask for none */

struct output_rules output_rules;

static struct path *places(const ip_addr_t *destination)
{
    uint64_t words[2] = {0};
    if (IP_IS_V6(destination))
        memcpy(words, ip_2_ip6(destination)->addr, sizeof words);
    else
        words[0] = ip_2_ip4(destination)->addr;
    return paths[keyed_hash(words, 2) % SETS];
}

static struct path *find(const ip_addr_t *destination)
{
    struct path *set = places(destination);
    for (struct path *path = set; path < set + PLACES; path++) {
        if (path->mtu != 0 && ip_addr_eq(&path->destination, destination)) {
            if (port.now_us - path->reported_us < FORGET_US)
                return path;
            path->mtu = 0;
        }
    }
    return NULL;
}

static struct path *make(const ip_addr_t *destination)
{
    struct path *set = places(destination), *oldest = set;
    for (struct path *path = set; path < set + PLACES && oldest->mtu != 0; path++)
        if (path->mtu == 0 || path->reported_us < oldest->reported_us)
            oldest = path;
    used = true;
    oldest->cut = false;
    ip_addr_copy(oldest->destination, *destination);
    return oldest;
}

u16_t path_mtu(const ip_addr_t *destination, u16_t link_mtu)
{
    const struct path *path = !used ? NULL : find(destination);
    return path != NULL && path->mtu < link_mtu ? path->mtu : link_mtu;
}

bool path_mtu_cuts(const ip_addr_t *destination)
{
    const struct path *path = !used ? NULL : find(destination);
    return path != NULL && path->cut;
}

void path_mtu_reduce(const ip_addr_t *destination, uint32_t mtu)
{
    struct path *path = find(destination);
    bool is_v6 = IP_IS_V6(destination);
    bool cut = !is_v6 && mtu < MINIMUM4;
    if (cut)
        mtu = MINIMUM4;
    if (mtu > UINT16_MAX || (is_v6 && mtu < MINIMUM6) ||
        (path != NULL && (mtu > path->mtu || (mtu == path->mtu && path->cut >= cut))))
        return;
    if (path == NULL)
        path = make(destination);
    path->mtu = (uint16_t)mtu;
    path->cut = cut;
    path->reported_us = port.now_us;
}

/* --- what lwIP asks ---------------------------------------------------------------------- */

u16_t hook_ip6_path_mtu(const ip6_addr_t *destination, u16_t link_mtu)
{
    if (output_rules.on)
        return output_rules.mtu;
    if (!used)
        return link_mtu;
    ip_addr_t ip;
    ip_addr_copy_from_ip6(ip, *destination);
    return path_mtu(&ip, link_mtu);
}

u16_t hook_ip4_path_mtu(const ip4_addr_t *destination, u16_t link_mtu)
{
    if (output_rules.on)
        return output_rules.mtu;
    if (!used)
        return link_mtu;
    ip_addr_t ip;
    ip_addr_copy_from_ip4(ip, *destination);
    return path_mtu(&ip, link_mtu);
}

u16_t hook_ip4_flags(const struct pbuf *packet)
{
    bool whole = output_rules.on ? output_rules.dont_fragment : packet->tot_len <= NEVER_CUT;
    return whole ? PP_HTONS(IP_DF) : 0;
}
