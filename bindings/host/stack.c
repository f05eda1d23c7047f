/*
 * A Stack's life, and the way in and out of its engine.
 */
#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts forks on the child's side: a Stack of an older count was inherited. */
static unsigned fork_generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* The Stack that this thread is inside of; the Stacks that it came through are its `outer`s. */
static _Thread_local ps_stack *inside;

static void after_fork_in_parent(void)
{
    files_after_fork(false);
}

static void after_fork_in_child(void)
{
    fork_generation++;
    inside = NULL;
    files_after_fork(true);
    stacks_forget();
}

static void watch_forks(void)
{
    pthread_atfork(files_before_fork, after_fork_in_parent, after_fork_in_child);
}

void stack_watch_forks(void)
{
    pthread_once(&fork_once, watch_forks);
}

unsigned stack_fork_generation(void)
{
    return fork_generation;
}

void stack_forget(ps_stack *stack)
{
    channel_forget(stack);
    descriptor_forget_all(stack);
    gate_forget(stack);
    wake_close(stack);
}

bool stack_is_inside(const ps_stack *stack)
{
    for (const ps_stack *each = inside; each != NULL; each = each->outer)
        if (each == stack)
            return true;
    return false;
}

/* --- in and out --------------------------------------------------------------------------- */

int stack_lock(ps_stack *stack)
{
    if (stack->remote != NULL)
        return channel_refusal(stack);
    if (stack->fork_generation != fork_generation)
        return -EOWNERDEAD;
    if (stack_is_inside(stack))
        return -EDEADLK;
    pthread_mutex_lock(&stack->lock);
    int result = stack->state != STACK_OPEN ? -EBADF : stack->poisoned ? -ENOTRECOVERABLE : 0;
    if (result < 0)
        pthread_mutex_unlock(&stack->lock);
    return result;
}

void stack_unlock(ps_stack *stack)
{
    if (stack->gate.due)
        gate_attend(stack);
    _Atomic uint32_t *wakes[MOST_WAKES];
    size_t count = stack->wake_count;
    memcpy(wakes, stack->wakes, count * sizeof *wakes);
    stack->wake_count = 0;
    pthread_mutex_unlock(&stack->lock);
    stack_wake_signalled(wakes, count);
}

void stack_begin(ps_stack *stack)
{
    stack->outer = inside;
    inside = stack;
    stack->table->enter(stack->engine);
}

void stack_end(ps_stack *stack)
{
    stack->table->leave(stack->engine, &stack->deadline_us);
    inside = stack->outer;
    if (stack->pending != NULL)
        descriptors_settle(stack);
    if (stack->deadline_us < stack->sleep_until_us)
        stack_wake(stack);
}

int stack_poison(ps_stack *stack)
{
    inside = stack->outer;
    stack->poisoned = true;
    stack_signal_all(stack);
    descriptors_fail(stack);
    return -ENOTRECOVERABLE;
}

int64_t stack_outcome(ps_stack *stack, int64_t result)
{
    if (!stack->raised)
        return result;
    stack->raised = false;
    /* What was done stays done: Python looks at its stash in either case. */
    return result < 0 ? -ECANCELED : result;
}

/* --- life --------------------------------------------------------------------------------- */

static int start_engine(ps_stack *stack)
{
    struct ps_hypercalls hypercalls;
    stack_hypercalls(stack, &hypercalls);
    int result;
    if (setjmp(stack->unwind) == 0) {
        stack->outer = inside;
        inside = stack;
        result = stack->table->open(&hypercalls, &stack->engine);
        inside = stack->outer;
    } else {
        result = stack_poison(stack);
    }
    return result;
}

/* Without `leave`: there is nothing left to be in. */
static void close_engine(ps_stack *stack, bool abrupt)
{
    if (!stack->poisoned && setjmp(stack->unwind) == 0) {
        stack_begin(stack);
        stack->table->close(stack->engine, abrupt);
        inside = stack->outer;
    } else if (!stack->poisoned) {
        stack_poison(stack); /* a panic on the way out */
    }
    if (stack->poisoned && stack->table->abandon != NULL)
        stack->table->abandon(stack->engine);
}

static void free_resources(ps_stack *stack)
{
    descriptor_close_all(stack);
    arena_release(&stack->arena);
    image_unload(&stack->image);
    wake_close(stack);
    gate_forget(stack);
    frame_block_destroy(stack->frame.bytes);
    frame_block_destroy(stack->segments.frame.bytes);
    stack->frame.bytes = stack->segments.frame.bytes = NULL;
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
    stack->fork_generation = fork_generation;
    stack->python = options->python;
    stack->arena.python = &stack->python;
    stack->arena.statistics.limit_bytes = options->memory_limit_bytes;
    stack->seeded = options->seeded;
    generator_seed(&stack->generator, options->seed);
    stack->threaded = options->threaded;
    stack->has_processors = sysconf(_SC_NPROCESSORS_ONLN) > 1;
    stack->deadline_us = UINT64_MAX;
    stack->wake_descriptor = stack->wake_writer = stack->gate.fd = -1;
    stack->gate.round = 1;
    stack->watcher = stack->joiner = -1;
    stack->frame.bytes = frame_block_create();
    stack->segments.frame.bytes = frame_block_create();
    bool has_blocks = stack->frame.bytes != NULL && stack->segments.frame.bytes != NULL;
    int result = has_blocks ? wake_open(stack) : -ENOMEM;
    if (result == 0)
        result = image_load(&stack->image, options->engine_path, &stack->table, error, error_size);
    if (result == 0) {
        result = start_engine(stack);
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
        free_resources(stack);
        free(stack);
        return result;
    }
    stacks_enter(stack);
    *out = stack;
    return 0;
}

bool stack_is_inherited(const ps_stack *stack)
{
    return stack->fork_generation != fork_generation;
}

int ps_stack_close(ps_stack *stack, bool abrupt)
{
    if (stack->remote != NULL) {
        channel_leave(stack);
        return 0;
    }
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
    channel_stop(stack);
    if (stack->threaded)
        driver_stop(stack);
    else
        stack_wake(stack);

    pthread_mutex_lock(&stack->lock);
    while (stack->waiting > 0)
        pthread_cond_wait(&stack->idle, &stack->lock);
    close_engine(stack, abrupt);
    detach_all(stack);
    free_resources(stack);
    stack->state = STACK_CLOSED;
    pthread_cond_broadcast(&stack->idle);
    stack_unlock(stack);
    return 0;
}

void ps_stack_destroy(ps_stack *stack)
{
    stacks_leave(stack);
    pthread_cond_destroy(&stack->idle);
    pthread_mutex_destroy(&stack->lock);
    free(stack);
}

int ps_stack_fail(ps_stack *stack, const char *text)
{
    ENGINE_CALL(stack, stack->table->fail(stack->engine, text));
}

int ps_stack_panic_text(ps_stack *stack, char *text, size_t size)
{
    /* Written once, before `poisoned` is, and never changed: no lock, for this is asked of
     * Stacks that can't be entered any more. */
    if (stack->remote != NULL) {
        struct iovec answer = {text, size < 256 ? size : 256};
        struct channel_message message = {
            .operation = CHANNEL_PANIC_TEXT, .answer = &answer, .answer_pieces = 1};
        return (int)channel_ask(stack, &message);
    }
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
    if (stack->remote != NULL)
        return channel_refusal(stack);
    /* A closed Stack still answers: what is left is what a leak test asks for. */
    if (stack->fork_generation != fork_generation)
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
    uint64_t deadline_us = deadline_after(timeout_us);
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    while (result == 0 && stack->changes == seen)
        result = stack_wait(stack, PS_EVENT_INTERFACE, 0, UINT32_MAX, deadline_us);
    *now = stack->changes;
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}
