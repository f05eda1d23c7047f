/*
 * Descriptors whose socket is held by other processes.
 *
 * The owner keeps a private number for each, to show readiness. After the last process has let go
 * of the socket, a number may still be in flight (SCM_RIGHTS) or inherited by another program: the
 * socket lives as long as one exists, like an open file description.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "stack/descriptor.h"
#include "stack/descriptors.h"
#include "stack/lock.h"

bool descriptor_keep(ps_stack *stack, int64_t handle, int number)
{
    if (stack_lock(stack) < 0)
        return true;
    struct descriptor *descriptor = descriptor_find(stack, handle);
    bool owned =
        descriptor == NULL || descriptor->is_private || descriptor_search(descriptor, number) >= 0;
    int copy = owned ? -1 : fcntl(number, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0) {
        descriptor->shown = copy;
        descriptor->is_private = true;
        descriptor->lost = false;
        readiness_show(descriptor); /* what came while it was under way */
    }
    stack_unlock(stack);
    return owned;
}

static bool tells_death(const struct descriptor *descriptor)
{
    return descriptor != NULL && descriptor->form == DESCRIPTOR_PAIRED && !descriptor->datagrams;
}

bool descriptor_tells_death(ps_stack *stack, int64_t handle)
{
    if (stack_lock(stack) < 0)
        return false;
    bool result = tells_death(descriptor_find(stack, handle));
    stack_unlock(stack);
    return result;
}

bool descriptor_lives_on(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = descriptor_find(stack, handle);
    if (!tells_death(descriptor))
        return false;
    if (descriptor->is_private) {
        close(descriptor->shown);
        descriptor->shown = -1;
        descriptor->is_private = false;
    }
    if (descriptor_is_dead(descriptor))
        return false;
    descriptor->shared = descriptor->is_loose = true;
    descriptor_watch(descriptor);
    return descriptor->is_watched;
}
