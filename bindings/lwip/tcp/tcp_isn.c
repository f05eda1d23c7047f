/*
 * Initial sequence numbers that an outsider can't guess (RFC 6528): a keyed hash of the
 * connection's addresses and ports, plus a clock of 4 microseconds a step. And where its timestamps
 * begin.
 */
#include "tcp/tcp_isn.h"

#include "base/hooks.h"
#include "base/keyed_hash.h"
#include "base/port.h"
#include "lwip/pbuf.h"
#include "lwip/prot/ip6.h"

static void pack(const ip_addr_t *ip, uint64_t out[2])
{
    out[0] = out[1] = 0;
    if (IP_IS_V6(ip))
        memcpy(out, ip_2_ip6(ip)->addr, 16);
    else
        memcpy(out, &ip_2_ip4(ip)->addr, 4);
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
 * from one peer's what another gets. Not for each port: a reused pair goes on with the clock. */
u32_t hook_tcp_timestamp_offset(const ip_addr_t *local, const ip_addr_t *remote)
{
    enum { TIMESTAMP = 3 };
    return (u32_t)sequence_hash(local, 0, remote, 0, (uint64_t)TIMESTAMP << 32);
}
