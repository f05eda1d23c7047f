/*
 * The way in and out of a Stack's engine, also by a panic, and which Stacks a thread is inside of.
 */
#include <errno.h>

#include "stack/entry.h"
#include "nic/capture_file.h"
#include "stack/descriptors.h"
#include "stack/due.h"
#include "stack/stack.h"
#include "stack/stacks.h"
#include "stack/waiters.h"
#include "stack/wake.h"
#include "stack/witness.h"
#include "world/world.h"

/* Counts forks on the child's side: a Stack of an older count was inherited. */
static unsigned fork_generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* The Stack that this thread is inside of; the Stacks that it came through are its `outer`s. */
static _Thread_local ps_stack *inside;

/* Guards each Stack's `awaited`. */
static pthread_mutex_t awaited_lock = PTHREAD_MUTEX_INITIALIZER;

static void before_fork(void)
{
    stacks_before_fork();
    files_before_fork();
}

static void after_fork_in_parent(void)
{
    files_after_fork(false);
    stacks_after_fork();
}

static void after_fork_in_child(void)
{
    fork_generation++;
    inside = NULL;
    pthread_mutex_init(&awaited_lock, NULL);
    files_after_fork(true);
    stacks_forget();
    images_after_fork();
}

static void watch_forks(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

void stack_watch_forks(void)
{
    capture_files_watch_forks();
    pthread_once(&fork_once, watch_forks);
}

unsigned stack_fork_generation(void)
{
    return fork_generation;
}

bool stack_is_inside(const ps_stack *stack)
{
    for (const ps_stack *each = inside; each != NULL; each = each->outer)
        if (each == stack)
            return true;
    return false;
}

bool stack_is_inside_any(void)
{
    return inside != NULL;
}

bool stack_is_inside_world(const ps_world *world)
{
    for (const ps_stack *each = inside; each != NULL; each = each->outer)
        if (each->world != NULL && each->world->world == world)
            return true;
    return false;
}

static void await(ps_stack *stack)
{
    for (ps_stack *each = inside; each != NULL; each = each->outer)
        each->awaited = stack;
}

/* Whether whoever has the Stack waits, through however many others, for one of this thread's. */
static bool is_circle(const ps_stack *stack)
{
    while (stack != NULL && !stack_is_inside(stack))
        stack = stack->awaited;
    return stack != NULL;
}

int stack_take(ps_stack *stack)
{
    if (inside == NULL) {
        pthread_mutex_lock(&stack->lock);
        return 0;
    }
    if (pthread_mutex_trylock(&stack->lock) == 0)
        return 0;
    pthread_mutex_lock(&awaited_lock);
    bool circle = is_circle(stack);
    if (!circle)
        await(stack);
    pthread_mutex_unlock(&awaited_lock);
    if (circle)
        return -EDEADLK;
    pthread_mutex_lock(&stack->lock);
    pthread_mutex_lock(&awaited_lock);
    await(NULL);
    pthread_mutex_unlock(&awaited_lock);
    return 0;
}

/* --- in and out --------------------------------------------------------------------------- */

void stack_begin(ps_stack *stack)
{
    stack->outer = inside;
    inside = stack;
    stack->table->enter(stack->engine);
}

void stack_end(ps_stack *stack)
{
    witness_look(stack);
    stack->table->leave(stack->engine, &stack->deadline_us);
    inside = stack->outer;
    if (stack->pending != NULL || stack->unsettled)
        descriptors_settle(stack);
    if (stack->world != NULL)
        stack_reschedule(stack);
    else if (stack->deadline_us < stack->sleep_until_us)
        stack_wake(stack);
}

void stack_go_inside(ps_stack *stack)
{
    stack->outer = inside;
    inside = stack;
}

void stack_go_outside(ps_stack *stack)
{
    inside = stack->outer;
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

bool stack_is_inherited(const ps_stack *stack)
{
    return stack->fork_generation != fork_generation;
}

/* --- for its life ------------------------------------------------------------------------- */

int stack_open_engine(ps_stack *stack, const struct ps_hypercalls *hypercalls)
{
    int result;
    if (setjmp(stack->unwind) == 0) {
        stack->outer = inside;
        inside = stack;
        result = stack->table->open(hypercalls, &stack->engine);
        inside = stack->outer;
    } else {
        result = stack_poison(stack);
    }
    return result;
}

/* Without `leave`: there is nothing left to be in. */
void stack_close_engine(ps_stack *stack, bool abrupt)
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
