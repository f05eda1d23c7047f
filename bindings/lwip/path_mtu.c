/*
 * The MTU of IPv6 paths, as routers report it (RFC 8201). A path is known by its destination.
 *
 * A report only ever reduces, never below 1280 octets, and is forgotten ten minutes later (4,
 * 5.3): the next large packet tries the link's MTU again. icmp_error.c brings those that are
 * about packets of ours.
 */
#include "hooks.h"
#include "lwip/prot/ip6.h"
#include "port.h"

/* Paths that are smaller than their first link. Each has a few places, by a keyed hash, where the
 * oldest gives way: whoever makes us believe in many does not make us look through them. */
#define SETS 64
#define PLACES 4
#define FORGET_US UINT64_C(600000000)
#define MINIMUM 1280

struct path {
    ip6_addr_t destination;
    uint16_t mtu; /* 0: unused */
    uint64_t reported_us;
};

static struct path paths[SETS][PLACES];
static bool used; /* the packets of most Stacks ask for none */

static struct path *places(const ip6_addr_t *destination)
{
    uint64_t words[2];
    memcpy(words, destination->addr, sizeof words);
    return paths[keyed_hash(words, 2) % SETS];
}

static struct path *find(const ip6_addr_t *destination)
{
    struct path *set = places(destination);
    for (struct path *path = set; path < set + PLACES; path++) {
        if (path->mtu != 0 && ip6_addr_eq(&path->destination, destination)) {
            if (port.now_us - path->reported_us < FORGET_US)
                return path;
            path->mtu = 0;
        }
    }
    return NULL;
}

static struct path *make(const ip6_addr_t *destination)
{
    struct path *set = places(destination), *oldest = set;
    for (struct path *path = set; path < set + PLACES && oldest->mtu != 0; path++)
        if (path->mtu == 0 || path->reported_us < oldest->reported_us)
            oldest = path;
    used = true;
    ip6_addr_copy(oldest->destination, *destination);
    return oldest;
}

u16_t hook_ip6_path_mtu(const ip6_addr_t *destination, u16_t link_mtu)
{
    const struct path *path = !used ? NULL : find(destination);
    return path != NULL && path->mtu < link_mtu ? path->mtu : link_mtu;
}

void path_mtu_reduce(const ip6_addr_t *destination, uint32_t mtu)
{
    struct path *path = find(destination);
    if (mtu < MINIMUM || mtu > UINT16_MAX || (path != NULL && mtu >= path->mtu))
        return;
    if (path == NULL)
        path = make(destination);
    path->mtu = (uint16_t)mtu;
    path->reported_us = port.now_us;
}
