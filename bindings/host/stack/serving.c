/*
 * The services in Python: when they run, and what they show in the Stack's tables.
 *
 * They run without the Stack's lock, on the thread that drives it, and use the Stack by its calls
 * as any other thread does. None of those waits.
 */
#include <stdlib.h>
#include <string.h>

#include "stack/serving.h"
#include "stack/due.h"
#include "stack/hypercalls.h"
#include "stack/lock.h"
#include "stack/taps.h"
#include "stack/waiters.h"
#include "stack/wake.h"

#define FOREVER 0xffffffffu

bool serving_run(ps_stack *stack)
{
    struct serving *serving = &stack->serving;
    uint64_t due = serving_due_us(stack);
    if (due == UINT64_MAX || stack->now_us < due)
        return false;
    serving->running = true;
    serving->changed = false;
    serving->deadline_us = UINT64_MAX; /* it says when it wants to run again */
    uint64_t now_us = stack->now_us;
    stack_unlock(stack);
    int result = stack->python.serve(stack->python.python, now_us);
    pthread_mutex_lock(&stack->lock);
    serving->running = false;
    if (result < 0) {
        taps_forget_frames(stack);
        stack_note(stack, result);
    }
    return true;
}

/* --- for Python ---------------------------------------------------------------------------- */

int ps_serving_begin(ps_stack *stack, int (*serve)(void *python, uint64_t now_us))
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    stack->python.serve = serve;
    stack_unlock(stack);
    return 0;
}

static int show(ps_stack *stack, uint32_t index, const struct ps_serving *serving)
{
    if (index >= MOST_INTERFACES || (stack->nics[index] == NULL && serving != NULL))
        return -ENODEV;
    return taps_put(stack, index, serving);
}

/* An engine that resolves names by itself has to know whom to ask. */
static int tell_nameservers(ps_stack *stack, uint32_t index, const struct ps_serving *serving)
{
    size_t count = serving != NULL ? serving->nameserver_count : 0;
    if (stack->nics[index] == NULL)
        return 0; /* its name servers went with the interface */
    return stack->table->nameservers_learnt(stack->engine, index,
                                            count > 0 ? serving->nameservers : NULL, count);
}

static int tell_engine(ps_stack *stack, uint32_t index, const struct ps_serving *serving)
{
    ENGINE_CALL(stack, tell_nameservers(stack, index, serving));
}

int ps_serving_show(ps_stack *stack, uint32_t index, const struct ps_serving *serving)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    result = show(stack, index, serving);
    if (result == 0) {
        stack->changes++;
        stack_signal(stack, PS_EVENT_INTERFACE, 0, UINT32_MAX);
    }
    stack_unlock(stack);
    if (result == 0 && stack->table->nameservers_learnt != NULL)
        result = tell_engine(stack, index, serving);
    return result;
}

int ps_serving_wake_at(ps_stack *stack, uint64_t deadline_us)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    stack->serving.deadline_us = deadline_us;
    if (deadline_us < stack->sleep_until_us)
        stack_wake(stack);
    stack_unlock(stack);
    return 0;
}

int64_t ps_serving_frame(ps_stack *stack, uint32_t *index, bool *is_whole, uint8_t *out,
                         size_t room)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    struct tapped_frame *frame = taps_next(stack);
    stack_unlock(stack);
    if (frame == NULL)
        return 0;
    size_t size = frame->size < room ? frame->size : room;
    memcpy(out, frame->bytes, size);
    *index = frame->interface;
    *is_whole = frame->is_whole;
    free(frame);
    return (int64_t)size;
}

static int transmit(ps_stack *stack, uint32_t index, const uint8_t *frame, size_t size)
{
    const struct ps_piece piece = {(uint8_t *)(uintptr_t)frame, size};
    return stack_frame_out(stack, index, &piece, 1, size);
}

int ps_serving_transmit(ps_stack *stack, uint32_t index, const uint8_t *frame, size_t size)
{
    ENGINE_CALL(stack, transmit(stack, index, frame, size)); /* inside, so that it has the time */
}

static int tell_time(const ps_stack *stack, uint64_t *now_us)
{
    *now_us = stack->now_us;
    return 0;
}

int ps_serving_now(ps_stack *stack, uint64_t *now_us)
{
    ENGINE_CALL(stack, tell_time(stack, now_us)); /* going in reads the clock */
}

static int draw(ps_stack *stack, uint8_t *out, size_t size)
{
    stack_random(stack, out, size);
    return 0;
}

int ps_serving_random(ps_stack *stack, uint8_t *out, size_t size)
{
    ENGINE_CALL(stack, draw(stack, out, size));
}

/* --- in the Stack's tables ------------------------------------------------------------------- */

static bool is_same(const struct ps_address *one, const struct ps_address *other)
{
    return one->family != PS_UNSPECIFIED && one->family == other->family &&
           memcmp(one->bytes, other->bytes, one->family == PS_INET ? 4 : 16) == 0;
}

static uint32_t seconds_until(const ps_stack *stack, uint64_t moment_us)
{
    if (moment_us == UINT64_MAX)
        return FOREVER;
    uint64_t left = moment_us > stack->now_us ? (moment_us - stack->now_us) / 1000000 : 0;
    return left < FOREVER ? (uint32_t)left : FOREVER - 1;
}

void serving_show_interface(const ps_stack *stack, struct ps_interface *entry)
{
    const struct ps_serving *shown = taps_of(stack, entry->index);
    if (shown != NULL)
        entry->flags |= shown->flags;
}

void serving_show_address(const ps_stack *stack, struct ps_interface_address *entry)
{
    const struct ps_serving *shown = taps_of(stack, entry->interface);
    if (shown == NULL)
        return;
    if (is_same(&shown->address, &entry->address))
        entry->origin = shown->origin;
    for (size_t i = 0; i < shown->leased_count; i++) {
        const struct ps_leased *leased = &shown->leased[i];
        if (!is_same(&leased->address, &entry->address))
            continue;
        entry->origin = PS_ORIGIN_DHCP;
        entry->preferred_s = seconds_until(stack, leased->preferred_us);
        entry->valid_s = seconds_until(stack, leased->valid_us);
    }
}

void serving_show_route(const ps_stack *stack, struct ps_route *entry)
{
    const struct ps_serving *shown = taps_of(stack, entry->interface);
    if (shown != NULL && entry->destination.prefix == 0 &&
        is_same(&shown->gateway, &entry->gateway))
        entry->origin = PS_ROUTE_DHCP;
}

int serving_nameserver_at(const ps_stack *stack, size_t position, struct ps_nameserver *out)
{
    if (stack->serving.interfaces == 0 || stack->table->nameservers_learnt != NULL)
        return 0; /* there are none, or the engine has them */
    for (uint32_t index = 0; index <= stack->nic_last; index++) {
        const struct ps_serving *shown = taps_of(stack, index);
        size_t count = shown != NULL ? shown->nameserver_count : 0;
        if (position < count) {
            *out = (struct ps_nameserver){
                .address = shown->nameservers[position],
                .interface = index,
                .origin = PS_ORIGIN_DHCP,
            };
            return 1;
        }
        position -= count;
    }
    return 0;
}
