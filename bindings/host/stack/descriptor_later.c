/*
 * Readiness that is shown later, since a notifier tells of it at once.
 *
 * An event loop that asks a notifier (pystack.sockets.selector) doesn't poll its sockets'
 * descriptors. Mostly it has read what came, or sent what it had to, before anybody could have
 * looked: so a descriptor whose socket a notifier watches becomes readable or writable when the
 * loop was given the socket twice and did nothing with it, or after a while, for a loop that is
 * busy elsewhere. Should the program poll it by other means, too, it is late, and nothing is lost.
 * It stops to be readable or writable, fails and ends at once.
 *
 * Those that wait are in a queue, in the order of their times.
 */
#include "stack/descriptor.h"
#include "stack/descriptors.h"
#include "stack/notifier.h"
#include "stack/wake.h"

#define LATER_US 50000

void later_leave(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    if (!descriptor->is_later)
        return;
    struct descriptor *next = descriptor->later_next, *before = descriptor->later_before;
    *(before != NULL ? &before->later_next : &stack->later_first) = next;
    *(next != NULL ? &next->later_before : &stack->later_last) = before;
    descriptor->is_later = false;
}

static void join(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    later_leave(descriptor);
    descriptor->later_us = stack->now_us + LATER_US;
    descriptor->later_next = NULL;
    descriptor->later_before = stack->later_last;
    *(stack->later_last != NULL ? &stack->later_last->later_next : &stack->later_first) =
        descriptor;
    stack->later_last = descriptor;
    descriptor->is_later = true;
    if (descriptor->later_us < stack->sleep_until_us)
        stack_wake(stack);
}

bool later_take(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    const uint32_t bits = PS_READY_READ | PS_READY_WRITE;
    uint32_t wanted = readiness_wanted(descriptor), changed = wanted ^ descriptor->shows;
    /* Without the driver's thread nobody would show it later. */
    if (!stack->threaded || stack->notifiers == NULL || stack->poisoned ||
        stack->state != STACK_OPEN)
        return false;
    bool is_news = descriptor->news && wanted & PS_READY_READ;
    if (changed & (descriptor->shows | ~bits) || !(changed || is_news))
        return false;
    if (!notifiers_tell(stack, descriptor->handle, changed | (wanted & PS_READY_READ)))
        return false;
    join(descriptor);
    return true;
}

void descriptors_show_later(ps_stack *stack)
{
    while (stack->later_first != NULL && stack->later_first->later_us <= stack->now_us) {
        struct descriptor *descriptor = stack->later_first;
        later_leave(descriptor);
        readiness_show(descriptor);
    }
}
