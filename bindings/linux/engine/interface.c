// SPDX-License-Identifier: GPL-2.0
/* Network interfaces, by rtnetlink. */
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include "engine/conflict.h"
#include "engine/frame.h"
#include "engine/interface.h"
#include "engine/netlink.h"
#include "engine/proc.h"

/* RFC 791: every host takes 68 bytes. */
#define LEAST_MTU 68

int slaac_allow(ps_engine *self, const struct ps_interface *interface, bool on)
{
    static const char *const settings[] = {"accept_ra", "autoconf"};
    char path[128];
    (void)self;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/%s", interface->name, settings[i]);
        int result = proc_write(path, on ? "1\n" : "0\n");
        /* An MTU that is too small for IPv6 leaves the interface without such files. */
        if (result < 0 && !(result == -ENOENT && interface->mtu < LEAST_MTU_IPV6))
            return result;
    }
    return 0;
}

static bool mtu_fits(uint32_t mtu)
{
    return mtu >= LEAST_MTU && mtu <= PS_MTU_MAXIMUM;
}

static int remove_one(ps_engine *self, uint32_t index)
{
    int result = anyk_interface_remove(index);
    if (result == 0)
        frame_forget_groups(self, index);
    return result;
}

_Static_assert((int)ANYK_OFFLOAD_TCP4_LONGEST == (int)PS_OFFLOAD_TCP4_LONGEST &&
                   (int)ANYK_OFFLOAD_UDP == (int)PS_OFFLOAD_UDP,
               "the offloads are handed on as they are");
_Static_assert(ANYK_LONGEST <= PS_LONGEST_SIZE, "the host has room for it");

int engine_interface_add(ps_engine *self, const struct ps_interface *spec)
{
    size_t length = strnlen(spec->name, PS_NAME_SIZE);
    /* Linux would replace `%d` by a number. */
    if (length == 0 || length == PS_NAME_SIZE || strchr(spec->name, '%') != NULL)
        return -EINVAL;
    if (!mtu_fits(spec->mtu) || (spec->layer != PS_LAYER_ETHERNET && spec->layer != PS_LAYER_IP))
        return -EINVAL;
    bool ethernet = spec->layer == PS_LAYER_ETHERNET;
    long index = anyk_interface_add(spec->name, spec->mtu, spec->mac, ethernet, spec->offloads);
    if (index < 0)
        return (int)index;
    struct ps_interface made = *spec;
    made.index = (uint32_t)index;
    int result = ethernet ? frame_count_groups(self, made.index) : 0;
    if (result == 0 && !(spec->flags & PS_IF_LINK))
        result = anyk_interface_link(made.index, 0);
    if (result == 0)
        result = slaac_allow(self, &made, spec->flags & PS_IF_SLAAC);
    if (result == 0 && spec->flags & PS_IF_UP)
        result = engine_interface_set_up(self, made.index, true);
    if (result == 0)
        return (int)index;
    remove_one(self, made.index);
    return result;
}

int engine_interface_remove(ps_engine *self, uint32_t index)
{
    struct ps_interface one;
    int result = interface_get(self, index, &one);
    if (result < 0)
        return result;
    if (one.flags & PS_IF_LOOPBACK)
        return -EPERM;
    return remove_one(self, index);
}

static int change_flags(ps_engine *self, uint32_t index, unsigned flags, unsigned which)
{
    struct request r;
    struct ifinfomsg i = {.ifi_index = (int)index, .ifi_flags = flags, .ifi_change = which};
    if (index == 0)
        return -ENODEV;
    return carry_out(self, begin(&r, RTM_SETLINK, 0, &i, sizeof i));
}

static int change_up(ps_engine *self, uint32_t index, bool up)
{
    return change_flags(self, index, up ? IFF_UP : 0, IFF_UP);
}

static int change_link(ps_engine *self, uint32_t index, bool up)
{
    (void)self;
    return anyk_interface_link(index, up);
}

/* What is to be done when an interface comes up. */
static int change(ps_engine *self, uint32_t index, bool up,
                  int (*make)(ps_engine *self, uint32_t index, bool up))
{
    const uint32_t works = PS_IF_UP | PS_IF_LINK;
    struct ps_interface before, after;
    int result = interface_get(self, index, &before);
    if (result == 0)
        result = make(self, index, up);
    if (result == 0)
        result = interface_get(self, index, &after);
    if (result == 0 && (before.flags & works) != works && (after.flags & works) == works)
        conflict_check_again(self, index);
    return result;
}

int engine_interface_set_up(ps_engine *self, uint32_t index, bool up)
{
    return change(self, index, up, change_up);
}

int engine_interface_set_link(ps_engine *self, uint32_t index, bool up)
{
    return change(self, index, up, change_link);
}

static int change_attribute(ps_engine *self, uint32_t index, int type, const void *data,
                            size_t size)
{
    struct request r;
    struct ifinfomsg i = {.ifi_index = (int)index};
    begin(&r, RTM_SETLINK, 0, &i, sizeof i);
    attribute(&r, type, data, size);
    return carry_out(self, &r);
}

int engine_interface_set_mtu(ps_engine *self, uint32_t index, uint32_t mtu)
{
    if (index == 0)
        return -ENODEV;
    return mtu_fits(mtu) ? change_attribute(self, index, IFLA_MTU, &mtu, sizeof mtu) : -EINVAL;
}

int engine_interface_set_mac(ps_engine *self, uint32_t index, const uint8_t mac[6])
{
    struct ps_interface one;
    int result = interface_get(self, index, &one);
    if (result < 0)
        return result;
    if (one.layer != PS_LAYER_ETHERNET)
        return -EOPNOTSUPP;
    return change_attribute(self, index, IFLA_ADDRESS, mac, 6);
}
