/*
 * Hashes that an outsider can't foresee: SipHash-2-4, and multilinear hashing for tables of
 * connections, which costs less.
 */
#include "base/keyed_hash.h"

#include "base/port.h"

static uint64_t key[2];
static bool key_drawn;

static inline uint64_t rotate(uint64_t value, int bits)
{
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
    }
}

/* SipHash-2-4 over whole words. */
static uint64_t siphash(const uint64_t *words, size_t count)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                     key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573};
    for (size_t i = 0; i <= count; i++) {
        uint64_t word = i < count ? words[i] : (uint64_t)(count * 8) << 56;
        v[3] ^= word;
        mix(v, 2);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    mix(v, 4);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static void draw_key(void)
{
    if (!key_drawn) {
        port.hypercalls.random(port.hypercalls.user, key, sizeof key);
        key_drawn = true;
    }
}

uint64_t keyed_hash(const uint64_t *words, size_t count)
{
    draw_key();
    return siphash(words, count);
}

/* Every word has its own random factor (multilinear hashing): two keys meet in a bucket as
 * often as by chance, whatever addresses and ports an attacker chooses. */
uint32_t address_hash(uint16_t local_port, const ip_addr_t *remote, uint16_t remote_port)
{
    static uint64_t factors[6];
    static bool drawn;
    if (!drawn)
        port.hypercalls.random(port.hypercalls.user, factors, sizeof factors);
    drawn = true;
    uint64_t hash = factors[5] + factors[4] * ((uint32_t)local_port << 16 | remote_port);
    const uint32_t *words = IP_IS_V6(remote) ? ip_2_ip6(remote)->addr : &ip_2_ip4(remote)->addr;
    for (int i = 0; i < (IP_IS_V6(remote) ? 4 : 1); i++)
        hash += factors[i] * words[i];
    return (uint32_t)(hash >> 32);
}
