// SPDX-License-Identifier: GPL-2.0
/* Network interfaces, by rtnetlink. */
#ifndef PYSTACK_LINUX_INTERFACE_H
#define PYSTACK_LINUX_INTERFACE_H

#include "engine/linux.h"

/* RFC 8200 5; an interface with less has no IPv6. */
#define LEAST_MTU_IPV6 1280

/* One interface without what /proc/sys knows of it; -ENODEV. */
int interface_get(ps_engine *self, uint32_t index, struct ps_interface *out);

/* Whether router advertisements are accepted, from the interface's start or from now on. */
int slaac_allow(ps_engine *self, const struct ps_interface *interface, bool on);

/* The same, and solicits routers at once, or removes what they gave. */
int slaac(ps_engine *self, uint32_t index, bool on);

#endif
