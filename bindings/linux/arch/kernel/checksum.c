// SPDX-License-Identifier: GPL-2.0
/* The Internet checksum (RFC 1071), eight bytes at a time; the kernel's C version takes four. The
 * machines are little-endian and allow unaligned reads, so a buffer's alignment doesn't matter. */
#include <linux/string.h>
#include <linux/unaligned.h>
#include <net/checksum.h>

#define AT_ONCE 32

static __always_inline u64 add(u64 sum, u64 more)
{
    sum += more;
    return sum + (sum < more);
}

/* The sum in ones' complement, of 64 bits. */
static u64 sum_of(const void *buffer, size_t size)
{
    const u8 *next = buffer;
    u64 one = 0, two = 0, rest = 0;

    for (; size >= AT_ONCE; size -= AT_ONCE, next += AT_ONCE) {
        one = add(one, get_unaligned((const u64 *)next));
        two = add(two, get_unaligned((const u64 *)(next + 8)));
        one = add(one, get_unaligned((const u64 *)(next + 16)));
        two = add(two, get_unaligned((const u64 *)(next + 24)));
    }
    for (; size >= 8; size -= 8, next += 8)
        one = add(one, get_unaligned((const u64 *)next));
    memcpy(&rest, next, size);
    return add(add(one, two), rest);
}

static __always_inline u32 to_32(u64 sum)
{
    sum = (sum & U32_MAX) + (sum >> 32);
    return (u32)((sum & U32_MAX) + (sum >> 32));
}

__wsum csum_partial(const void *buffer, int size, __wsum sum)
{
    return (__force __wsum)to_32(add(sum_of(buffer, size), (__force u32)sum));
}

__sum16 ip_fast_csum(const void *header, unsigned int words)
{
    return csum_fold((__force __wsum)to_32(sum_of(header, words * 4)));
}

__sum16 ip_compute_csum(const void *buffer, int size)
{
    return csum_fold((__force __wsum)to_32(sum_of(buffer, size)));
}

__wsum csum_tcpudp_nofold(__be32 from, __be32 to, __u32 size, __u8 protocol, __wsum sum)
{
    u64 all = (u64)(__force u32)sum + (__force u32)from + (__force u32)to;

    return (__force __wsum)to_32(all + ((u64)(size + protocol) << 8));
}
