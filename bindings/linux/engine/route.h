// SPDX-License-Identifier: GPL-2.0
/* Routes that the user didn't set. */
#ifndef PYSTACK_LINUX_ROUTE_H
#define PYSTACK_LINUX_ROUTE_H

#include "engine/linux.h"

/* Without a route of the user's, IPv4 multicast is on-link on an interface that is up, as IPv6's is
 * by itself. In a table looked up after the main one, and not listed. */
int route_add_groups(ps_engine *self, uint32_t index);

#endif
