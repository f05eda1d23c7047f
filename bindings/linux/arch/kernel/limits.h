/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_LIMITS_H
#define ANYK_LIMITS_H

/* To be called once the network is up: sets how much memory all TCP sockets may take. */
void anyk_set_limits(void);

#endif
