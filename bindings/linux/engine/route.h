// SPDX-License-Identifier: GPL-2.0
/* Routes that the user has not set. */
#ifndef PYSTACK_LINUX_ROUTE_H
#define PYSTACK_LINUX_ROUTE_H

#include "engine/linux.h"

/* Where no route of the user's leads to them, IPv4 multicast groups are on the link of an interface
 * that is up, as IPv6 has it by itself. In a table that is asked after the main one, not listed. */
int route_add_groups(ps_engine *self, uint32_t index);

#endif
