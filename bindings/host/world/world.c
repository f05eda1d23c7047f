/*
 * A World's clock and its events.
 *
 * The clock stands still while anything is ready: Stacks first, in the order in which they became
 * so. Then it moves to the first event of a binary heap. Events of one moment are in the order in
 * which they were set, so that two runs are alike.
 */
#include "world/world.h"

#include <errno.h>
#include <stdlib.h>

#include "world/pace.h"

#define FIRST_ROOM 64
/* Where so much has happened for so long and woken nobody, it never will: probes of a window that
 * nobody opens, or timers that look after tables. Both: a single timer may be a year away. */
#define LONG_IN_VAIN_US (30 * 86400 * UINT64_C(1000000))
#define MUCH_IN_VAIN 100000
/* An exchange may lead to something for as long as so many frames are on their way in turn. */
#define FLIGHTS_IN_VAIN 8

static _Atomic uint64_t worlds;

int ps_world_create(uint64_t start_us, ps_world **out)
{
    ps_world *world = calloc(1, sizeof *world);
    if (world == NULL)
        return -ENOMEM;
    world->heap = malloc(FIRST_ROOM * sizeof *world->heap);
    if (world->heap == NULL) {
        free(world);
        return -ENOMEM;
    }
    world->heap_room = FIRST_ROOM;
    world->number = atomic_fetch_add(&worlds, 1) + 1;
    pthread_mutex_init(&world->lock, NULL);
    pthread_mutex_init(&world->store_lock, NULL);
    pthread_cond_init(&world->rested, NULL);
    tape_open(&world->tape);
    trace_open(&world->trace);
    atomic_store(&world->references, 1);
    atomic_store(&world->now_us, start_us);
    *out = world;
    return 0;
}

ps_world *world_hold(ps_world *world)
{
    atomic_fetch_add(&world->references, 1);
    return world;
}

void ps_world_release(ps_world *world)
{
    if (atomic_fetch_sub(&world->references, 1) > 1)
        return;
    while (world->turns != NULL) {
        ps_turn *turn = world->turns;
        world->turns = turn->next;
        free(turn);
    }
    pthread_mutex_destroy(&world->lock);
    pthread_mutex_destroy(&world->store_lock);
    pthread_cond_destroy(&world->rested);
    tape_close(&world->tape);
    trace_close(&world->trace);
    pace_free(world->pace);
    free(world->heap);
    free(world);
}

void ps_world_counts(ps_world *world, uint64_t *events, uint64_t *frames)
{
    pthread_mutex_lock(&world->lock);
    *events = world->events;
    *frames = atomic_load(&world->frames);
    pthread_mutex_unlock(&world->lock);
}

/* --- the heap ----------------------------------------------------------------------------- */

static bool is_before(const struct world_event *one, const struct world_event *other)
{
    return one->due_us != other->due_us ? one->due_us < other->due_us : one->order < other->order;
}

static void put(ps_world *world, size_t place, struct world_event *event)
{
    world->heap[place] = event;
    event->place = place;
}

static void rise(ps_world *world, struct world_event *event)
{
    size_t place = event->place;
    while (place > 1 && is_before(event, world->heap[place / 2])) {
        put(world, place, world->heap[place / 2]);
        place /= 2;
    }
    put(world, place, event);
}

static void sink(ps_world *world, struct world_event *event)
{
    size_t place = event->place;
    for (;;) {
        size_t child = 2 * place;
        if (child > world->heap_count)
            break;
        if (child < world->heap_count && is_before(world->heap[child + 1], world->heap[child]))
            child++;
        if (!is_before(world->heap[child], event))
            break;
        put(world, place, world->heap[child]);
        place = child;
    }
    put(world, place, event);
}

static void take_out(ps_world *world, struct world_event *event)
{
    size_t place = event->place;
    struct world_event *last = world->heap[world->heap_count--];
    event->place = 0;
    world->counts[event->kind]--;
    if (last == event)
        return;
    put(world, place, last);
    rise(world, last);
    sink(world, last);
}

static int make_room(ps_world *world)
{
    if (world->heap_count + 1 < world->heap_room)
        return 0;
    size_t room = 2 * world->heap_room;
    struct world_event **heap = realloc(world->heap, room * sizeof *heap);
    if (heap == NULL)
        return -ENOMEM;
    world->heap = heap;
    world->heap_room = room;
    return 0;
}

static int set(ps_world *world, struct world_event *event, uint64_t due_us)
{
    if (event->place != 0 && event->due_us == due_us)
        return 0;
    if (due_us == NOT_DUE) {
        if (event->place != 0)
            take_out(world, event);
        return 0;
    }
    if (event->place == 0) {
        int result = make_room(world);
        if (result < 0)
            return result;
        event->place = ++world->heap_count;
        world->counts[event->kind]++;
    }
    event->due_us = due_us;
    event->order = ++world->order;
    rise(world, event);
    sink(world, event);
    if (event->place == 1)
        pace_wake(world);
    return 0;
}

int world_set(ps_world *world, struct world_event *event, uint64_t due_us)
{
    pthread_mutex_lock(&world->lock);
    uint64_t now_us = atomic_load(&world->now_us);
    if (event->kind == EVENT_WIRE && due_us != NOT_DUE && due_us > now_us + world->flight_us)
        world->flight_us = due_us - now_us;
    int result = set(world, event, due_us);
    pthread_mutex_unlock(&world->lock);
    return result;
}

void world_take_out(ps_world *world, struct world_event *event)
{
    if (event->place != 0)
        take_out(world, event);
}

void world_note_progress(ps_world *world)
{
    atomic_store(&world->busy_us, atomic_load(&world->now_us));
}

/* --- one after the other ------------------------------------------------------------------ */

/* Under the lock, which is given up then: nobody frees it meanwhile. */
static void begin(ps_world *world, struct world_event *event)
{
    world->mover = pthread_self();
    atomic_store(&world->busy, event);
}

/* Without the lock: that is for those who wait, of whom there are hardly ever any. */
static void end(ps_world *world)
{
    atomic_store(&world->busy, NULL);
    if (atomic_load(&world->awaiting) == 0)
        return;
    pthread_mutex_lock(&world->lock);
    pthread_cond_broadcast(&world->rested);
    pthread_mutex_unlock(&world->lock);
}

void world_await(ps_world *world, const struct world_event *event)
{
    atomic_fetch_add(&world->awaiting, 1);
    while (atomic_load(&world->busy) == event && !pthread_equal(world->mover, pthread_self()))
        pthread_cond_wait(&world->rested, &world->lock);
    atomic_fetch_sub(&world->awaiting, 1);
}

void world_end(ps_world *world, struct world_event *event)
{
    pthread_mutex_lock(&world->lock);
    world_await(world, event);
    world_take_out(world, event);
    pthread_mutex_unlock(&world->lock);
}

enum rest { REST_SOME, REST_NONE, REST_OTHER };

/* What the members say who have timers. It gives up the lock meanwhile; REST_OTHER: what there was
 * has changed. */
static enum rest ask_members(ps_world *world, bool silent)
{
    uint64_t order = world->order;
    size_t count = world->heap_count;
    for (size_t place = 1; place <= world->heap_count; place++) {
        struct world_member *member = (struct world_member *)world->heap[place];
        enum acts acts = ACTS_UNKNOWN;
        if (member->acts != NULL) {
            begin(world, &member->event);
            pthread_mutex_unlock(&world->lock);
            acts = member->acts(member->argument);
            end(world);
            pthread_mutex_lock(&world->lock);
        }
        bool is_same = world->order == order && world->heap_count == count;
        if (!is_same || world->ready_first != NULL || world->turn_first != NULL)
            return REST_OTHER;
        if (acts == ACTS || (acts == ACTS_UNKNOWN && !silent))
            return REST_SOME;
    }
    return REST_NONE;
}

/* Whether something is left that may lead to a frame or the end of a wait. All else are timers of
 * Stacks that only look after tables or old timestamps, some of them for ever: so say the Stacks
 * themselves; of those that can't, it is so when they have been silent for long. And what goes on
 * for weeks without waking anyone never will. */
static enum rest what_is_left(ps_world *world, const struct world_event *next)
{
    if (world->counts[EVENT_ALARM] > 0)
        return REST_SOME;
    uint64_t vain_us = next->due_us - world->woken_us;
    if (world->pace == NULL && vain_us >= LONG_IN_VAIN_US &&
        vain_us / FLIGHTS_IN_VAIN >= world->flight_us &&
        world->events >= world->woken_events + MUCH_IN_VAIN)
        return REST_NONE;
    if (world->counts[EVENT_WIRE] > 0)
        return REST_SOME;
    uint64_t busy_us = atomic_load(&world->busy_us);
    if (pace_expects(world))
        return REST_SOME;
    return ask_members(world, world->pace != NULL && pace_is_silent(world, busy_us));
}

bool world_step(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    struct world_event *event = world->heap_count > 0 ? world->heap[1] : NULL;
    bool goes_first = world->pace != NULL && pace_keeps_up(world, event);
    struct world_member *ready = world->ready_first;
    if (ready != NULL && !goes_first) {
        world->ready_first = ready->next_ready;
        if (world->ready_first == NULL)
            world->ready_last = NULL;
        ready->ready = false;
        begin(world, &ready->event);
        pthread_mutex_unlock(&world->lock);
        ready->move(ready->argument);
        end(world);
        return true;
    }
    enum rest rest = event != NULL ? what_is_left(world, event) : REST_SOME;
    if (rest == REST_OTHER) {
        pthread_mutex_unlock(&world->lock);
        return true;
    }
    if (rest == REST_NONE)
        event = NULL;
    if (world->pace != NULL && pace_waits(world, event)) {
        pthread_mutex_unlock(&world->lock);
        return true;
    }
    if (event != NULL) {
        take_out(world, event);
        world->events++;
        if (event->due_us > atomic_load(&world->now_us))
            atomic_store(&world->now_us, event->due_us);
        begin(world, event);
    }
    pthread_mutex_unlock(&world->lock);
    if (event == NULL)
        return false;
    event->happen(event);
    end(world);
    return true;
}
