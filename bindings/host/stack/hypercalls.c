/*
 * The hypercalls' native answers, and the way to Python's where it gave its own.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/random.h>
#endif

#include "stack/hypercalls.h"
#include "base/clock.h"
#include "base/pieces.h"
#include "stack/descriptors.h"
#include "stack/stack.h"
#include "stack/waiters.h"
#include "world/world.h"

/* Notes that Python raised, so that the call under way, or the next, raises it. */
int stack_note(ps_stack *stack, int result)
{
    if (result == -ECANCELED && !stack->raised) {
        stack->raised = true;
        stack_signal_all(stack);
    }
    return result;
}

static int host_clock(void *user, uint64_t *now_us)
{
    ps_stack *stack = user;
    if (stack->world != NULL) {
        stack->now_us = world_now_us(stack->world->world);
    } else if (stack->python.clock == NULL) {
        stack->now_us = monotonic_us();
    } else {
        uint64_t answer;
        /* A clock that fails, or goes back, stands still. */
        if (stack_note(stack, stack->python.clock(stack->python.python, &answer)) == 0 &&
            answer > stack->now_us)
            stack->now_us = answer;
    }
    *now_us = stack->now_us;
    return 0;
}

uint64_t stack_clock_us(ps_stack *stack)
{
    if (stack->world != NULL)
        return world_now_us(stack->world->world);
    if (stack->python.clock == NULL)
        return monotonic_us();
    uint64_t now_us;
    stack_go_inside(stack);
    host_clock(stack, &now_us);
    stack_go_outside(stack);
    return now_us;
}

static int host_memory_allocate(void *user, size_t size, void **out)
{
    ps_stack *stack = user;
    *out = arena_allocate(&stack->arena, size);
    return *out != NULL ? 0 : -ENOMEM;
}

static void host_memory_free(void *user, void *memory)
{
    ps_stack *stack = user;
    arena_free(&stack->arena, memory);
}

static void system_random(void *out, size_t size)
{
    uint8_t *bytes = out;
#ifdef __linux__
    while (size > 0) {
        ssize_t got = getrandom(bytes, size, 0);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            abort(); /* no Linux that runs this lacks it; guessable numbers are no way out */
        }
        bytes += got;
        size -= (size_t)got;
    }
#else
    arc4random_buf(bytes, size);
#endif
}

/* From a store, or the system would be called for each identification. */
static void system_random_small(ps_stack *stack, void *out, size_t size)
{
    if (size > sizeof stack->chance) {
        system_random(out, size);
        return;
    }
    if (stack->chance_left < size) {
        system_random(stack->chance, sizeof stack->chance);
        stack->chance_left = sizeof stack->chance;
    }
    stack->chance_left -= size;
    memcpy(out, stack->chance + stack->chance_left, size);
    memset(stack->chance + stack->chance_left, 0, size); /* so that it is never used twice */
}

void stack_random(ps_stack *stack, void *out, size_t size)
{
    if (stack->python.random != NULL &&
        stack_note(stack, stack->python.random(stack->python.python, out, size)) == 0)
        return;
    if (!stack->seeded) {
        system_random_small(stack, out, size);
        return;
    }
    uint8_t *bytes = out;
    for (size_t done = 0; done < size; done += sizeof(uint64_t)) {
        uint64_t word = generator_next(&stack->generator);
        size_t part = size - done < sizeof word ? size - done : sizeof word;
        memcpy(bytes + done, &word, part);
    }
}

static int host_random(void *user, void *out, size_t size)
{
    stack_random(user, out, size);
    return 0;
}

/* Python sees the frame flat; 1: it goes on to the NIC. */
static int show_frame(ps_stack *stack, uint32_t interface, const struct ps_piece *pieces,
                      size_t count, size_t total)
{
    uint8_t *flat = malloc(total);
    if (flat == NULL)
        return -ENOMEM;
    pieces_copy(flat, pieces, count);
    int result =
        stack_note(stack, stack->python.frame_out(stack->python.python, interface, flat, total));
    free(flat);
    return result;
}

int stack_frame_out(ps_stack *stack, uint32_t interface, const struct ps_piece *pieces,
                    size_t count, size_t total)
{
    if (stack->python.frame_out != NULL) {
        int result = show_frame(stack, interface, pieces, count, total);
        if (result <= 0)
            return result;
    }
    ps_nic *nic = interface < MOST_INTERFACES ? stack->nics[interface] : NULL;
    if (nic == NULL)
        return -ENODEV;
    return stack_note(stack, nic_transmit(nic, pieces, count, total, stack->now_us));
}

static int host_frame_out(void *user, uint32_t interface, const struct ps_piece *pieces,
                          size_t count, size_t total)
{
    return stack_frame_out(user, interface, pieces, count, total);
}

static int host_frame_out_offload(void *user, uint32_t interface, const struct ps_piece *pieces,
                                  size_t count, size_t total, const struct ps_offload *offload)
{
    ps_stack *stack = user;
    ps_nic *nic = interface < MOST_INTERFACES ? stack->nics[interface] : NULL;
    if (nic == NULL)
        return -ENODEV;
    return stack_note(stack,
                      nic_transmit_offload(nic, pieces, count, total, offload, stack->now_us));
}

static void host_event(void *user, enum ps_event_kind kind, int64_t id, uint32_t mask)
{
    ps_stack *stack = user;
    if (kind == PS_EVENT_INTERFACE) {
        stack->changes++;
        stack->serving.changed = stack->serving.interfaces > 0;
        stack_signal(stack, kind, 0, UINT32_MAX);
        return;
    }
    stack_signal(stack, kind, id, kind == PS_EVENT_SOCKET ? mask : UINT32_MAX);
    if (kind == PS_EVENT_SOCKET && stack->shown_count > 0)
        descriptor_show(stack, id, mask);
}

void stack_log(void *user, enum ps_log_level level, const char *text)
{
    ps_stack *stack = user;
    if (stack->python.log != NULL)
        stack_note(stack, stack->python.log(stack->python.python, level, text));
    else if (level >= PS_LOG_WARNING)
        fprintf(stderr, "pystack: %s\n", text);
}

static void host_panic(void *user, const char *text)
{
    ps_stack *stack = user;
    snprintf(stack->panic_text, sizeof stack->panic_text, "%s", text);
    if (stack->python.panic != NULL)
        stack_note(stack, stack->python.panic(stack->python.python, text));
    longjmp(stack->unwind, 1);
}

void stack_hypercalls(ps_stack *stack, struct ps_hypercalls *out)
{
    *out = (struct ps_hypercalls){
        .version = PS_HYPERCALLS_VERSION,
        .size = sizeof *out,
        .user = stack,
        .clock = host_clock,
        .memory_allocate = host_memory_allocate,
        .memory_free = host_memory_free,
        .random = host_random,
        .frame_out = host_frame_out,
        .frame_out_offload = host_frame_out_offload,
        .event = host_event,
        .log = stack_log,
        .panic = host_panic,
    };
}
