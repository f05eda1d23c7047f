/*
 * Threads that wait for an event.
 *
 * Whoever waits drives the Stack meanwhile, if no other waiter does: so a reply needs no second
 * thread. The others sleep, each on a word of its own, so that an event wakes only those whom it
 * concerns. The driver's thread (driver.c) stays out of a waiter's way.
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

enum { NOT_SIGNALLED, SIGNALLED, PROMOTED };

uint64_t deadline_after(int64_t timeout_us)
{
    return timeout_us < 0 ? NO_DEADLINE : monotonic_us() + (uint64_t)timeout_us;
}

#ifdef __linux__
int sleep_on(_Atomic uint32_t *word, uint64_t until_us)
{
    struct timespec until = {(time_t)(until_us / 1000000), (long)(until_us % 1000000) * 1000};
    long result = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, NOT_SIGNALLED,
                          until_us == NO_DEADLINE ? NULL : &until, NULL, FUTEX_BITSET_MATCH_ANY);
    return result < 0 ? -errno : 0;
}

void wake_sleeper(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
#else
/* Without futexes: look every millisecond. */
int sleep_on(_Atomic uint32_t *word, uint64_t until_us)
{
    while (atomic_load(word) == NOT_SIGNALLED && monotonic_us() < until_us)
        if (nanosleep(&(struct timespec){0, 1000000}, NULL) != 0)
            return -EINTR;
    return 0;
}

void wake_sleeper(_Atomic uint32_t *word)
{
    (void)word;
}
#endif

void stack_wake_signalled(_Atomic uint32_t **words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        wake_sleeper(words[i]);
}

bool stack_leader_is_done(const ps_stack *stack)
{
    return stack->leader != NULL && atomic_load(&stack->leader->signalled) != NOT_SIGNALLED;
}

void stack_wake_later(ps_stack *stack, _Atomic uint32_t *word)
{
    if (stack->wake_count < MOST_WAKES)
        stack->wakes[stack->wake_count++] = word;
    else
        wake_sleeper(word);
}

static void signal_waiter(ps_stack *stack, struct waiter *waiter)
{
    if (atomic_exchange(&waiter->signalled, SIGNALLED) == SIGNALLED)
        return;
    if (waiter == stack->leader) {
        if (stack->sleep_until_us != 0)
            stack_wake(stack); /* it sleeps for frames */
        return;
    }
    /* Woken after the unlock, or it would only run into the lock. Its word may be gone by
     * then, with its thread awake for another reason; the kernel takes that in its stride. */
    stack_wake_later(stack, &waiter->signalled);
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

/* Sees to it that somebody goes on driving. */
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
                hand_over(stack); /* somebody else, then */
            return result;
        }
        waiter->promoted = false;
    }
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
    int result = sleep_or_drive(stack, &waiter, until_us);
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
