/*
 * What moves a Stack forward in real time: a thread that takes frames from the NICs, runs
 * the engine's timers, and sleeps until there is more of either. It never needs the GIL
 * for itself; only a hypercall that Python answers does.
 *
 * Each step is move.c's. A thread that waits for an event does the same itself (wait.c), and the
 * driver's thread then stays away: when that one has gone, the next is often not far, and so the
 * thread takes over only when none has come for a while.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "stack/driver.h"
#include "base/clock.h"
#include "base/sleep.h"
#include "stack/answers.h"
#include "stack/due.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/lock.h"
#include "stack/move.h"
#include "stack/serving.h"
#include "stack/stack.h"
#include "stack/waiters.h"
#include "stack/wake.h"

/* How long the thread leaves driving to waiters after one has driven. */
#define PARK_US 1000

/* A waiter looks for so long before it sleeps: to wake a processor takes about as much, and in
 * an exchange the answer often comes sooner. It gives way to every thread that could run; and
 * where it didn't help, the next waits, up to so many, do without. */
#define SPIN_US 50
#define MOST_SKIPPED 64

#define DRIVER_STACK_BYTES (512 * 1024)

static void take_wake(ps_stack *stack)
{
    doorbell_quiet(&stack->doorbell);
    atomic_store(&stack->wake_pending, false);
}

void stack_catch_up(ps_stack *stack)
{
    if (stack_lock(stack) < 0)
        return;
    if (stack->threaded && !stack->driving && (stack->led || stack->parking))
        stack_move(stack);
    stack_unlock(stack);
}

/* What to watch while asleep. The NICs' descriptors don't change while they are attached. */
static nfds_t watched(ps_stack *stack, struct pollfd *descriptors)
{
    nfds_t count = 0;
    descriptors[count++] = (struct pollfd){stack->doorbell.hears, POLLIN, 0};
    if (stack->watched_count > 0)
        descriptors[count++] = (struct pollfd){stack->watcher, POLLIN, 0};
    int gate = stack->leader == NULL ? gate_descriptor(stack) : -1, each[2];
    if (gate >= 0) {
        descriptors[count++] = (struct pollfd){gate, POLLIN, 0};
        return count;
    }
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        for (size_t i = 0, of_nic = nic_watched(stack, index, each); i < of_nic; i++)
            descriptors[count++] = (struct pollfd){each[i], POLLIN, 0};
    return count;
}

static int poll_now(struct pollfd *descriptors, nfds_t count)
{
    return poll(descriptors, count, 0);
}

/* Without the lock: whether there was something before the spinning was over. */
static bool spin(ps_stack *stack, struct pollfd *descriptors, nfds_t count, uint64_t until_us)
{
    bool found;
    atomic_store(&stack->spinning, true);
    do {
        found = atomic_load(&stack->wake_pending) ||
                (count > 1 && poll_now(descriptors + 1, count - 1) != 0);
        if (!found)
            sched_yield();
    } while (!found && monotonic_us() < until_us);
    atomic_store(&stack->spinning, false);
    return found || atomic_load(&stack->wake_pending);
}

/* Under the lock: whether this sleep is worth a try without sleeping. */
static bool may_spin(ps_stack *stack)
{
    if (stack->leader == NULL || stack->python.clock != NULL || !stack->has_processors)
        return false;
    if (stack->spin_skip == 0)
        return true;
    stack->spin_skip--;
    return false;
}

static void learn_from_spin(ps_stack *stack, bool found)
{
    stack->spin_penalty = found ? 0 : stack->spin_penalty == 0 ? 1 : stack->spin_penalty * 2;
    if (stack->spin_penalty > MOST_SKIPPED)
        stack->spin_penalty = MOST_SKIPPED;
    stack->spin_skip = stack->spin_penalty;
}

int stack_sleep(ps_stack *stack, uint64_t until_us)
{
    struct pollfd descriptors[2 * MOST_INTERFACES + 2];
    nfds_t count = watched(stack, descriptors);
    uint64_t due = stack->poisoned ? UINT64_MAX : stack_next_due(stack);
    uint64_t wait_us = due == UINT64_MAX     ? UINT64_MAX
                       : due > stack->now_us ? due - stack->now_us
                                             : 0;
    uint64_t now_us = monotonic_us();
    if (stack->python.clock != NULL && wait_us > FOREIGN_CLOCK_SLEEP_US)
        wait_us = FOREIGN_CLOCK_SLEEP_US;
    else if (stack->python.clock == NULL && due != UINT64_MAX)
        wait_us = due > now_us ? due - now_us : 0;
    if (until_us != NO_DEADLINE) {
        uint64_t most = until_us > now_us ? until_us - now_us : 0;
        if (most < wait_us)
            wait_us = most;
    }
    struct timespec timeout = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
    stack->sleep_until_us = stack->python.clock == NULL && until_us < due ? until_us : due;
    uint64_t ticket = ++stack->sleep_ticket;
    bool spins = may_spin(stack), found = false;
    stack_unlock(stack);
    if (spins)
        found = spin(stack, descriptors, count, now_us + (wait_us < SPIN_US ? wait_us : SPIN_US));
    if (spins && wait_us <= SPIN_US)
        timeout = (struct timespec){0, 0}; /* it is over */
#ifdef __linux__
    int ready =
        found ? 0 : ppoll(descriptors, count, wait_us == UINT64_MAX ? NULL : &timeout, NULL);
#else
    int milliseconds = wait_us == UINT64_MAX
                           ? -1
                           : (int)(timeout.tv_sec * 1000 + (timeout.tv_nsec + 999999) / 1000000);
    int ready = found ? 0 : poll(descriptors, count, milliseconds);
#endif
    int result = ready < 0 ? -errno : 0;
    pthread_mutex_lock(&stack->lock);
    if (spins)
        learn_from_spin(stack, found);
    /* The wake is the last sleeper's: another one that took it would leave that one asleep. */
    if (stack->sleep_ticket == ticket) {
        if (ready > 0 && descriptors[0].revents != 0)
            take_wake(stack);
        else if (found)
            atomic_store(&stack->wake_pending, false); /* one needless wake-up follows */
        stack->sleep_until_us = 0;
    }
    return result;
}

/* Under the lock, given up meanwhile: a moment; or, when the same waiter has been driving for a
 * whole one already, until it doesn't: where many come and go none should have to wake us. */
static void park(ps_stack *stack)
{
    stack->driver_parked = stack->driving && !stack->led;
    uint64_t until_us = stack->driver_parked ? NO_DEADLINE : monotonic_us() + PARK_US;
    stack->led = false;
    stack->parking = true;
    atomic_store(&stack->driver_word, 0);
    stack_unlock(stack);
    sleep_on(&stack->driver_word, until_us);
    pthread_mutex_lock(&stack->lock);
    stack->parking = stack->driver_parked = false;
}

void driver_unpark(ps_stack *stack)
{
    /* Programs that poll a descriptor are waiting, too, and not for a moment. */
    bool now = stack->shown_count > 0;
    if (!stack->threaded || (!stack->driver_parked && !now))
        return;
    if (now)
        stack->led = false;
    stack->driver_parked = false;
    atomic_store(&stack->driver_word, 1);
    stack_wake_later(stack, &stack->driver_word);
}

/* A program that polls descriptors, and hasn't handled all that it was told of, or answered it,
 * is busy: it takes in the frames that come meanwhile itself, when it has. To be woken for each
 * would take the processor from it. After a moment in which it did nothing, or
 * GATE_MOST_SHUT_US without taking any in, frames wake us again. */
static void sleep_for_frames(ps_stack *stack)
{
    if (stack->waiting > 0 || !gate_shut(stack)) {
        answers_release(stack);
        gate_open(stack);
        stack_sleep(stack, NO_DEADLINE);
        return;
    }
    struct gate *gate = &stack->gate;
    uint64_t began_us, until_us;
    bool at_work, waited_long;
    gate->attended_us = monotonic_us();
    do {
        began_us = monotonic_us();
        until_us = began_us + gate_patience_us(stack);
        gate->timed = true;
        stack_sleep(stack, until_us);
        gate->timed = false;
        answers_release(stack);
        if (monotonic_us() < until_us || gate->open || stack->waiting > 0 || stack->led)
            return; /* there is something to do */
        at_work = gate->progress_us >= began_us;
        waited_long = until_us >= gate->attended_us + GATE_MOST_SHUT_US;
    } while (at_work && !waited_long && stack->state == STACK_OPEN);
    gate_neglect(stack, !at_work);
}

static void *drive_for_ever(void *argument)
{
    ps_stack *stack = argument;
    pthread_mutex_lock(&stack->lock);
    while (stack->state < STACK_CLOSING) {
        if (stack->driving || stack->led) {
            park(stack);
            continue;
        }
        bool idle = stack_move(stack);
        if (serving_run(stack))
            continue;
        if (idle) {
            sleep_for_frames(stack);
        } else {
            /* A mutex is not fair: let waiting threads in. */
            stack_unlock(stack);
            sched_yield();
            pthread_mutex_lock(&stack->lock);
        }
    }
    stack_unlock(stack);
    return NULL;
}

int driver_start(ps_stack *stack)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, DRIVER_STACK_BYTES);
    /* Signals are for Python's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&stack->driver, &attributes, drive_for_ever, stack);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -result;
}

void driver_stop(ps_stack *stack)
{
    stack_wake(stack);
    pthread_mutex_lock(&stack->lock);
    stack->driver_parked = true;
    driver_unpark(stack);
    stack_unlock(stack);
    pthread_join(stack->driver, NULL);
}

/* What the services do is in the engine when it is left. */
static bool move_and_serve(ps_stack *stack)
{
    bool idle = stack_move(stack);
    return serving_run(stack) ? stack_move(stack) : idle;
}

int ps_stack_run(ps_stack *stack, int64_t timeout_us, uint64_t *next_us)
{
    uint64_t deadline_us = deadline_after(timeout_us);
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    if (stack->threaded || stack->driving) {
        stack_unlock(stack);
        return -EBUSY;
    }
    stack->driving = true;
    stack->waiting++; /* close() waits for us */
    bool idle = move_and_serve(stack);
    if (idle && timeout_us != 0) {
        result = stack_sleep(stack, deadline_us);
        if (stack->state == STACK_OPEN)
            move_and_serve(stack);
    }
    uint64_t due = stack->unfinished ? 0 : stack_next_due(stack);
    *next_us = due == UINT64_MAX ? UINT64_MAX : due > stack->now_us ? due - stack->now_us : 0;
    stack->driving = false;
    if (--stack->waiting == 0 && stack->state == STACK_CLOSING)
        pthread_cond_broadcast(&stack->idle);
    if (stack->state != STACK_OPEN)
        result = -EBADF;
    else if (stack->poisoned)
        result = -ENOTRECOVERABLE;
    result = (int)stack_outcome(stack, stack->raised ? -ECANCELED : result);
    stack_unlock(stack);
    return result;
}
