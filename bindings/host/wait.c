/*
 * Threads that wait for an event.
 *
 * A waiter sleeps on a word of its own, so that an event wakes only those whom it concerns.
 * Whoever waits on a Stack without a driver's thread drives it meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <time.h>

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "stack.h"

/* A signal that comes between Python's look for one and our sleep interrupts nothing. So
 * that Ctrl-C is seen all the same, no sleep is longer than this: then -EINTR. */
#define LONGEST_SLEEP_US 500000

enum { NOT_SIGNALLED, SIGNALLED };

uint64_t deadline_after(int64_t timeout_us)
{
    return timeout_us < 0 ? NO_DEADLINE : monotonic_us() + (uint64_t)timeout_us;
}

#ifdef __linux__
static int sleep_on(_Atomic uint32_t *word, uint64_t until_us)
{
    struct timespec until = {(time_t)(until_us / 1000000), (long)(until_us % 1000000) * 1000};
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, NOT_SIGNALLED, &until, NULL,
                          FUTEX_BITSET_MATCH_ANY);
    return result < 0 ? -errno : 0;
}

static void wake_one(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#else
/* Without futexes: look every millisecond. */
static int sleep_on(_Atomic uint32_t *word, uint64_t until_us)
{
    while (atomic_load(word) == NOT_SIGNALLED && monotonic_us() < until_us)
        if (nanosleep(&(struct timespec){0, 1000000}, NULL) != 0)
            return -EINTR;
    return 0;
}

static void wake_one(_Atomic uint32_t *word)
{
    (void)word;
}
#endif

void stack_wake_signalled(_Atomic uint32_t **words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wake_one(words[i]);
}

static void signal_waiter(ps_stack *stack, struct waiter *waiter)
{
    if (atomic_exchange(&waiter->signalled, SIGNALLED) == SIGNALLED)
        return;
    /* Woken after the unlock, or it would only run into the lock. Its word may be gone by
     * then, with its thread awake for another reason; the kernel takes that in its stride. */
    if (stack->wake_count < MOST_WAKES)
        stack->wakes[stack->wake_count++] = &waiter->signalled;
    else
        wake_one(&waiter->signalled);
}

static struct waiter **bucket(ps_stack *stack, int64_t id)
{
    return &stack->waiters[(uint64_t)id % WAIT_BUCKETS];
}

void stack_signal(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask)
{
    for (struct waiter *waiter = *bucket(stack, id); waiter != NULL; waiter = waiter->next)
        if (waiter->kind == kind && waiter->id == id &&
            mask & (waiter->mask | PS_READY_ERROR | PS_READY_HANGUP))
            signal_waiter(stack, waiter);
}

void stack_signal_all(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct waiter *waiter = stack->waiters[i]; waiter != NULL; waiter = waiter->next)
            signal_waiter(stack, waiter);
}

static void link_waiter(ps_stack *stack, struct waiter *waiter)
{
    struct waiter **head = bucket(stack, waiter->id);
    waiter->next = *head;
    waiter->link = head;
    if (waiter->next != NULL)
        waiter->next->link = &waiter->next;
    *head = waiter;
    stack->waiting++;
}

static void unlink_waiter(ps_stack *stack, struct waiter *waiter)
{
    *waiter->link = waiter->next;
    if (waiter->next != NULL)
        waiter->next->link = waiter->link;
    stack->waiting--;
    if (stack->waiting == 0 && stack->state == STACK_CLOSING)
        pthread_cond_broadcast(&stack->idle);
}

/* Drives the Stack until the waiter is signalled or the moment comes. */
static int drive(ps_stack *stack, struct waiter *waiter, uint64_t until_us)
{
    int result = 0;
    stack->driving = true;
    while (atomic_load(&waiter->signalled) == NOT_SIGNALLED && result == 0 &&
           monotonic_us() < until_us) {
        bool idle = stack_move(stack);
        if (atomic_load(&waiter->signalled) == NOT_SIGNALLED && idle)
            result = stack_sleep(stack, until_us);
    }
    stack->driving = false;
    stack_signal_all(stack); /* somebody else goes on driving */
    return result;
}

int stack_wait(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask,
               uint64_t deadline_us)
{
    uint64_t now_us = monotonic_us();
    if (now_us >= deadline_us)
        return -EAGAIN;
    bool whole = deadline_us - now_us <= LONGEST_SLEEP_US;
    uint64_t until_us = whole ? deadline_us : now_us + LONGEST_SLEEP_US;
    struct waiter waiter = {.kind = kind, .id = id, .mask = mask};
    link_waiter(stack, &waiter);
    int result;
    if (!stack->threaded && !stack->driving) {
        result = drive(stack, &waiter, until_us);
    } else {
        stack_unlock(stack);
        result = sleep_on(&waiter.signalled, until_us);
        pthread_mutex_lock(&stack->lock);
    }
    unlink_waiter(stack, &waiter);
    if (stack->state != STACK_OPEN)
        return -EBADF;
    if (stack->poisoned)
        return -ENOTRECOVERABLE;
    if (stack->raised)
        return -ECANCELED;
    if (atomic_load(&waiter.signalled) == SIGNALLED)
        return 0;
    if (result == -EINTR || !whole)
        return -EINTR;
    return monotonic_us() >= deadline_us ? -EAGAIN : 0;
}
