/*
 * How often what is unacceptable is answered (RFC 5961 7), as in Linux: after an answer a
 * connection gives no other for tcp_invalid_ratelimit; and, if that is set, all connections
 * together give no more than about tcp_challenge_ack_limit in a second.
 */
#include "base/counts.h"
#include "base/hooks.h"
#include "base/port.h"
#include "base/tunables.h"
#include "lwip/sys.h"

/* How many a second has left. It begins with half of them to one and a half, at random: a peer
 * that counts its own would otherwise learn whether another connection got one (CVE-2016-5696). */
static bool all_may(void)
{
    static uint64_t second;
    static uint32_t left;
    uint32_t limit = (uint32_t)tunables.tcp_challenge_ack_limit;
    if (limit == INT32_MAX)
        return true;
    uint64_t now = port.now_us / 1000000 + 1;
    if (now != second)
        left = limit == 0 ? 0 : limit / 2 + limit % 2 + port_random() % limit;
    second = now;
    if (left == 0)
        return false;
    left--;
    return true;
}

bool hook_tcp_may_refuse(u32_t *refused_ms, u8_t *refused)
{
    if ((*refused && sys_now() - *refused_ms < (u32_t)tunables.tcp_invalid_ratelimit_ms) ||
        !all_may()) {
        port_counts.answers_skipped++;
        return false;
    }
    *refused = true;
    *refused_ms = sys_now();
    return true;
}
