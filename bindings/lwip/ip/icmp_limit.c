/*
 * How many ICMP errors are sent (RFC 1812 4.3.2.8, RFC 4443 2.4 f): token buckets like Linux's, one
 * for all and one for each destination. Echo replies have no limit, nor has what path MTU discovery
 * needs.
 */
#include "ip/icmp_limit.h"

#include "base/keyed_hash.h"
#include "base/port.h"
#include "base/tunables.h"
#include "link/address.h"
#include "lwip/icmp.h"
#include "lwip/icmp6.h"

#define PEERS 1024   /* 10 bits of a hash */
#define PEER_BURST 6 /* errors to one destination at once */

/* Peers have a place each by a keyed hash. A newcomer in a place begins with all tokens: the
 * limit for all holds all the same. */
static struct peer {
    uint64_t name;      /* 64 bits of the hash; 0: unused */
    uint64_t credit_us; /* time saved up, of which an error costs the interval */
    uint64_t updated_us;
} peers[PEERS];

static struct {
    uint64_t tokens_us; /* an error costs a second's part, on average */
    uint64_t updated_us;
    bool filled;
} everybody;

static bool peer_allows(uint64_t name, uint64_t interval_us)
{
    if (interval_us == 0)
        return true;
    struct peer *peer = &peers[name >> 54];
    if (peer->name != name)
        *peer = (struct peer){name, PEER_BURST * interval_us, port.now_us};
    peer->credit_us += port.now_us - peer->updated_us;
    peer->updated_us = port.now_us;
    if (peer->credit_us > PEER_BURST * interval_us)
        peer->credit_us = PEER_BURST * interval_us;
    if (peer->credit_us < interval_us)
        return false;
    peer->credit_us -= interval_us;
    return true;
}

/* One token on average, none to two: a spoofer could otherwise count, by what is left for
 * him, how many errors they have got (CVE-2020-25705). */
static bool everybody_allows(void)
{
    uint64_t rate = (uint64_t)tunables.icmp_messages_per_s;
    if (rate == 0)
        return false;
    uint64_t cost_us = 1000000 / rate, most_us = (uint64_t)tunables.icmp_burst * cost_us;
    if (!everybody.filled)
        everybody.tokens_us = most_us;
    else
        everybody.tokens_us += port.now_us - everybody.updated_us;
    everybody.filled = true;
    everybody.updated_us = port.now_us;
    if (everybody.tokens_us > most_us)
        everybody.tokens_us = most_us;
    if (everybody.tokens_us < cost_us)
        return false;
    uint64_t taken_us = port_random() % 3 * cost_us;
    everybody.tokens_us -= taken_us < everybody.tokens_us ? taken_us : everybody.tokens_us;
    return true;
}

/* Errors to our own addresses are not limited. */
static bool allows(const ip_addr_t *to, uint64_t words[3], uint64_t interval_us)
{
    return address_is_ours(to) ||
           (peer_allows(keyed_hash(words, 3) | 1, interval_us) && everybody_allows());
}

bool icmp4_is_within_rate(const ip4_addr_t *to, u8_t type, u8_t code)
{
    ip_addr_t address;
    if ((type == ICMP_DUR && code == ICMP_DUR_FRAG) || type >= 32 ||
        (tunables.icmp_rate_mask >> type & 1) == 0)
        return true;
    ip_addr_copy_from_ip4(address, *to);
    uint64_t words[3] = {to->addr};
    return allows(&address, words, (uint64_t)tunables.icmp_rate_limit_ms * 1000);
}

bool icmp6_is_within_rate(const ip6_addr_t *to, u8_t type)
{
    ip_addr_t address;
    if (type == ICMP6_TYPE_PTB)
        return true;
    ip_addr_copy_from_ip6(address, *to);
    uint64_t words[3] = {0, 0, 6};
    memcpy(words, to->addr, sizeof to->addr);
    return allows(&address, words, (uint64_t)tunables.icmp6_rate_limit_ms * 1000);
}
