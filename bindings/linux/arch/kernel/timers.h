/* SPDX-License-Identifier: GPL-2.0 */
#ifndef ANYK_TIMERS_H
#define ANYK_TIMERS_H

#include <linux/types.h>

/* While the tick runs: nanoseconds until the first timer that isn't the tick; U64_MAX: none is
 * set. Looking changes nothing. */
u64 anyk_next_timer(void);

#endif
