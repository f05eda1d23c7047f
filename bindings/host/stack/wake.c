/*
 * Waking the thread that drives a Stack.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>
#endif

#include "stack/wake.h"
#include "stack/stack.h"
#include "world/world.h"

int wake_open(ps_stack *stack)
{
#ifdef __linux__
    stack->wake_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stack->wake_descriptor < 0)
        return -errno;
    stack->wake_writer = stack->wake_descriptor;
#else
    int ends[2];
    if (pipe(ends) != 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    stack->wake_descriptor = ends[0];
    stack->wake_writer = ends[1];
#endif
    return 0;
}

void wake_close(ps_stack *stack)
{
    if (stack->wake_writer >= 0 && stack->wake_writer != stack->wake_descriptor)
        close(stack->wake_writer);
    if (stack->wake_descriptor >= 0)
        close(stack->wake_descriptor);
    stack->wake_descriptor = stack->wake_writer = -1;
}

void stack_wake(void *argument)
{
    ps_stack *stack = argument;
    if (stack->world != NULL) {
        world_ready(stack->world);
        return;
    }
    if (atomic_exchange(&stack->wake_pending, true))
        return;
    if (atomic_load(&stack->spinning))
        return; /* it looks at wake_pending again when it has stopped */
    uint64_t one = 1;
    /* It can only fail for being full, and then the sleeper is awake. */
    ssize_t wrote = write(stack->wake_writer, &one, sizeof one);
    (void)wrote;
}
