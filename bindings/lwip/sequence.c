/*
 * Initial sequence numbers that an outsider can't guess (RFC 6528): a keyed hash of the
 * connection's addresses and ports, plus a clock of 4 microseconds a step. And what else is such a
 * hash: IPv6's flow labels, where timestamps begin.
 */
#include "hooks.h"
#include "lwip/pbuf.h"
#include "lwip/prot/ip6.h"
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

/* A flow is what has the same addresses and ports (RFC 6437 3). What has no ports has no label. */
u32_t hook_ip6_flow_label(const struct pbuf *packet)
{
    enum { PORTS = 4, LARGEST = 0xfffff };
    static uint64_t last[5];
    static u32_t label; /* of the last flow: most packets belong to it */
    const struct ip6_hdr *header = packet->payload;
    uint64_t words[5] = {0};
    u8_t next = IP6H_NEXTH(header);
    if ((next != IP6_NEXTH_TCP && next != IP6_NEXTH_UDP && next != IP6_NEXTH_UDPLITE) ||
        packet->tot_len < IP6_HLEN + PORTS)
        return 0;
    memcpy(words, &header->src, 16);
    memcpy(words + 2, &header->dest, 16);
    pbuf_copy_partial(packet, words + 4, PORTS, IP6_HLEN);
    words[4] |= (uint64_t)next << 32;
    if (label == 0 || memcmp(words, last, sizeof last) != 0) {
        draw_key();
        memcpy(last, words, sizeof last);
        label = 1 + (u32_t)(siphash(words, 5) % LARGEST);
    }
    return label;
}

uint64_t sequence_hash(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                       u16_t remote_port, uint64_t purpose)
{
    uint64_t words[6];
    pack(local, words);
    pack(remote, words + 2);
    words[4] = (uint64_t)local_port << 16 | remote_port;
    words[5] = purpose;
    return keyed_hash(words, 6);
}

u32_t hook_tcp_sequence(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                        u16_t remote_port)
{
    return (u32_t)(sequence_hash(local, local_port, remote, remote_port, 0) + port.now_us / 4);
}

/* An offset to each pair of addresses (RFC 7323 7.1): TSval is not the uptime, and nobody can tell
 * from one peer's what another gets. Not to each port: who reuses a pair goes on with the clock. */
u32_t hook_tcp_timestamp_offset(const ip_addr_t *local, const ip_addr_t *remote)
{
    enum { TIMESTAMP = 3 };
    return (u32_t)sequence_hash(local, 0, remote, 0, (uint64_t)TIMESTAMP << 32);
}
