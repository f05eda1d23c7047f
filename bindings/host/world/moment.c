/*
 * A moment of a World, to come back to: its clock, its events and who is ready, its wires, the
 * tape's position. The Stacks have their own (stack/snapshot.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world/pace.h"
#include "world/store.h"
#include "world/world.h"

struct ps_moment {
    ps_world *world;
    struct stored *stored;
    uint64_t now_us, busy_us, woken_us, woken_events, flight_us, frames, events, order;
    struct world_event **heap;
    size_t heap_count, counts[EVENT_KINDS];
    struct world_member *ready_first, *ready_last;
    struct tape_position tape;
    struct trace_position trace;
};

/* Whether threads or their alarms are in it: what Python has on its stack can't be copied. */
static bool is_busy(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    bool alone =
        world->turns == NULL || (world->turns->next == NULL && world->turns == ps_turn_mine(world));
    pthread_mutex_unlock(&world->lock);
    return !alone;
}

/* Whether something comes from outside, which doesn't go back. */
static bool is_open(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    bool open = pace_expects(world);
    pthread_mutex_unlock(&world->lock);
    return open;
}

int ps_moment_create(ps_world *world, ps_moment **out)
{
    if (is_busy(world))
        return -EBUSY;
    if (is_open(world))
        return -EOPNOTSUPP;
    ps_moment *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->heap = malloc((world->heap_count + 1) * sizeof *made->heap);
    made->stored = made->heap == NULL ? NULL : store_copy(world);
    if (made->stored == NULL) {
        free(made->heap);
        free(made);
        return -ENOMEM;
    }
    made->world = world_hold(world);
    pthread_mutex_lock(&world->lock);
    memcpy(made->heap, world->heap + 1, world->heap_count * sizeof *made->heap);
    made->heap_count = world->heap_count;
    memcpy(made->counts, world->counts, sizeof made->counts);
    made->woken_us = world->woken_us;
    made->woken_events = world->woken_events;
    made->flight_us = world->flight_us;
    made->now_us = atomic_load(&world->now_us);
    made->busy_us = atomic_load(&world->busy_us);
    made->frames = atomic_load(&world->frames);
    made->events = world->events;
    made->order = world->order;
    made->ready_first = world->ready_first;
    made->ready_last = world->ready_last;
    pthread_mutex_unlock(&world->lock);
    made->tape = tape_position(&world->tape);
    made->trace = trace_position(&world->trace);
    *out = made;
    return 0;
}

/* Its room never shrinks, so that the events of before have theirs. */
static void put_events_back(const ps_moment *moment)
{
    ps_world *world = moment->world;
    memcpy(world->heap + 1, moment->heap, moment->heap_count * sizeof *moment->heap);
    world->heap_count = moment->heap_count;
    memcpy(world->counts, moment->counts, sizeof world->counts);
    world->woken_us = moment->woken_us;
    world->woken_events = moment->woken_events;
    world->flight_us = moment->flight_us;
    world->events = moment->events;
    world->order = moment->order;
    world->ready_first = moment->ready_first;
    world->ready_last = moment->ready_last;
}

int ps_moment_return(ps_moment *moment)
{
    ps_world *world = moment->world;
    if (is_busy(world))
        return -EBUSY;
    if (is_open(world))
        return -EOPNOTSUPP;
    pthread_mutex_lock(&world->lock);
    int result = store_return(world, moment->stored);
    if (result == 0) {
        put_events_back(moment);
        atomic_store(&world->now_us, moment->now_us);
        atomic_store(&world->busy_us, moment->busy_us);
        atomic_store(&world->frames, moment->frames);
        pace_start_anew(world);
    }
    pthread_mutex_unlock(&world->lock);
    if (result < 0)
        return result;
    tape_return(&world->tape, &moment->tape);
    trace_return(&world->trace, &moment->trace);
    return 0;
}

void ps_moment_destroy(ps_moment *moment)
{
    store_drop(moment->world, moment->stored);
    ps_world_release(moment->world);
    free(moment->heap);
    free(moment);
}
