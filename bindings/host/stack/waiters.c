/*
 * Which threads wait for an event of a Stack (wait.c), and whom one wakes.
 */
#include "stack/waiters.h"
#include "base/sleep.h"
#include "stack/stack.h"
#include "stack/wake.h"
#include "world/world.h"

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
    if (stack->world != NULL) {
        turn_ready(waiter->turn, 0);
        return;
    }
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

void waiter_link(ps_stack *stack, struct waiter *waiter)
{
    struct waiter **head = bucket(stack, waiter->id);
    waiter->next = *head;
    waiter->link = head;
    if (waiter->next != NULL)
        waiter->next->link = &waiter->next;
    *head = waiter;
    stack->waiting++;
}

void waiter_unlink(ps_stack *stack, struct waiter *waiter)
{
    *waiter->link = waiter->next;
    if (waiter->next != NULL)
        waiter->next->link = waiter->link;
    stack->waiting--;
    if (stack->waiting == 0 && stack->state == STACK_CLOSING)
        pthread_cond_broadcast(&stack->idle);
}
