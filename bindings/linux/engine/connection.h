// SPDX-License-Identifier: GPL-2.0
/* TCP connections that no socket holds. */
#ifndef PYSTACK_LINUX_CONNECTION_H
#define PYSTACK_LINUX_CONNECTION_H

#include "engine/netlink.h"

/* Resets those that are closed but have data left to deliver: 0 or a negative errno. */
int connections_end_orphans(ps_engine *self);

/* Calls `each` with what sock_diag(7) says of every TCP connection: 0 or a negative errno. */
int connections_each_tcp(ps_engine *self, each_message *each, void *user);

#endif
