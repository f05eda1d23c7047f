/*
 * Waiting for an event of a Stack.
 */
#ifndef PYSTACK_HOST_WAIT_H
#define PYSTACK_HOST_WAIT_H

#include <errno.h>

#include "base/clock.h"
#include "stack/descriptors.h"
#include "stack/lock.h"

/* Under the lock: when a call's time is over, by the Stack's clock. */
uint64_t stack_deadline(ps_stack *stack, int64_t timeout_us);
/* Under the lock, given up meanwhile: until the event, the moment, a signal or the end.
 * 0: look again; -EAGAIN: the time is over; -EINTR, -EBADF, -ENOTRECOVERABLE, -ECANCELED,
 * -PS_STALLED, -PS_CARRIED. */
int stack_wait(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask,
               uint64_t deadline_us);

/* The body of a function that makes one call into the engine until it says something else than
 * -EAGAIN, and waits for the event in between. */
#define WAITING_CALL(stack, kind, id, mask, timeout_us, call) \
    do { \
        int64_t result_ = stack_lock(stack); \
        if (result_ < 0) \
            return result_; \
        uint64_t until_ = stack_deadline(stack, timeout_us); \
        do { \
            ENGINE_GUARD(stack, result_, call); \
            if (result_ != -EAGAIN || (timeout_us) == 0 || \
                ((kind) == PS_EVENT_SOCKET && (timeout_us) < 0 && \
                 descriptor_waits_not(stack, id))) \
                break; \
            result_ = stack_wait(stack, kind, id, mask, until_); \
        } while (result_ == 0); \
        result_ = stack_outcome(stack, result_); \
        stack_unlock(stack); \
        return result_; \
    } while (0)

#endif
