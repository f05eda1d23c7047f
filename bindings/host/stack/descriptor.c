/*
 * The descriptors that stand for sockets of a Stack, their readiness, and their end.
 *
 * Changes of readiness are collected while a thread is inside the engine, and shown when it leaves.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "stack/descriptor.h"
#include "stack/descriptors.h"
#include "stack/gate.h"
#include "stack/notifier.h"
#include "stack/waiters.h"
#include "world/world.h"

#define MOST_DEATHS 64 /* that are taken at once */
#define ENDED (PS_READY_READ | PS_READY_WRITE | PS_READY_ERROR | PS_READY_HANGUP | PS_READY_ENDED)

static struct descriptor **place(ps_stack *stack, int64_t handle)
{
    struct descriptor **link = &stack->descriptors[(uint64_t)handle % WAIT_BUCKETS];
    while (*link != NULL && (*link)->handle != handle)
        link = &(*link)->next;
    return link;
}

struct descriptor *descriptor_find(ps_stack *stack, int64_t handle)
{
    return *place(stack, handle);
}

void descriptor_show(ps_stack *stack, int64_t handle, uint32_t mask)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (stack->notifiers != NULL)
        notifiers_show(stack, handle, mask);
    if (descriptor == NULL)
        return;
    if (stack->poisoned || stack->state != STACK_OPEN)
        mask = ENDED;
    descriptor->wanted = mask;
    descriptor->news |= (mask & PS_READY_NEWS) != 0;
    if (descriptor->is_pending)
        return;
    descriptor->is_pending = true;
    descriptor->pending_next = stack->pending;
    stack->pending = descriptor;
}

void descriptors_settle(ps_stack *stack)
{
    while (stack->pending != NULL) {
        struct descriptor *descriptor = stack->pending;
        stack->pending = descriptor->pending_next;
        descriptor->is_pending = false;
        if (later_take(descriptor))
            continue;
        later_leave(descriptor);
        readiness_show(descriptor);
        if (stack->world != NULL)
            world_shown(stack->world->world);
    }
    notifiers_settle(stack);
}

void descriptor_show_now(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor == NULL || !descriptor->is_later)
        return;
    later_leave(descriptor);
    readiness_show(descriptor);
}

void descriptors_fail(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next)
            descriptor_show(stack, each->handle, 0);
    notifiers_fail(stack);
    descriptors_settle(stack);
}

void descriptor_refresh(ps_stack *stack, int64_t handle)
{
    uint32_t mask;
    bool is_shown = *place(stack, handle) != NULL || notifiers_watch(stack, handle);
    if (is_shown && stack->table->socket_ready(stack->engine, handle, &mask) == 0)
        descriptor_show(stack, handle, mask);
}

void descriptors_refresh(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next)
            descriptor_refresh(stack, each->handle);
    notifiers_refresh(stack);
}

void descriptor_has_sent(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor != NULL)
        gate_note_answer(stack, &descriptor->attention);
    notifiers_have_sent(stack, handle);
}

void descriptor_found_nothing(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor != NULL)
        descriptor->urgent_seen = true;
}

bool descriptor_waits_not(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = stack->shown_count > 0 ? *place(stack, handle) : NULL;
    if (descriptor == NULL)
        return false;
    int number = descriptor_pin(descriptor);
    bool result = number >= 0 && fcntl(number, F_GETFL) & O_NONBLOCK;
    descriptor_unpin(descriptor);
    return result;
}

void descriptor_hold(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    if (descriptor->is_held)
        return;
    descriptor->is_held = true;
    descriptor->held_us = stack->now_us;
    descriptor->held_next = stack->gate.held;
    stack->gate.held = descriptor;
    stack->gate.holds = true;
}

void descriptor_unhold(struct descriptor *descriptor)
{
    struct descriptor **link = &descriptor->stack->gate.held;
    if (!descriptor->is_held)
        return;
    while (*link != descriptor)
        link = &(*link)->held_next;
    *link = descriptor->held_next;
    descriptor->is_held = false;
}

void descriptor_enter(ps_stack *stack, int64_t handle, struct descriptor *descriptor)
{
    struct stat status;
    fstat(descriptor->shown, &status);
    descriptor->handle = handle;
    files_enter(descriptor, &status);
    *place(stack, handle) = descriptor;
    stack->shown_count++;
}

static void remove_at(ps_stack *stack, struct descriptor **link)
{
    struct descriptor *descriptor = *link;
    *link = descriptor->next;
    stack->shown_count--;
    gate_note_close(stack, &descriptor->attention);
    if (descriptor->is_watched && --stack->watched_count == 0) {
        close(stack->watcher);
        stack->watcher = -1;
    }
    for (struct descriptor **each = &stack->pending; *each != NULL; each = &(*each)->pending_next)
        if (*each == descriptor) {
            *each = descriptor->pending_next;
            break;
        }
    descriptor_unhold(descriptor);
    later_leave(descriptor);
    files_leave(descriptor);
    if (descriptor_has(descriptor, descriptor->shown))
        close(descriptor->shown);
    if (descriptor->kept >= 0)
        close(descriptor->kept);
    free(descriptor);
}

void descriptor_close(ps_stack *stack, int64_t handle)
{
    struct descriptor **link = place(stack, handle);
    if (*link != NULL)
        remove_at(stack, link);
    notifiers_drop(stack, handle);
}

int descriptor_note(ps_stack *stack, int64_t handle, int number, bool is_users)
{
    struct descriptor *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->stack = stack;
    made->shown = number;
    made->kept = made->pinned = -1;
    made->is_private = !is_users;
    made->form = DESCRIPTOR_RESET;
    descriptor_enter(stack, handle, made);
    return 0;
}

static void look_at_watched(ps_stack *stack)
{
#ifdef __linux__
    struct epoll_event events[MOST_DEATHS];
    int count = epoll_wait(stack->watcher, events, MOST_DEATHS, 0);
    for (int i = 0; i < count; i++) {
        struct descriptor *descriptor = *place(stack, (int64_t)events[i].data.u64);
        if (descriptor != NULL && descriptor_is_dead(descriptor))
            descriptor_bury(descriptor);
    }
#else
    (void)stack;
#endif
}

void descriptors_reap(ps_stack *stack)
{
    if (stack->watched_count > 0)
        look_at_watched(stack);
    if (!stack->deaths)
        return;
    stack->deaths = false;
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor **link = &stack->descriptors[i]; *link != NULL;) {
            int64_t handle = (*link)->handle;
            if (!(*link)->dead) {
                link = &(*link)->next;
                continue;
            }
            remove_at(stack, link);
            notifiers_drop(stack, handle);
            stack->table->socket_close(stack->engine, handle);
            stack_signal(stack, PS_EVENT_SOCKET, handle, UINT32_MAX);
        }
}
