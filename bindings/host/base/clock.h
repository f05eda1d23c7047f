/*
 * The monotonic clock, by which the host waits.
 */
#ifndef PYSTACK_HOST_CLOCK_H
#define PYSTACK_HOST_CLOCK_H

#include <stdint.h>

#define NO_DEADLINE UINT64_MAX

uint64_t monotonic_us(void);
/* timeout_us as in host_api.h to a moment of monotonic_us(). */
uint64_t deadline_after(int64_t timeout_us);

#endif
