// SPDX-License-Identifier: GPL-2.0
/* The name servers, which are only stored: Linux leaves resolution to programs. */
#include <errno.h>
#include <string.h>

#include "engine/address.h"

static bool is_group(const struct ps_address *a)
{
    return a->family == PS_INET6 ? a->bytes[0] == 0xff : (a->bytes[0] & 0xf0) == 0xe0;
}

static bool is_nobody(const struct ps_address *a)
{
    static const uint8_t nobody[sizeof a->bytes];
    return memcmp(a->bytes, nobody, width(a->family)) == 0;
}

int engine_nameserver_set(ps_engine *self, size_t position, const struct ps_address *address)
{
    if (position >= MOST_NAMESERVERS)
        return -ENOSPC;
    struct ps_address *kept = &self->nameservers[position];
    if (address == NULL || address->family == PS_UNSPECIFIED) {
        memset(kept, 0, sizeof *kept);
        return 0;
    }
    if (address->family != PS_INET && address->family != PS_INET6)
        return -EAFNOSUPPORT;
    if (is_nobody(address) || is_group(address))
        return -EINVAL;
    *kept = *address;
    return 0;
}

int engine_nameserver_at(ps_engine *self, size_t position, struct ps_nameserver *out)
{
    for (size_t i = 0; i < MOST_NAMESERVERS; i++) {
        const struct ps_address *kept = &self->nameservers[i];
        if (kept->family == PS_UNSPECIFIED || position-- > 0)
            continue;
        *out = (struct ps_nameserver){.address = *kept, .origin = PS_ORIGIN_STATIC};
        return 1;
    }
    return 0;
}
