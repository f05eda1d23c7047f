/*
 * Initial sequence numbers that an outsider can't guess (RFC 6528): a keyed hash of the
 * connection's addresses and ports, plus a clock of 4 microseconds a step.
 */
#include "hooks.h"
#include "port.h"

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

static void pack(const ip_addr_t *ip, uint64_t out[2])
{
    out[0] = out[1] = 0;
    if (IP_IS_V6(ip))
        memcpy(out, ip_2_ip6(ip)->addr, 16);
    else
        memcpy(out, &ip_2_ip4(ip)->addr, 4);
}

u32_t hook_tcp_sequence(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                        u16_t remote_port)
{
    if (!key_drawn) {
        port.hypercalls.random(port.hypercalls.user, key, sizeof key);
        key_drawn = true;
    }
    uint64_t words[5];
    pack(local, words);
    pack(remote, words + 2);
    words[4] = (uint64_t)local_port << 16 | remote_port;
    return (u32_t)(siphash(words, 5) + port.now_us / 4);
}
