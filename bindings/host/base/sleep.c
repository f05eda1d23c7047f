/*
 * Sleeping on a word: futex(2).
 */
#define _GNU_SOURCE
#include "base/sleep.h"

#include <errno.h>
#include <time.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "base/clock.h"

#ifdef __linux__
int sleep_on(_Atomic uint32_t *word, uint64_t until_us)
{
    struct timespec until = {(time_t)(until_us / 1000000), (long)(until_us % 1000000) * 1000};
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, 0,
                          until_us == NO_DEADLINE ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    return result < 0 ? -errno : 0;
}

void wake_sleeper(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#else
/* Without futexes: look every millisecond. */
int sleep_on(_Atomic uint32_t *word, uint64_t until_us)
{
    while (atomic_load(word) == 0 && monotonic_us() < until_us)
        if (nanosleep(&(struct timespec){0, 1000000}, NULL) != 0)
            return -EINTR;
    return 0;
}

void wake_sleeper(_Atomic uint32_t *word)
{
    (void)word;
}
#endif
