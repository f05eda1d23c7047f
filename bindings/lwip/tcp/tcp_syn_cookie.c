/*
 * SYN cookies (RFC 4987 3.6): a handshake for which there is no room is kept in the initial
 * sequence number of the SYN-ACK, and, where the peer has timestamps, in the low bits of its TSval,
 * as in Linux. A cookie is good for the minute in which it was made and the next one.
 */
#include "base/counts.h"
#include "base/hooks.h"
#include "base/port.h"
#include "base/tunables.h"
#include "lwip/sys.h"
#include "tcp/tcp_handshake.h"
#include "tcp/tcp_isn.h"

enum {
    MINUTE_US = 60 * 1000 * 1000,
    MOST_MINUTES = 2,
    /* In TSval: the window scale (all ones: none), and whether SACK was offered. */
    SCALE_BITS = 0x0f,
    SACK_BIT = 0x10,
};

/* The least are for paths of yesterday, the largest for wires inside one machine. */
static const u16_t sizes[] = {48, 536, 1220, 1360, 1440, 1460, 8940, 65475};
#define SIZES (sizeof sizes / sizeof *sizes)

static u64_t last_sent_us;
static bool has_sent;

bool cookie_is_awaited(void)
{
    return has_sent && port.now_us - last_sent_us < (u64_t)MOST_MINUTES * MINUTE_US;
}

/* Of the addresses and ports; and of a moment, for which it is of the peer's first number, too: or
 * an ACK whose SEQ is off by one would name another segment size, and be taken. */
static u32_t hash(const struct handshake *handshake, u32_t minute)
{
    enum { COOKIE = 1, MOMENT = 2 };
    u64_t purpose = (u64_t)COOKIE << 56;
    if (minute != 0)
        purpose = (u64_t)MOMENT << 56 | (u64_t)(minute & 0xffffff) << 32 | handshake->theirs;
    return (u32_t)sequence_hash(&handshake->local, handshake->local_port, &handshake->remote,
                                handshake->remote_port, purpose);
}

static u32_t this_minute(void)
{
    return (u32_t)(port.now_us / MINUTE_US) + MOST_MINUTES; /* 0 is none */
}

/* RFC 4987, appendix A, in Linux's layout: 8 bits of the minute, 24 of the segment size, each
 * behind a hash. */
u32_t cookie_make(struct handshake *handshake, u32_t *timestamp_bits)
{
    u32_t size = SIZES - 1;
    while (size > 0 && sizes[size] > handshake->mss)
        size--;
    u32_t minute = this_minute();
    last_sent_us = port.now_us;
    has_sent = true;
    port_counts.cookies_sent++;
    *timestamp_bits = (handshake->scale == NO_SCALE ? SCALE_BITS : handshake->scale) |
                      (handshake->has_sack ? SACK_BIT : 0);
    return hash(handshake, 0) + handshake->theirs + (minute << 24) +
           ((hash(handshake, minute) + size) & 0xffffff);
}

/* What TSval kept. False: it says what is switched off. */
static bool take_options(const struct handshake_segment *segment, struct handshake *out)
{
    out->scale = NO_SCALE;
    if (!segment->has_timestamp)
        return true;
    u32_t bits = segment->tsecr - hook_tcp_timestamp_offset(&segment->local, &segment->remote);
    out->has_timestamp = true;
    out->tsrecent = segment->tsval;
    out->has_sack = bits & SACK_BIT;
    if ((bits & SCALE_BITS) != SCALE_BITS)
        out->scale = LWIP_MIN(bits & SCALE_BITS, 14);
    return tunables.tcp_timestamps && (tunables.tcp_sack || !out->has_sack) &&
           (tunables.tcp_window_scaling || out->scale == NO_SCALE);
}

bool cookie_check(const struct handshake_segment *segment, struct handshake *out)
{
    if (!tunables.tcp_syn_cookies || !cookie_is_awaited())
        return false;
    *out = (struct handshake){
        .local = segment->local,
        .remote = segment->remote,
        .local_port = segment->local_port,
        .remote_port = segment->remote_port,
        .ours = segment->ackno - 1,
        .theirs = segment->seqno - 1,
        .peer_window = segment->window,
    };
    u32_t rest = out->ours - out->theirs - hash(out, 0);
    u32_t minute = this_minute();
    u32_t age = (minute - (rest >> 24)) & 0xff;
    u32_t size = age < MOST_MINUTES ? (rest - hash(out, minute - age)) & 0xffffff : SIZES;
    if (size >= SIZES || !take_options(segment, out)) {
        port_counts.cookies_failed++;
        return false;
    }
    port_counts.cookies_received++;
    out->mss = sizes[size];
    out->own_scale = out->scale == NO_SCALE ? NO_SCALE : TCP_RCV_SCALE;
    return true;
}
