/*
 * Threads that wait for an event of a Stack, and how they are signalled.
 */
#ifndef PYSTACK_HOST_WAITERS_H
#define PYSTACK_HOST_WAITERS_H

#include <stdatomic.h>

#include "api/host_api.h"

#define WAIT_BUCKETS 256 /* a power of two */

enum { NOT_SIGNALLED, SIGNALLED, PROMOTED }; /* what a waiter's `signalled` is */

/* A thread that waits for an event; lives on that thread's stack. */
struct waiter {
    enum ps_event_kind kind;
    int64_t id;
    uint32_t mask;
    _Atomic uint32_t signalled;
    ps_turn *turn; /* in a World */
    bool promoted; /* it is to drive, unless another does by now */
    struct waiter *next, **link;
    struct waiter *asleep_next, **asleep_link; /* among those that sleep while another drives */
};

/* Under the lock: among those that wait, and no more. */
void waiter_link(ps_stack *stack, struct waiter *waiter);
void waiter_unlink(ps_stack *stack, struct waiter *waiter);
/* Under the lock: signals threads that wait for this. */
void stack_signal(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask);
void stack_signal_all(ps_stack *stack);
/* Whether the waiter that drives has what it waits for. */
bool stack_leader_is_done(const ps_stack *stack);
/* Under the lock: wakes a sleeper on the word as soon as the lock is released. */
void stack_wake_later(ps_stack *stack, _Atomic uint32_t *word);
/* Without the lock: wakes those whom a signal has marked. */
void stack_wake_signalled(_Atomic uint32_t **words, size_t count);

#endif
