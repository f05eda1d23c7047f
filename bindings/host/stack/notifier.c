/*
 * The readiness of many sockets by one descriptor, for a program that holds thousands: a descriptor
 * for each (readiness.c) would cost two of the process's, and some calls of the kernel's whenever
 * it changes.
 *
 * A notifier knows the readiness of each socket that it watches from the same events and calls as
 * descriptors do, and has those that are ready in a queue. Its bell is readable as long as that
 * isn't empty: by levels, as epoll(7). Who takes gets each in turn, for it goes to the queue's end.
 * An event loop that asks before it polls (pystack.sockets.selector) has the bell rung only while
 * it sleeps: two calls of the kernel's less for each time that something becomes ready.
 */
#define _GNU_SOURCE
#include <stdlib.h>

#include "stack/notifier.h"
#include "stack/gate.h"

#define ALWAYS (PS_READY_ERROR | PS_READY_HANGUP) /* told whatever is wanted */

/* --- the bell --------------------------------------------------------------------------------- */

static void settle(ps_notifier *notifier)
{
    bool rings = !notifier->is_quiet && (notifier->first != NULL || notifier->is_over);
    if (rings == notifier->rings || notifier->bell.hears < 0)
        return;
    if (rings)
        doorbell_ring(&notifier->bell);
    else
        doorbell_quiet(&notifier->bell);
    notifier->rings = rings;
}

void notifier_set_quiet(ps_notifier *notifier, bool is_quiet)
{
    notifier->is_quiet = is_quiet;
    settle(notifier);
}

void notifiers_settle(ps_stack *stack)
{
    stack->unsettled = false;
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next)
        settle(each);
}

/* --- a watched socket ------------------------------------------------------------------------- */

static void leave_queue(ps_notifier *notifier, struct watch *watch)
{
    *(watch->before != NULL ? &watch->before->next : &notifier->first) = watch->next;
    *(watch->next != NULL ? &watch->next->before : &notifier->last) = watch->before;
    watch->is_ready = false;
}

static void join_queue(ps_notifier *notifier, struct watch *watch)
{
    watch->next = NULL;
    watch->before = notifier->last;
    *(watch->before != NULL ? &watch->before->next : &notifier->first) = watch;
    notifier->last = watch;
    watch->is_ready = true;
}

static uint32_t news_of(const struct watch *watch)
{
    return watch->interest == 0 ? 0 : watch->mask & (watch->interest | ALWAYS);
}

static void queue_rightly(ps_notifier *notifier, struct watch *watch)
{
    bool is_ready = news_of(watch) != 0;
    if (is_ready == watch->is_ready)
        return;
    if (is_ready)
        join_queue(notifier, watch);
    else
        leave_queue(notifier, watch);
    notifier->stack->unsettled = true;
}

static void show(ps_notifier *notifier, struct watch *watch, uint32_t mask)
{
    uint32_t changed = (watch->mask ^ mask) & PS_READY_READ;
    watch->mask = mask;
    watch->given = 0;
    if (changed & mask)
        gate_note_told(notifier->stack, &watch->attention);
    else if (changed)
        gate_note_look(notifier->stack, &watch->attention);
    queue_rightly(notifier, watch);
}

struct watch *notifier_find(const ps_notifier *notifier, int64_t handle)
{
    const uint64_t *found = handle_map_find(&notifier->watches, handle);
    return found == NULL ? NULL : (struct watch *)(uintptr_t)*found;
}

struct watch *notifier_add(ps_notifier *notifier, int64_t handle, uint32_t mask)
{
    struct watch *made = calloc(1, sizeof *made);
    uint64_t *place = made == NULL ? NULL : handle_map_put(&notifier->watches, handle);
    if (place == NULL) {
        free(made);
        return NULL;
    }
    *place = (uintptr_t)made;
    made->handle = handle;
    notifier->stack->shown_count++;
    show(notifier, made, mask);
    return made;
}

void notifier_want(ps_notifier *notifier, struct watch *watch, uint32_t interest)
{
    watch->interest = interest & (PS_READY_READ | PS_READY_WRITE);
    queue_rightly(notifier, watch);
}

void notifier_remove(ps_notifier *notifier, struct watch *watch)
{
    ps_stack *stack = notifier->stack;
    notifier_want(notifier, watch, 0);
    gate_note_close(stack, &watch->attention);
    handle_map_remove(&notifier->watches, watch->handle);
    stack->shown_count--;
    free(watch);
}

size_t notifier_take(ps_notifier *notifier, struct ps_readiness *out, size_t room, bool *passed_by)
{
    size_t count = 0;
    *passed_by = false;
    const struct watch *start = notifier->first;
    while (count < room && notifier->first != NULL && (count == 0 || notifier->first != start)) {
        struct watch *watch = notifier->first;
        out[count++] = (struct ps_readiness){watch->handle, news_of(watch)};
        if (watch->given < PASSED_BY)
            watch->given++;
        *passed_by |= watch->given == PASSED_BY;
        leave_queue(notifier, watch);
        join_queue(notifier, watch);
    }
    return count;
}

/* --- all notifiers of a Stack ----------------------------------------------------------------- */

void notifiers_show(ps_stack *stack, int64_t handle, uint32_t mask)
{
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        struct watch *watch = notifier_find(each, handle);
        if (watch != NULL)
            show(each, watch, mask);
    }
}

bool notifiers_watch(ps_stack *stack, int64_t handle)
{
    for (const ps_notifier *each = stack->notifiers; each != NULL; each = each->next)
        if (notifier_find(each, handle) != NULL)
            return true;
    return false;
}

bool notifiers_tell(ps_stack *stack, int64_t handle, uint32_t bits)
{
    for (const ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        const struct watch *watch = notifier_find(each, handle);
        if (watch != NULL && watch->interest != 0 && !(bits & ~watch->interest))
            return true;
    }
    return false;
}

struct attention *notifiers_attention(ps_stack *stack, int64_t handle)
{
    for (const ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        struct watch *watch = notifier_find(each, handle);
        if (watch != NULL && watch->interest & PS_READY_READ)
            return &watch->attention;
    }
    return NULL;
}

void notifiers_refresh(ps_stack *stack)
{
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        size_t position = 0;
        const struct handle_entry *entry;
        uint32_t mask;
        while ((entry = handle_map_next(&each->watches, &position)) != NULL)
            if (stack->table->socket_ready(stack->engine, entry->handle, &mask) == 0)
                show(each, (struct watch *)(uintptr_t)entry->value, mask);
    }
}

void notifiers_have_sent(ps_stack *stack, int64_t handle)
{
    for (const ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        struct watch *watch = notifier_find(each, handle);
        if (watch != NULL)
            gate_note_answer(stack, &watch->attention);
    }
}

void notifiers_drop(ps_stack *stack, int64_t handle)
{
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        struct watch *watch = notifier_find(each, handle);
        if (watch != NULL)
            notifier_remove(each, watch);
    }
}

/* --- ends ------------------------------------------------------------------------------------- */

static void clear(ps_notifier *notifier)
{
    size_t position = 0;
    for (const struct handle_entry *entry;
         (entry = handle_map_next(&notifier->watches, &position)) != NULL;) {
        free((struct watch *)(uintptr_t)entry->value);
        notifier->stack->shown_count--;
    }
    handle_map_clear(&notifier->watches);
    notifier->first = notifier->last = NULL;
}

void notifiers_fail(ps_stack *stack)
{
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next)
        each->is_over = true;
}

void notifiers_abandon(ps_stack *stack)
{
    notifiers_fail(stack);
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        clear(each);
        settle(each);
    }
}

void notifiers_forget(ps_stack *stack)
{
    for (ps_notifier *each = stack->notifiers; each != NULL; each = each->next) {
        size_t position = 0;
        for (const struct handle_entry *entry;
             (entry = handle_map_next(&each->watches, &position)) != NULL;)
            ((struct watch *)(uintptr_t)entry->value)->attention = (struct attention){0};
        doorbell_close(&each->bell);
    }
}

void notifier_free(ps_notifier *notifier)
{
    ps_notifier **link = &notifier->stack->notifiers;
    while (*link != notifier)
        link = &(*link)->next;
    *link = notifier->next;
    size_t position = 0;
    for (const struct handle_entry *entry;
         (entry = handle_map_next(&notifier->watches, &position)) != NULL;)
        gate_note_close(notifier->stack, &((struct watch *)(uintptr_t)entry->value)->attention);
    clear(notifier);
    doorbell_close(&notifier->bell);
    free(notifier);
}

void notifiers_free(ps_stack *stack)
{
    while (stack->notifiers != NULL)
        notifier_free(stack->notifiers);
}
