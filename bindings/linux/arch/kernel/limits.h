/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_LIMITS_H
#define ANYK_LIMITS_H

/* When the network is there: how much memory all TCP sockets may take. */
void anyk_set_limits(void);

#endif
