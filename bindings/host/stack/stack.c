/*
 * A Stack's life.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "stack/stack.h"
#include "base/clock.h"
#include "nic/gso.h"
#include "stack/acts.h"
#include "stack/attach.h"
#include "stack/descriptors.h"
#include "stack/driver.h"
#include "stack/due.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/hypercalls.h"
#include "stack/lock.h"
#include "stack/move.h"
#include "stack/serving.h"
#include "stack/stacks.h"
#include "stack/taps.h"
#include "stack/wait.h"
#include "stack/waiters.h"
#include "stack/wake.h"
#include "stack/witness.h"
#include "world/world.h"

void stack_forget(ps_stack *stack)
{
    descriptor_forget_all(stack);
    gate_forget(stack);
    doorbell_close(&stack->doorbell);
}

static void free_resources(ps_stack *stack)
{
    descriptors_abandon(stack);
    witness_free(stack->witness);
    stack->witness = NULL;
    arena_release(&stack->arena);
    image_unload(&stack->image);
    doorbell_close(&stack->doorbell);
    gate_forget(stack);
    taps_drop_all(stack);
    frame_block_destroy(stack->frame.bytes);
    frame_block_destroy(stack->gso.frame.bytes);
    stack->frame.bytes = stack->gso.frame.bytes = NULL;
}

/* Without the lock: another thread may move the World, and waits for it to move this Stack. */
static void leave_world(ps_stack *stack)
{
    pthread_mutex_lock(&stack->lock);
    struct world_member *member = stack->world;
    stack->world = NULL;
    pthread_mutex_unlock(&stack->lock);
    if (member != NULL)
        world_dismiss(member);
}

/* When it is this Stack's turn in its World; also while it finishes. */
static void move_in_world(void *argument)
{
    ps_stack *stack = argument;
    pthread_mutex_lock(&stack->lock);
    bool is_there = stack->state < STACK_CLOSING && stack->world != NULL;
    if (is_there && stack->poisoned)
        world_unwatch(stack->world, NULL); /* nobody takes its frames any more */
    if (is_there && !stack->poisoned) {
        if (!stack_move(stack) || serving_run(stack))
            world_ready(stack->world); /* a NIC may have more, or a service has asked for it */
        stack_reschedule(stack);
    }
    stack_unlock(stack);
}

int ps_stack_open(const struct ps_stack_options *options, ps_stack **out, char *error,
                  size_t error_size)
{
    stack_watch_forks();
    snprintf(error, error_size, "out of memory");
    ps_stack *stack = calloc(1, sizeof *stack);
    if (stack == NULL)
        return -ENOMEM;
    pthread_mutex_init(&stack->lock, NULL);
    pthread_cond_init(&stack->idle, NULL);
    stack->fork_generation = stack_fork_generation();
    stack->python = options->python;
    stack->arena.python = &stack->python;
    stack->arena.statistics.limit_bytes = options->memory_limit_bytes;
    stack->seeded = options->seeded;
    generator_seed(&stack->generator, options->seed);
    stack->threaded = options->threaded;
    stack->has_processors = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    stack->deadline_us = stack->serving.deadline_us = UINT64_MAX;
    stack->doorbell = NO_DOORBELL;
    stack->gate.fd = -1;
    stack->gate.round = 1;
    stack->watcher = stack->joiner = -1;
    stack->frame.bytes = frame_block_create();
    stack->gso.frame.bytes = frame_block_create();
    bool has_blocks = stack->frame.bytes != NULL && stack->gso.frame.bytes != NULL;
    int result = has_blocks ? doorbell_open(&stack->doorbell) : -ENOMEM;
    if (result == 0 && options->world != NULL) {
        stack->world = world_enlist(options->world, move_in_world, stack_acts, stack);
        result = stack->world != NULL ? 0 : -ENOMEM;
        stack->place = result == 0 ? stack->world->number : 0;
    }
    if (result == 0)
        result = image_load(&stack->image, options->engine_path, &stack->table, error, error_size);
    if (result == 0) {
        struct ps_hypercalls hypercalls;
        stack_hypercalls(stack, &hypercalls);
        pthread_mutex_lock(&stack->lock); /* its World moves it, perhaps in another thread */
        result = stack_open_engine(stack, &hypercalls);
        pthread_mutex_unlock(&stack->lock);
        if (result == -EPROTO)
            snprintf(error, error_size, "the engine refuses this host's version of hypercalls.h");
        else if (result < 0)
            snprintf(error, error_size, "the engine did not start: %s",
                     stack->poisoned ? stack->panic_text : strerror(-result));
    }
    if (result == 0 && stack->threaded) {
        result = driver_start(stack);
        if (result < 0)
            snprintf(error, error_size, "no thread for the driver: %s", strerror(-result));
    }
    if (result < 0) {
        leave_world(stack);
        free_resources(stack);
        free(stack);
        return result;
    }
    stacks_enter(stack);
    *out = stack;
    return 0;
}

uint64_t ps_stack_place(const ps_stack *stack)
{
    return stack->place;
}

int stack_begin_to_close(ps_stack *stack)
{
    if (stack_is_inherited(stack))
        return 0; /* the parent's to close */
    if (stack_is_inside(stack))
        return -EDEADLK;
    pthread_mutex_lock(&stack->lock);
    if (stack->state >= STACK_CLOSING) {
        while (stack->state == STACK_CLOSING)
            pthread_cond_wait(&stack->idle, &stack->lock);
        pthread_mutex_unlock(&stack->lock);
        return 0;
    }
    stack->state = STACK_CLOSING;
    stack_signal_all(stack);
    stack_unlock(stack);
    return 1;
}

/* Those that wait leave; in a World they need their turn for that. */
static void wait_for_waiters(ps_stack *stack)
{
    ps_turn *turn = stack->world != NULL ? ps_turn_mine(stack->world->world) : NULL;
    if (turn == NULL) {
        pthread_cond_wait(&stack->idle, &stack->lock);
        return;
    }
    turn_prepare(turn, 0, false);
    stack_unlock(stack);
    turn_wait(turn);
    pthread_mutex_lock(&stack->lock);
}

void stack_close(ps_stack *stack, bool abrupt)
{
    if (stack->threaded)
        driver_stop(stack);
    else
        stack_wake(stack);

    pthread_mutex_lock(&stack->lock);
    while (stack->waiting > 0)
        wait_for_waiters(stack);
    stack_close_engine(stack, abrupt);
    detach_all(stack);
    free_resources(stack);
    stack_unlock(stack);
    leave_world(stack);
    pthread_mutex_lock(&stack->lock);
    stack->state = STACK_CLOSED;
    pthread_cond_broadcast(&stack->idle);
    stack_unlock(stack);
}

void ps_stack_destroy(ps_stack *stack)
{
    stacks_leave(stack);
    descriptors_free(stack);
    pthread_cond_destroy(&stack->idle);
    pthread_mutex_destroy(&stack->lock);
    free(stack);
}

int ps_stack_fail(ps_stack *stack, const char *text)
{
    ENGINE_CALL(stack, stack->table->fail(stack->engine, text));
}

int local_panic_text(ps_stack *stack, char *text, size_t size)
{
    /* Written once, before `poisoned` is, and never changed: no lock, for this is asked of
     * Stacks that can't be entered any more. */
    if (!stack->poisoned)
        return -ENOENT;
    snprintf(text, size, "%s", stack->panic_text);
    return 0;
}

void ps_stack_engine(ps_stack *stack, const char **name, const char **release)
{
    *name = stack->table == NULL ? "remote" : stack->table->name;
    *release = stack->table == NULL ? "" : stack->table->release;
}

/* --- its memory --------------------------------------------------------------------------- */

int ps_stack_arena(ps_stack *stack, struct ps_arena_statistics *out)
{
    if (stack->refuse != NULL)
        return stack->refuse(stack);
    /* A closed Stack still answers: what is left is what a leak test asks for. */
    if (stack_is_inherited(stack))
        return -EOWNERDEAD;
    if (stack_is_inside(stack))
        return -EDEADLK;
    pthread_mutex_lock(&stack->lock);
    *out = stack->arena.statistics;
    stack_unlock(stack);
    return 0;
}

int ps_stack_arena_limit(ps_stack *stack, uint64_t limit_bytes)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    stack->arena.statistics.limit_bytes = limit_bytes;
    stack_unlock(stack);
    return 0;
}

int ps_stack_arena_fail(ps_stack *stack, uint64_t after, uint64_t count)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    stack->arena.fail_after = after;
    stack->arena.fail_count = count;
    stack_unlock(stack);
    return 0;
}

int ps_stack_changes(ps_stack *stack, uint64_t seen, int64_t timeout_us, uint64_t *now)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    uint64_t deadline_us = stack_deadline(stack, timeout_us);
    while (result == 0 && stack->changes == seen)
        result = stack_wait(stack, PS_EVENT_INTERFACE, 0, UINT32_MAX, deadline_us);
    *now = stack->changes;
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}
