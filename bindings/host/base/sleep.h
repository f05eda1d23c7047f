/*
 * A thread that sleeps on a word, until another one sets and wakes it.
 */
#ifndef PYSTACK_HOST_SLEEP_H
#define PYSTACK_HOST_SLEEP_H

#include <stdatomic.h>
#include <stdint.h>

/* Until the word isn't 0 or the moment comes (NO_DEADLINE: never); -errno, of which -EINTR is a
 * signal. */
int sleep_on(_Atomic uint32_t *word, uint64_t until_us);
void wake_sleeper(_Atomic uint32_t *word);

#endif
