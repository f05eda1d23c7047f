// SPDX-License-Identifier: GPL-2.0
/* Multicast frames, which no Linux driver counts for our wires. */
#ifndef PYSTACK_LINUX_FRAME_H
#define PYSTACK_LINUX_FRAME_H

#include "engine/linux.h"

/* Begins to count them for an interface that has MAC addresses. -ENOMEM. */
int frame_count_groups(ps_engine *self, uint32_t index);
void frame_forget_groups(ps_engine *self, uint32_t index);
/* How many came in; 0 where they aren't counted. */
uint64_t frame_groups(const ps_engine *self, uint32_t index);

#endif
