/*
 * Timers, in the place of lwIP's timeouts.c: the one-shot timers that lwIP asks for
 * (lwip/timeouts.h), and the ticks of its modules.
 *
 * A module of lwIP's counts time by being called at fixed intervals. Nearly all of these calls do
 * nothing, or no more than count. So a module is asked when it will do something, is called then,
 * and is told how many calls it was spared; the moments at which it acts stay those of its ticks.
 */
#ifndef PYSTACK_LWIP_TIMEOUTS_H
#define PYSTACK_LWIP_TIMEOUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NEVER_MS UINT64_MAX

struct tick {
    uint32_t interval_ms;
    void (*handler)(void);
    /* Before which moment a call only counts, when the next one is due at `next_ms`; both on the
     * clock of timeouts_now_ms(). NEVER_MS: as long as nothing else happens. */
    uint64_t (*work_ms)(uint64_t next_ms);
    /* Counts calls that are left out; NULL: there is nothing to count. */
    void (*skip)(uint32_t calls);
    /* One that is late by whole intervals makes up for them. Else it acts once, and goes on from
     * there: what only times how long an answer is waited for would send all it has at once. */
    bool catches_up;
    /* What it does may be to forget something, and no more: its module says when it is more. */
    bool forgets;
    uint64_t next_ms;
};

/* How many calls come before the one at which a count of calls ends; 0: the next one is it. */
static inline uint32_t tick_calls_left(uint32_t count)
{
    return count > 1 ? count - 1 : 0;
}

/* The ticks, in the order in which they act at one moment. */
void timeouts_init(struct tick *ticks, size_t count);
/* Time has passed: ticks that have nothing to do are on time afterwards, the others stay late. */
void timeouts_enter(void);
/* Does what is due. */
void timeouts_run(void);
/* When there will be something to do, on the engine's clock; UINT64_MAX: never. It may be too early
 * by a tick: the modules are not asked after each packet. */
uint64_t timeouts_next_us(void);
/* Whether there will be more to do than to forget something. */
bool timeouts_act_alone(void);

uint64_t timeouts_now_ms(void);
/* The moment of a stamp of sys_now(): of one that is at most 24 days away, and of one that lies at
 * most 49 days back. */
uint64_t timeouts_due_ms(uint32_t stamp_ms);
uint64_t timeouts_since_ms(uint32_t stamp_ms);

#endif
