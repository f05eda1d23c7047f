/*
 * Threads that wait for an event.
 *
 * A waiting thread drives the Stack meanwhile, if no other one does: so a reply needs no second
 * thread. The others sleep, each on its own word, so that an event wakes only those whom it
 * concerns (waiters.c). The driver's thread (driver.c) stays out of a waiter's way.
 */
#include <errno.h>

#include "stack/wait.h"
#include "api/nic_api.h"
#include "base/clock.h"
#include "base/sleep.h"
#include "stack/answers.h"
#include "stack/driver.h"
#include "stack/hypercalls.h"
#include "stack/lock.h"
#include "stack/move.h"
#include "stack/serving.h"
#include "stack/stack.h"
#include "stack/stacks.h"
#include "stack/waiters.h"
#include "world/world.h"

/* A signal that comes between Python's look for one and our sleep interrupts nothing. So
 * that Ctrl-C is seen all the same, no sleep is longer than this: then -EINTR. */
#define LONGEST_SLEEP_US 500000

/* Makes sure that a thread goes on driving. */
static void hand_over(ps_stack *stack)
{
    for (struct waiter *next = stack->asleep; next != NULL; next = next->asleep_next) {
        uint32_t expected = NOT_SIGNALLED;
        if (!atomic_compare_exchange_strong(&next->signalled, &expected, PROMOTED))
            continue; /* it is on its way out */
        next->promoted = true;
        stack_wake_later(stack, &next->signalled);
        return;
    }
    driver_unpark(stack);
}

uint64_t stack_deadline(ps_stack *stack, int64_t timeout_us)
{
    if (timeout_us <= 0)
        return deadline_after(timeout_us);
    uint64_t now_us = stack_clock_us(stack);
    return (uint64_t)timeout_us < NO_DEADLINE - now_us ? now_us + (uint64_t)timeout_us
                                                       : NO_DEADLINE;
}

/* Drives the Stack until the waiter is signalled or the moment comes. */
static int drive(ps_stack *stack, struct waiter *waiter, uint64_t until_us)
{
    int result = 0;
    stack->driving = true;
    stack->leader = waiter;
    stack->led = true;
    while (atomic_load(&waiter->signalled) == NOT_SIGNALLED && result == 0 &&
           monotonic_us() < until_us) {
        bool idle = !stack->unfinished || stack_move(stack);
        if (atomic_load(&waiter->signalled) != NOT_SIGNALLED)
            break;
        if (idle) {
            result = stack_sleep(stack, until_us);
            stack_move(stack);
        }
        serving_run(stack);
    }
    stack->driving = false;
    stack->leader = NULL;
    return result;
}

/* Sleeps while another waiter drives. */
static int sleep_beside(ps_stack *stack, struct waiter *waiter, uint64_t until_us)
{
    waiter->asleep_next = stack->asleep;
    waiter->asleep_link = &stack->asleep;
    if (waiter->asleep_next != NULL)
        waiter->asleep_next->asleep_link = &waiter->asleep_next;
    stack->asleep = waiter;
    stack_unlock(stack);
    int result = sleep_on(&waiter->signalled, until_us);
    pthread_mutex_lock(&stack->lock);
    *waiter->asleep_link = waiter->asleep_next;
    if (waiter->asleep_next != NULL)
        waiter->asleep_next->asleep_link = waiter->asleep_link;
    return result;
}

static int sleep_or_drive(ps_stack *stack, struct waiter *waiter, uint64_t until_us)
{
    for (;;) {
        if (!stack->driving) {
            int result = drive(stack, waiter, until_us);
            hand_over(stack);
            return result;
        }
        int result = sleep_beside(stack, waiter, until_us);
        uint32_t expected = PROMOTED;
        bool goes_on = waiter->promoted && stack->state == STACK_OPEN && !stack->poisoned &&
                       atomic_compare_exchange_strong(&waiter->signalled, &expected, NOT_SIGNALLED);
        if (!goes_on) {
            if (waiter->promoted && !stack->driving)
                hand_over(stack); /* another thread, then */
            return result;
        }
        waiter->promoted = false;
    }
}

/* In a World this thread moves all of it meanwhile, or another one does. */
static int wait_in_world(ps_stack *stack, struct waiter *waiter, uint64_t deadline_us)
{
    /* Its hypercall would have to return first: the World would stand still. */
    if (stack_is_inside_any())
        return -EDEADLK;
    ps_turn *turn = turn_here(stack->world->world);
    if (turn == NULL)
        return -EPERM;
    waiter->turn = turn;
    turn_prepare(turn, deadline_us, false);
    waiter_link(stack, waiter);
    stack_unlock(stack);
    int result = turn_wait(turn);
    pthread_mutex_lock(&stack->lock);
    waiter_unlink(stack, waiter);
    return result;
}

bool ps_turn_is_inside(ps_world *world)
{
    return stack_is_inside_world(world);
}

int ps_turn_wait(ps_world *world, int64_t timeout_us, bool polls)
{
    ps_turn *turn = turn_here(world);
    if (turn == NULL)
        return -EPERM;
    /* Whoever goes on, or moves the World, would stand before the Stack that this thread is in. */
    if (stack_is_inside_world(world))
        return -EDEADLK;
    uint64_t now_us = world_now_us(world);
    turn_prepare(turn, timeout_us < 0 ? NOT_DUE : now_us + (uint64_t)timeout_us, polls);
    return turn_wait(turn);
}

/* How many threads wait for Stacks with a clock of Python's. */
static atomic_uint waiting_by_clock;

/* Without the lock: whether this wait can never end. */
static bool is_stalled(ps_stack *stack)
{
    return stack->python.stalled != NULL && stacks_are_still() &&
           stack->python.stalled(stack->python.python, atomic_load(&waiting_by_clock)) == 1;
}

/* By a clock of Python's: whatever moves it doesn't tell us, so that it is read now and then. */
static int wait_by_its_clock(ps_stack *stack, struct waiter *waiter, uint64_t deadline_us)
{
    uint64_t began_us = stack->now_us, end_us = monotonic_us() + LONGEST_SLEEP_US;
    int result = 0;
    atomic_fetch_add(&waiting_by_clock, 1);
    waiter_link(stack, waiter);
    do {
        if (deadline_us != NO_DEADLINE && stack_clock_us(stack) >= deadline_us)
            result = -EAGAIN;
        else
            result = sleep_or_drive(stack, waiter, monotonic_us() + FOREIGN_CLOCK_SLEEP_US);
    } while (result == 0 && atomic_load(&waiter->signalled) == NOT_SIGNALLED &&
             stack->state == STACK_OPEN && !stack->poisoned && monotonic_us() < end_us);
    if (result == 0 && atomic_load(&waiter->signalled) == NOT_SIGNALLED) {
        bool stood_still = stack->now_us == began_us;
        stack_unlock(stack);
        result = stood_still && is_stalled(stack) ? -PS_STALLED : -EINTR;
        pthread_mutex_lock(&stack->lock);
    }
    waiter_unlink(stack, waiter);
    atomic_fetch_sub(&waiting_by_clock, 1);
    return atomic_load(&waiter->signalled) == SIGNALLED ? 0 : result;
}

static int wait_in_real_time(ps_stack *stack, struct waiter *waiter, uint64_t deadline_us)
{
    uint64_t now_us = monotonic_us();
    if (now_us >= deadline_us)
        return -EAGAIN;
    bool whole = deadline_us - now_us <= LONGEST_SLEEP_US;
    waiter_link(stack, waiter);
    int result = sleep_or_drive(stack, waiter, whole ? deadline_us : now_us + LONGEST_SLEEP_US);
    waiter_unlink(stack, waiter);
    if (atomic_load(&waiter->signalled) == SIGNALLED)
        return 0;
    if (result == -EINTR || !whole)
        return -EINTR;
    return monotonic_us() >= deadline_us ? -EAGAIN : 0;
}

/* Whether this thread would wait for frames that it carries itself. */
static bool is_carried_here(ps_stack *stack)
{
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        if (stack->nics[index] != NULL && nic_is_carried_here(stack->nics[index]))
            return true;
    return false;
}

bool ps_stack_is_carried_here(ps_stack *stack)
{
    if (stack->remote != NULL || stack_lock(stack) < 0)
        return false;
    bool is = is_carried_here(stack);
    stack_unlock(stack);
    return is;
}

int stack_wait(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask,
               uint64_t deadline_us)
{
    struct waiter waiter = {.kind = kind, .id = id, .mask = mask};
    if (is_carried_here(stack) && stack_clock_us(stack) < deadline_us)
        return -PS_CARRIED;
    answers_release(stack); /* what is waited for may be an answer to it */
    int result = stack->world != NULL          ? wait_in_world(stack, &waiter, deadline_us)
                 : stack->python.clock != NULL ? wait_by_its_clock(stack, &waiter, deadline_us)
                                               : wait_in_real_time(stack, &waiter, deadline_us);
    if (stack->state != STACK_OPEN)
        return -EBADF;
    if (stack->poisoned)
        return -ENOTRECOVERABLE;
    if (stack->raised)
        return -ECANCELED;
    return result;
}
