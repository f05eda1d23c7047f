// SPDX-License-Identifier: GPL-2.0
/* The interfaces' addresses: the kernel's, and those under conflict detection. */
#include <errno.h>
#include <linux/if_addr.h>

#include "engine/address.h"
#include "engine/conflict.h"
#include "engine/interface.h"
#include "engine/kernel_address.h"

int engine_address_at(ps_engine *self, size_t position, struct ps_interface_address *out)
{
    /* The kernel's first, then those it doesn't have yet. */
    if (position == 0)
        self->addresses_end = SIZE_MAX;
    if (position < self->addresses_end) {
        int result = kernel_address_at(self, position, out);
        if (result != 0)
            return result;
        self->addresses_end = position;
    }
    return conflict_at(self, position - self->addresses_end, out);
}

static int add_ipv4(ps_engine *self, uint32_t index, const struct ps_address *a, bool detect)
{
    struct ps_interface one;
    struct ps_address own;
    int result = interface_get(self, index, &one);
    if (result < 0)
        return result;
    if (conflict_find(self, index, a) != NULL)
        return -EEXIST;
    if (!detect || one.layer != PS_LAYER_ETHERNET || one.flags & PS_IF_LOOPBACK)
        return kernel_address_add(self, index, a, 0);
    result = kernel_address_find(self, index, a, &own);
    if (result == 0)
        return -EEXIST;
    return result == -EADDRNOTAVAIL ? conflict_check(self, index, a) : result;
}

int engine_address_add(ps_engine *self, uint32_t index, const struct ps_address *a, bool detect)
{
    if (a->prefix > width(a->family) * 8 || !is_unicast(a))
        return -EINVAL;
    return a->family == PS_INET ? add_ipv4(self, index, a, detect)
                                : kernel_address_add(self, index, a, detect ? 0 : IFA_F_NODAD);
}

int engine_address_prefer(ps_engine *self, uint32_t index, const struct ps_address *a,
                          bool preferred)
{
    return a->family == PS_INET6 ? kernel_address_prefer(self, index, a, preferred) : -EINVAL;
}

int engine_address_remove(ps_engine *self, uint32_t index, const struct ps_address *a)
{
    struct ps_interface one;
    int result = interface_get(self, index, &one);
    if (result < 0)
        return result;
    struct conflict_watch *watch = conflict_find(self, index, a);
    bool unused = watch != NULL && watch->state != PS_ADDRESS_PREFERRED;
    if (watch != NULL)
        conflict_forget(self, watch);
    return unused ? 0 : kernel_address_remove(self, index, a);
}
