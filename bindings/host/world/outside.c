/*
 * A World in real time: the wait for an event's moment, and for what comes from outside: a frame of
 * a NIC that isn't a link's, or another thread.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "nic/queues.h"
#include "world/pace.h"

/* Of a World that is late and doesn't wait: descriptors are looked at once in so many. */
#define STEPS_A_LOOK 64

int world_watch(struct world_member *member, ps_nic *nic)
{
    ps_world *world = member->world;
    if (!nic_is_outside(nic))
        return 0;
    int result = 0, descriptor = nic_descriptor(nic), passed_on = -1;
    if (descriptor >= 0 && nic->queues != NULL)
        passed_on = queues_descriptor(nic->queues);
    pthread_mutex_lock(&world->lock);
    struct pace *pace = world->pace;
    if (pace == NULL)
        result = descriptor >= 0 ? -EOPNOTSUPP : 0;
    else if (pace->watched_count == MOST_WATCHED)
        result = -EMFILE;
    else
        pace->watched[pace->watched_count++] =
            (struct watched){member, nic, {descriptor, passed_on}};
    pace_wake(world);
    pthread_mutex_unlock(&world->lock);
    return result;
}

void world_unwatch(struct world_member *member, const ps_nic *nic)
{
    ps_world *world = member->world;
    pthread_mutex_lock(&world->lock);
    struct pace *pace = world->pace;
    for (size_t i = pace != NULL ? pace->watched_count : 0; i-- > 0;)
        if (pace->watched[i].member == member && (nic == NULL || pace->watched[i].nic == nic))
            pace->watched[i] = pace->watched[--pace->watched_count];
    pace_wake(world);
    pthread_mutex_unlock(&world->lock);
}

/* --- waiting ------------------------------------------------------------------------------ */

static int wait_for(struct pollfd *polled, nfds_t count, uint64_t until_us)
{
    uint64_t now_us = monotonic_us(), left_us = until_us > now_us ? until_us - now_us : 0;
#ifdef __linux__
    struct timespec timeout = {(time_t)(left_us / 1000000), (long)(left_us % 1000000) * 1000};
    int ready = ppoll(polled, count, until_us == NO_DEADLINE ? NULL : &timeout, NULL);
#else
    uint64_t left_ms = left_us / 1000 + (left_us % 1000 != 0);
    int ready = poll(polled, count, left_ms > 60000 ? 60000 : (int)left_ms);
#endif
    return ready < 0 ? -errno : ready;
}

/* What the wait has found is ready. A member may have left meanwhile. */
static void take_notice(ps_world *world, const struct pollfd *polled, nfds_t count)
{
    struct pace *pace = world->pace;
    if (polled[0].revents != 0)
        doorbell_quiet(&pace->bell);
    for (nfds_t i = 1; i < count; i++)
        for (size_t place = 0; polled[i].revents != 0 && place < pace->watched_count; place++)
            if (pace->watched[place].descriptors[0] == polled[i].fd ||
                pace->watched[place].descriptors[1] == polled[i].fd)
                world_append(pace->watched[place].member);
}

bool pace_waits(ps_world *world, const struct world_event *next)
{
    struct pace *pace = world->pace;
    /* Others than the World's own may have come since the caller looked. */
    if (world->turn_first != NULL || world->wanted || world->over)
        return true;
    if (next == NULL && !pace_expects(world))
        return false;
    uint64_t due_us = next != NULL ? next->due_us : NOT_DUE;
    bool is_late = due_us <= pace_machines_us(pace);
    if (is_late && (pace->watched_count == 0 || ++pace->steps % STEPS_A_LOOK != 0))
        return false;
    struct pollfd polled[2 * MOST_WATCHED + 1] = {{pace->bell.hears, POLLIN, 0}};
    nfds_t count = 1;
    for (size_t i = 0; i < 2 * pace->watched_count; i++) {
        int descriptor = pace->watched[i / 2].descriptors[i % 2];
        if (descriptor >= 0)
            polled[count++] = (struct pollfd){descriptor, POLLIN, 0};
    }
    uint64_t until_us = due_us == NOT_DUE ? NO_DEADLINE : due_us + pace->lead_us;
    uint64_t silent_us = atomic_load(&world->busy_us) + pace->silence_us + pace->lead_us;
    uint64_t now_us = monotonic_us(), look_us = now_us + PS_LOOK_US;
    if (silent_us > now_us && silent_us < until_us)
        until_us = silent_us;
    if (world->look != NULL && look_us < until_us)
        until_us = look_us;
    atomic_store(&pace->until_us, due_us);
    pthread_mutex_unlock(&world->lock);
    int result = wait_for(polled, count, is_late ? 0 : until_us);
    pthread_mutex_lock(&world->lock);
    ps_world_now_us(world);
    atomic_store(&pace->until_us, 0);
    pace->interrupted = result == -EINTR;
    /* Where it was late to wake, what was due is first, and frames are looked at afterwards: they
     * came later than that. */
    if (!is_late && due_us <= pace_machines_us(pace))
        count = 1;
    if (result > 0)
        take_notice(world, polled, count);
    return true;
}
