// SPDX-License-Identifier: GPL-2.0
/* Interface changes, for the host's PS_EVENT_INTERFACE. */
#ifndef PYSTACK_LINUX_MONITOR_H
#define PYSTACK_LINUX_MONITOR_H

#include "engine/linux.h"

int monitor_open(ps_engine *self);

/* Tells the host what has changed since the last time. */
void monitor_tell(ps_engine *self);

#endif
