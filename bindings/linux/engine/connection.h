// SPDX-License-Identifier: GPL-2.0
/* TCP connections that no socket holds. */
#ifndef PYSTACK_LINUX_CONNECTION_H
#define PYSTACK_LINUX_CONNECTION_H

#include "engine/linux.h"

/* Resets those that are closed but have data left to deliver: 0 or a negative errno. */
int connections_end_orphans(ps_engine *self);

#endif
