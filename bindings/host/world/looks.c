/*
 * Signals, and threads that don't give up their turn.
 *
 * Python runs the handlers of signals in the first thread, which sleeps while others have their
 * turn. Now and then it asks for it, and lets Python look. That ends no wait and changes no order:
 * whoever handed it the turn waits on, and the first thread moves the World in its place.
 *
 * Where the turn isn't given up for long, it is taken, and given back after the look: whichever
 * thread a signal has come to, Python runs the handlers in this one. Where that ends the wait, or
 * the World closes, it is kept. The thread that had it goes on until it calls the World, and waits
 * there for another.
 */
#include <errno.h>

#include "base/clock.h"
#include "base/sleep.h"
#include "world/pace.h"
#include "world/world.h"

/* Whether it takes the turn of one that keeps it. */
static bool is_impatient(const ps_turn *turn)
{
    const ps_world *world = turn->world;
    return (turn == world->first && world->look != NULL) || turn == world->closer;
}

static void want_look(ps_turn *turn)
{
    ps_world *world = turn->world;
    pthread_mutex_lock(&world->lock);
    if (turn == world->first && world->look != NULL && turn->waiting && !turn->ready &&
        atomic_load(&turn->word) == 0)
        world->wanted = true;
    if (world->wanted)
        pace_wake(world);
    pthread_mutex_unlock(&world->lock);
}

/* The one that lost it for a look: there is one at most. */
static ps_turn *find_taken(ps_world *world)
{
    ps_turn *turn = world->turns;
    while (turn != NULL && atomic_load(&turn->taken) != TAKEN_FOR_A_LOOK)
        turn = turn->next;
    return turn;
}

/* From the one that runs, unless that one moves the World, which gives it up by itself. */
static bool take(ps_turn *turn)
{
    ps_world *world = turn->world;
    pthread_mutex_lock(&world->lock);
    ps_turn *other = world->current;
    bool takes = other != NULL && other != turn && !world->moves && atomic_load(&turn->word) == 0 &&
                 find_taken(world) == NULL;
    if (takes) {
        atomic_store(&other->taken, TAKEN_FOR_A_LOOK);
        other->stands_by = false;
        world->current = turn;
        world->wanted = false;
    }
    pthread_mutex_unlock(&world->lock);
    return takes;
}

static void give_back(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    ps_turn *other = find_taken(world);
    bool sleeps = other->stands_by;
    atomic_store(&other->taken, NOT_TAKEN);
    other->stands_by = false;
    other->moves = sleeps && other->waiting;
    world->current = other;
    if (sleeps)
        atomic_store(&other->word, 1);
    pthread_mutex_unlock(&world->lock);
    if (sleeps)
        wake_sleeper(&other->word);
}

static void keep(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    ps_turn *other = find_taken(world);
    bool ends = other->stands_by && other->ends;
    atomic_store(&other->taken, other->stands_by && !ends ? NOT_TAKEN : TAKEN_FOR_GOOD);
    if (other->stands_by && !ends && !other->waiting) {
        other->waiting = true;
        turn_append(world, other, 0);
    }
    other->stands_by = false;
    if (ends)
        atomic_store(&other->word, 1);
    pthread_mutex_unlock(&world->lock);
    if (ends)
        wake_sleeper(&other->word);
}

bool turn_sleep(ps_turn *turn)
{
    uint64_t since_us = monotonic_us();
    while (atomic_load(&turn->word) == 0) {
        if (!is_impatient(turn)) {
            sleep_on(&turn->word, NO_DEADLINE);
            continue;
        }
        sleep_on(&turn->word, monotonic_us() + PS_LOOK_US); /* a signal ends it at once */
        if (atomic_load(&turn->word) != 0)
            break;
        want_look(turn);
        if (monotonic_us() - since_us >= PS_PATIENCE_US && take(turn))
            return false;
    }
    atomic_store(&turn->word, 0);
    return true;
}

static void leave(ps_turn *turn)
{
    ps_world *world = turn->world;
    pthread_mutex_lock(&world->lock);
    if (turn->ready)
        turn_withdraw(world, turn);
    turn->waiting = turn->polls = world->moves = false;
    pthread_mutex_unlock(&world->lock);
    world_set(world, &turn->alarm, NOT_DUE);
}

bool turn_look(ps_turn *turn, int *result)
{
    ps_world *world = turn->world;
    if (world->look == NULL)
        return false;
    uint64_t waits = turn->waits;
    pthread_mutex_lock(&world->lock);
    turn->woken_here = false;
    world->moves = false; /* a handler may spin */
    pthread_mutex_unlock(&world->lock);
    int found = world->look(world->python);
    /* A handler that waited has perhaps taken what this wait was to be woken by. */
    if (found == PS_LOOK_QUIET && turn->waits == waits && !turn->woken_here)
        return false;
    *result = found == PS_LOOK_RAISED ? -ECANCELED : 0;
    leave(turn);
    return true;
}

bool turn_await(ps_turn *turn, int *result)
{
    ps_world *world = turn->world;
    for (;;) {
        bool taken = !turn_sleep(turn), moves = turn->moves;
        turn->moves = false;
        if (!taken && !moves) {
            *result = world->over ? -EBADF : turn->result;
            return true;
        }
        bool ends = turn == world->first && turn_look(turn, result);
        if (!ends && taken && turn == world->closer) {
            *result = -EBADF;
            leave(turn);
            ends = true;
        }
        if (ends && taken)
            keep(world);
        if (ends || !taken)
            return ends;
        give_back(world);
    }
}

void turn_stand_by(ps_turn *turn)
{
    ps_world *world = turn->world;
    if (atomic_load(&turn->taken) == NOT_TAKEN)
        return;
    pthread_mutex_lock(&world->lock);
    int taken = world->over ? NOT_TAKEN : atomic_load(&turn->taken);
    turn->stands_by = taken == TAKEN_FOR_A_LOOK;
    if (taken == TAKEN_FOR_GOOD) {
        atomic_store(&turn->taken, NOT_TAKEN);
        turn->waiting = true;
        turn_append(world, turn, 0);
    }
    pthread_mutex_unlock(&world->lock);
    if (taken != NOT_TAKEN)
        turn_sleep(turn);
}

bool turn_ends(ps_turn *turn)
{
    ps_world *world = turn->world;
    pthread_mutex_lock(&world->lock);
    bool sleeps = atomic_load(&turn->taken) == TAKEN_FOR_A_LOOK;
    turn->stands_by = turn->ends = sleeps;
    pthread_mutex_unlock(&world->lock);
    if (sleeps)
        turn_sleep(turn);
    return !world->over && atomic_load(&turn->taken) == NOT_TAKEN;
}

/* --- Python's ----------------------------------------------------------------------------- */

void ps_world_look(ps_world *world, int (*look)(void *python), void *python)
{
    pthread_mutex_lock(&world->lock);
    world->look = look;
    world->python = python;
    pthread_mutex_unlock(&world->lock);
}

size_t ps_world_taken(ps_world *world, uint64_t *out, size_t room)
{
    size_t count = 0;
    pthread_mutex_lock(&world->lock);
    for (const ps_turn *turn = world->turns; turn != NULL; turn = turn->next)
        if (atomic_load(&turn->taken) != NOT_TAKEN && count++ < room)
            out[count - 1] = (uint64_t)(uintptr_t)turn->thread;
    pthread_mutex_unlock(&world->lock);
    return count;
}

void ps_world_abandon(ps_world *world)
{
    pthread_mutex_lock(&world->lock);
    world->over = true;
    pace_wake(world);
    for (ps_turn *turn = world->turns; turn != NULL; turn = turn->next) {
        atomic_store(&turn->taken, NOT_TAKEN);
        atomic_store(&turn->word, 1);
        wake_sleeper(&turn->word);
    }
    pthread_mutex_unlock(&world->lock);
}
