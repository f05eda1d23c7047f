/*
 * The monotonic clock.
 */
#define _GNU_SOURCE
#include "base/clock.h"

#include <time.h>

uint64_t monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t deadline_after(int64_t timeout_us)
{
    return timeout_us < 0 ? NO_DEADLINE : monotonic_us() + (uint64_t)timeout_us;
}
