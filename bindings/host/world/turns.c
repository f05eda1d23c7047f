/*
 * Whose turn it is: of the threads that take part in a World one runs at a time.
 *
 * Whoever has to wait hands its turn to the next thread that may go on, and moves the World itself
 * if there is none.
 */
#include "world/world.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/sleep.h"
#include "world/pace.h"

/* The real clock is read once in so many steps. */
#define STEPS_A_LOOK 256

/* This thread's turn in the World of that number, which may be gone. */
static _Thread_local ps_turn *mine;
static _Thread_local uint64_t mine_in;

static void become_mine(ps_turn *turn)
{
    mine = turn;
    mine_in = turn->world->number;
    turn->thread = pthread_self();
#ifndef __APPLE__
    if (pthread_getcpuclockid(turn->thread, &turn->processor) != 0)
        turn->processor = 0;
#endif
}

static void fall_due(struct world_event *event)
{
    ps_turn *turn = (ps_turn *)((char *)event - offsetof(ps_turn, alarm));
    turn_ready(turn, -EAGAIN);
}

static ps_turn *create(ps_world *world)
{
    ps_turn *turn = calloc(1, sizeof *turn);
    if (turn == NULL)
        return NULL;
    turn->world = world;
    turn->number = world->turn_count++;
    turn->alarm.happen = fall_due;
    turn->alarm.kind = EVENT_ALARM;
    turn->next = world->turns;
    world->turns = turn;
    return turn;
}

/* Under the lock: how many of those that may go on the next one is behind. */
static size_t choose(ps_world *world)
{
    uint64_t numbers[PS_MOST_CHOICES];
    size_t count = 0;
    for (ps_turn *turn = world->turn_first; turn != NULL && count < PS_MOST_CHOICES;
         turn = turn->next_ready)
        numbers[count++] = turn->number;
    return tape_next(&world->tape, PS_CHOICE_TURN, numbers, count);
}

/* Under the lock: who is next, if anybody is. */
static ps_turn *take_next(ps_world *world)
{
    ps_turn *turn = world->turn_first;
    for (size_t skip = tape_chooses(&world->tape) ? choose(world) : 0; skip > 0; skip--)
        turn = turn->next_ready;
    if (turn == NULL)
        return NULL;
    turn_withdraw(world, turn);
    turn->waiting = turn->polls = false;
    return turn;
}

/* Under the lock, which it gives up. */
static void hand_to(ps_world *world, ps_turn *turn)
{
    world->current = turn;
    world->moves = false;
    if (turn == world->first)
        world->wanted = false; /* it looks for itself */
    atomic_store(&turn->word, 1);
    pthread_mutex_unlock(&world->lock);
    wake_sleeper(&turn->word);
}

/* Under the lock: the first thread, where it wants to look for signals. Nobody's wait ends by that,
 * and whoever waited in front of whom still does. */
static ps_turn *take_looker(ps_world *world, const ps_turn *here)
{
    ps_turn *first = world->first;
    if (!world->wanted || first == here || !first->waiting || first->ready)
        return NULL;
    world->wanted = false;
    first->moves = true;
    return first;
}

ps_turn *turn_here(ps_world *world)
{
    if (mine_in == world->number)
        return mine;
    pthread_mutex_lock(&world->lock);
    ps_turn *turn = world->first == NULL ? create(world) : NULL;
    if (turn != NULL) {
        world->first = world->current = turn;
        become_mine(turn);
    }
    pthread_mutex_unlock(&world->lock);
    return turn;
}

/* Under the lock. */
static void make_ready(ps_turn *turn, int result)
{
    ps_world *world = turn->world;
    if (mine_in == world->number && mine == turn)
        turn->woken_here = true;
    if (!turn->waiting || turn->ready)
        return;
    turn_append(world, turn, result);
    world->woken_us = atomic_load(&world->now_us);
    world->woken_events = world->events;
    world_note_progress(world);
    world_take_out(world, &turn->alarm);
}

void turn_ready(ps_turn *turn, int result)
{
    pthread_mutex_lock(&turn->world->lock);
    make_ready(turn, result);
    pthread_mutex_unlock(&turn->world->lock);
}

void turn_prepare(ps_turn *turn, uint64_t until_us, bool polls)
{
    ps_world *world = turn->world;
    pthread_mutex_lock(&world->lock);
    turn->waits++;
    world->waits++;
    if (turn->ready || world->over) { /* a signal's handler waits inside of a wait that is over */
        pthread_mutex_unlock(&world->lock);
        return;
    }
    turn->waiting = true;
    turn->polls = polls;
    bool woken = turn->woken;
    turn->woken = false;
    if (world->closed || woken)
        turn_append(world, turn, world->closed ? -EBADF : 0);
    pthread_mutex_unlock(&world->lock);
    if (world->closed || woken)
        return;
    if (until_us <= world_now_us(world) || world_set(world, &turn->alarm, until_us) < 0)
        turn_ready(turn, -EAGAIN);
}

/* Nothing can happen any more: the first thread is told, or this one where that runs already. */
static void tell_deadlock(ps_world *world, ps_turn *turn)
{
    turn_ready(world->first != NULL && world->first->waiting ? world->first : turn, -PS_STALLED);
}

/* In the first thread: whether a signal may have come. */
static bool wants_look(ps_world *world, unsigned steps, uint64_t look_us)
{
    bool interrupted = world->pace != NULL && world->pace->interrupted;
    if (interrupted)
        world->pace->interrupted = false;
    bool at_times = world->pace != NULL || steps % STEPS_A_LOOK == 0;
    return interrupted || (at_times && monotonic_us() >= look_us);
}

static int wait(ps_turn *turn)
{
    ps_world *world = turn->world;
    uint64_t look_us = monotonic_us() + PS_LOOK_US;
    int result = 0;
    for (unsigned steps = 1;; steps++) {
        pthread_mutex_lock(&world->lock);
        if (world->over) {
            turn->waiting = turn->polls = false;
            pthread_mutex_unlock(&world->lock);
            return -EBADF;
        }
        if (atomic_load(&turn->taken) != NOT_TAKEN) {
            turn->stands_by = true;
            if (atomic_load(&turn->taken) == TAKEN_FOR_GOOD)
                atomic_store(&turn->taken, NOT_TAKEN); /* it waits like any other */
            pthread_mutex_unlock(&world->lock);
            if (turn_await(turn, &result))
                return result;
            continue;
        }
        world->moves = true;
        ps_turn *next = take_looker(world, turn);
        if (next == NULL)
            next = take_next(world);
        if (next != NULL && next != turn) {
            hand_to(world, next);
            if (turn_await(turn, &result))
                return result;
            continue;
        }
        world->moves = next == NULL;
        pthread_mutex_unlock(&world->lock);
        if (next == turn)
            return turn->result;
        if (turn == world->first && wants_look(world, steps, look_us)) {
            if (turn_look(turn, &result))
                return result;
            look_us = monotonic_us() + PS_LOOK_US;
            continue; /* a handler may have woken it */
        }
        if (!world_step(world))
            tell_deadlock(world, turn);
    }
}

int turn_wait(ps_turn *turn)
{
    int result = wait(turn);
    if (result != -PS_STALLED || turn != turn->world->first)
        return result;
    /* A signal that has come just now is something that can happen, and its handler may have woken
     * this thread, which waits no more. */
    if (turn_look(turn, &result))
        return result;
    pthread_mutex_lock(&turn->world->lock);
    if (turn->woken)
        result = 0;
    turn->woken = false;
    pthread_mutex_unlock(&turn->world->lock);
    return result;
}

void world_shown(ps_world *world)
{
    pthread_mutex_lock(&world->lock); /* the call may come from a thread that takes no part */
    for (ps_turn *turn = world->turns; turn != NULL; turn = turn->next)
        if (turn->polls)
            make_ready(turn, 0);
    pthread_mutex_unlock(&world->lock);
}

/* --- Python's ----------------------------------------------------------------------------- */

ps_turn *ps_turn_create(ps_world *world)
{
    if (mine_in == world->number)
        turn_stand_by(mine);
    pthread_mutex_lock(&world->lock);
    ps_turn *turn = create(world);
    if (turn != NULL) {
        turn->waiting = true;
        turn_append(world, turn, 0);
    }
    pthread_mutex_unlock(&world->lock);
    return turn;
}

void ps_turn_begin(ps_turn *turn)
{
    become_mine(turn);
    turn_sleep(turn);
}

void ps_world_running(ps_world *world, struct ps_running *out)
{
    struct timespec computed;
    pthread_mutex_lock(&world->lock);
    const ps_turn *turn = world->current;
    *out = (struct ps_running){0, world->waits, UINT64_MAX};
    if (turn != NULL && !turn->waiting)
        out->thread = (uint64_t)(uintptr_t)turn->thread;
    if (out->thread != 0 && turn->processor != 0 && clock_gettime(turn->processor, &computed) == 0)
        out->processor_ns = (uint64_t)computed.tv_sec * 1000000000 + (uint64_t)computed.tv_nsec;
    pthread_mutex_unlock(&world->lock);
}

void ps_turn_end(ps_turn *turn)
{
    ps_world *world = turn->world;
    bool has_turn = turn_ends(turn);
    mine_in = 0;
    pthread_mutex_lock(&world->lock);
    world->waits++;
    if (has_turn)
        world->current = NULL; /* whoever looks on from outside sees no turn that is gone */
    ps_turn **link = &world->turns;
    while (*link != turn)
        link = &(*link)->next;
    *link = turn->next;
    world_await(world, &turn->alarm); /* where the World is over, its wait may have been */
    world_take_out(world, &turn->alarm);
    if (turn->ready)
        turn_withdraw(world, turn);
    pthread_mutex_unlock(&world->lock);
    free(turn);
    while (has_turn) {
        pthread_mutex_lock(&world->lock);
        if (world->over) {
            pthread_mutex_unlock(&world->lock);
            return;
        }
        ps_turn *next = take_looker(world, NULL);
        if (next == NULL)
            next = take_next(world);
        if (next != NULL) {
            hand_to(world, next);
            return;
        }
        pthread_mutex_unlock(&world->lock);
        if (!world_step(world)) {
            if (world->first == NULL || !world->first->waiting)
                return; /* nobody is left */
            turn_ready(world->first, -PS_STALLED);
        }
    }
}

ps_turn *ps_turn_mine(ps_world *world)
{
    return mine_in == world->number ? mine : NULL;
}

bool ps_turn_in_any(void)
{
    return mine_in != 0;
}

void ps_turn_wake(ps_turn *turn)
{
    pthread_mutex_lock(&turn->world->lock);
    bool waits = turn->waiting;
    turn->woken = turn->woken || !waits;
    pthread_mutex_unlock(&turn->world->lock);
    if (waits)
        turn_ready(turn, 0);
}

void ps_world_close(ps_world *world)
{
    ps_turn *here = ps_turn_mine(world);
    if (here != NULL)
        turn_stand_by(here);
    pthread_mutex_lock(&world->lock);
    world->closed = true;
    world->closer = here;
    for (ps_turn *turn = world->turns; turn != NULL; turn = turn->next)
        make_ready(turn, -EBADF);
    pthread_mutex_unlock(&world->lock);
}
