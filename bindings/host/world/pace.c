/*
 * A World in real time: its clock.
 *
 * The clock goes from event to event as in virtual time, so that the same seed has the same frames;
 * but before it moves to one, the thread that moves the World waits until the machine's clock has
 * come there. A World that is late leaves nothing out: its events follow each other without a wait
 * until it has caught up.
 *
 * While that thread waits, others may look at the clock: it is then the machine's, and so it is for
 * what comes from outside and ends the wait. That is a frame of a NIC that isn't a link's, or
 * another thread.
 */
#include "world/pace.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"

/* So many steps may come before an event whose moment has come. */
#define MOST_AHEAD 64

int ps_world_pace(ps_world *world, uint64_t silence_us)
{
    if (world->pace != NULL) {
        pace_start_anew(world);
        return 0;
    }
    struct pace *pace = calloc(1, sizeof *pace);
    if (pace == NULL)
        return -ENOMEM;
    int result = doorbell_open(&pace->bell);
    if (result < 0) {
        free(pace);
        return result;
    }
    pace->silence_us = silence_us;
    pthread_mutex_lock(&world->lock);
    world->pace = pace;
    pace_start_anew(world);
    pthread_mutex_unlock(&world->lock);
    return 0;
}

void pace_free(struct pace *pace)
{
    if (pace == NULL)
        return;
    doorbell_close(&pace->bell);
    free(pace);
}

/* --- clocks -------------------------------------------------------------------------------- */

void pace_start_anew(ps_world *world)
{
    if (world->pace != NULL)
        world->pace->lead_us = monotonic_us() - atomic_load(&world->now_us);
}

/* The clock, which never goes back; where it is behind, it moves. */
static uint64_t reach(ps_world *world, uint64_t moment_us)
{
    uint64_t now_us = atomic_load(&world->now_us);
    while (moment_us > now_us &&
           !atomic_compare_exchange_weak(&world->now_us, &now_us, moment_us)) {}
    return moment_us > now_us ? moment_us : now_us;
}

uint64_t pace_machines_us(const struct pace *pace)
{
    return monotonic_us() - pace->lead_us;
}

uint64_t ps_world_now_us(ps_world *world)
{
    const struct pace *pace = world->pace;
    uint64_t until_us = pace != NULL ? atomic_load(&pace->until_us) : 0;
    if (until_us == 0)
        return atomic_load(&world->now_us);
    uint64_t machines = pace_machines_us(pace);
    return reach(world, machines < until_us ? machines : until_us);
}

uint64_t ps_world_behind_us(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    uint64_t now_us = ps_world_now_us(world);
    uint64_t machines = world->pace != NULL ? pace_machines_us(world->pace) : now_us;
    pthread_mutex_unlock(&world->lock);
    return machines > now_us ? machines - now_us : 0;
}

/* --- from outside -------------------------------------------------------------------------- */

void pace_end_wait(ps_world *world)
{
    const struct pace *pace = world->pace;
    if (atomic_load(&pace->until_us) != 0)
        doorbell_ring(&pace->bell);
}

int ps_world_expect(ps_world *world, bool more)
{
    pthread_mutex_lock(&world->lock);
    int result = world->pace != NULL ? 0 : -EOPNOTSUPP;
    if (result == 0) {
        world->pace->expected += more ? 1 : -1u;
        pace_wake(world); /* without it, perhaps nothing can come any more */
    }
    pthread_mutex_unlock(&world->lock);
    return result;
}

bool pace_expects(const ps_world *world)
{
    const struct pace *pace = world->pace;
    return pace != NULL && (pace->expected > 0 || pace->watched_count > 0);
}

bool pace_is_silent(const ps_world *world, uint64_t busy_us)
{
    return !pace_expects(world) &&
           pace_machines_us(world->pace) >= busy_us + world->pace->silence_us;
}

bool pace_keeps_up(ps_world *world, const struct world_event *next)
{
    struct pace *pace = world->pace;
    if (!pace_expects(world))
        return false;
    uint64_t machines = pace_machines_us(pace), due_us = next != NULL ? next->due_us : NOT_DUE;
    if (world->ready_first == NULL)
        pace->ready_run = 0;
    else
        pace->ready_run++;
    reach(world, machines < due_us ? machines : due_us);
    return due_us <= machines && pace->ready_run > MOST_AHEAD;
}
