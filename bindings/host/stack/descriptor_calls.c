/*
 * A program's calls on descriptors: making one, adopting a number made elsewhere, closing.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "stack/descriptor.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/lock.h"

/* One that stands for nothing yet. NULL: there is none to be had, and why. */
static struct descriptor *create(ps_stack *stack, uint32_t mask, bool datagrams, bool nonblocking,
                                 int *result)
{
    struct descriptor *made = calloc(1, sizeof *made);
    *result = -ENOMEM;
    if (made == NULL)
        return NULL;
    made->stack = stack;
    made->pinned = -1;
    made->datagrams = datagrams;
    *result = readiness_open(made, mask, nonblocking);
    if (*result == 0)
        return made;
    free(made);
    return NULL;
}

static void discard(struct descriptor *descriptor)
{
    close(descriptor->shown);
    if (descriptor->kept >= 0)
        close(descriptor->kept);
    free(descriptor);
}

static int make(ps_stack *stack, int64_t handle, bool nonblocking)
{
    uint32_t mask;
    int64_t type;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    if (result == 0)
        result = stack->table->option_get(stack->engine, handle, PS_OPT_TYPE, &type);
    if (result < 0)
        return result;
    struct descriptor *made = create(stack, mask, type != PS_STREAM, nonblocking, &result);
    if (made == NULL)
        return result;
    descriptor_enter(stack, handle, made);
    readiness_show(made);
    return made->shown;
}

static int descriptor_of(ps_stack *stack, int64_t handle, bool nonblocking)
{
    struct descriptor *descriptor = descriptor_find(stack, handle);
    if (descriptor == NULL)
        return make(stack, handle, nonblocking);
    descriptor->shared |= !descriptor->is_private;
    int number = descriptor_pin(descriptor);
    int copy = number < 0 ? -1 : fcntl(number, F_DUPFD_CLOEXEC, 0);
    int error = number < 0 ? EBADF : errno;
    descriptor_unpin(descriptor);
    return copy < 0 ? -error : copy;
}

int local_descriptor(ps_stack *stack, int64_t handle, bool nonblocking)
{
    ENGINE_CALL(stack, descriptor_of(stack, handle, nonblocking));
}

int ps_descriptor_number(ps_stack *stack, int64_t handle)
{
    if (stack_lock(stack) < 0)
        return -1;
    struct descriptor *descriptor = descriptor_find(stack, handle);
    int number = descriptor == NULL || descriptor->is_private ? -1 : descriptor_number(descriptor);
    int result = 0;
    if (stack->deaths)
        ENGINE_GUARD(stack, result, (descriptors_reap(stack), 0));
    stack_unlock(stack);
    return result < 0 ? -1 : number;
}

static int lend(ps_stack *stack, int64_t handle)
{
    if (descriptor_find(stack, handle) == NULL) {
        int result = make(stack, handle, false);
        if (result < 0)
            return result;
        descriptor_find(stack, handle)->is_private = true;
    }
    return descriptor_of(stack, handle, false);
}

int descriptor_lend(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, lend(stack, handle));
}

static int64_t accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number)
{
    uint32_t mask;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    if (result < 0)
        return result;
    if (!(mask & PS_READY_READ)) /* it says why not */
        return stack->table->socket_accept(stack->engine, handle, remote);
    struct descriptor *made = create(stack, PS_READY_WRITE, false, false, &result);
    if (made == NULL)
        return result;
    int64_t accepted = stack->table->socket_accept(stack->engine, handle, remote);
    if (accepted < 0) {
        discard(made);
        return accepted;
    }
    descriptor_enter(stack, accepted, made);
    descriptor_refresh(stack, accepted);
    descriptor_refresh(stack, handle);
    *number = made->shown;
    return accepted;
}

int64_t local_accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number)
{
    ENGINE_CALL(stack, accept_shown(stack, handle, remote, number));
}

static int use(ps_stack *stack, int64_t handle, int number, bool loose)
{
    struct descriptor *descriptor = descriptor_find(stack, handle);
    if (descriptor == NULL || !descriptor_has(descriptor, number))
        return -EBADF;
    if (descriptor->is_private && descriptor->shown != number) {
        close(descriptor->shown); /* this one does as well */
        descriptor->is_private = false;
    }
    descriptor->shown = number;
    descriptor->shared = true;
    descriptor->lost = false;
    if (loose)
        descriptor->is_loose = true;
    if (descriptor->is_loose && descriptor->datagrams)
        descriptor_name(descriptor);
    if (descriptor->is_loose)
        descriptor_watch(descriptor);
    readiness_show(descriptor);
    return 0;
}

int ps_descriptor_use(ps_stack *stack, int64_t handle, int number, bool loose)
{
    if (stack->remote != NULL)
        return 0; /* only the owner does anything by it */
    int64_t result = stack_lock(stack);
    if (result < 0)
        return (int)result;
    result = use(stack, handle, number, loose);
    stack_unlock(stack);
    return (int)result;
}

/* Other processes hold the socket, and its readiness is still to be shown: by a number of ours,
 * which nobody comes across. */
static void hide(struct descriptor *descriptor, int number)
{
    int hidden = fcntl(number, F_DUPFD_CLOEXEC, 0);
    descriptor->is_private = true;
    descriptor->shown = hidden < 0 ? number : hidden;
    if (hidden >= 0)
        close(number);
}

static int close_shared(struct descriptor *descriptor, int number)
{
    bool was_private = descriptor->is_private;
    if (was_private)
        close(number);
    int other = descriptor_search(descriptor, was_private ? descriptor->shown : number);
    if (was_private)
        return other < 0;
    if (other < 0) {
        hide(descriptor, number);
        return 1;
    }
    descriptor->shown = other;
    descriptor->shared = true;
    close(number);
    return 0;
}

static int close_number(ps_stack *stack, int64_t handle, int number, bool elsewhere)
{
    struct descriptor *descriptor = descriptor_find(stack, handle);
    if (descriptor == NULL || !descriptor_has(descriptor, number))
        return -EBADF;
    if (elsewhere || descriptor->is_private)
        return close_shared(descriptor, number);
    if (descriptor->datagrams)
        descriptor_name(descriptor);
    close(number);
    if (descriptor->shown == number)
        descriptor->shown = -1;
    bool last = descriptor->form == DESCRIPTOR_PAIRED ? descriptor_is_dead(descriptor)
                : descriptor->shared                  ? descriptor_search(descriptor, -1) < 0
                                                      : true;
    if (last)
        return 1;
    descriptor->shared = descriptor->is_loose = true;
    descriptor_watch(descriptor);
    return 0;
}

void descriptor_close_stray(const ps_stack *stack, int64_t handle, int number)
{
    ps_stack *owner;
    int64_t owned;
    if (ps_descriptor_owner(number, &owner, &owned) && owner == stack && owned == handle)
        close(number);
}

int local_descriptor_close(ps_stack *stack, int64_t handle, int number, bool elsewhere)
{
    int64_t result = stack_lock(stack);
    /* The Stack has ended: it may show the number's end at this moment. */
    if (result == -EBADF || result == -ENOTRECOVERABLE) {
        pthread_mutex_lock(&stack->lock);
        descriptor_close_stray(stack, handle, number);
        descriptor_end_silence(stack, handle);
        pthread_mutex_unlock(&stack->lock);
    } else if (result == -EOWNERDEAD) {
        descriptor_close_stray(stack, handle, number);
    }
    if (result < 0)
        return (int)result;
    result = close_number(stack, handle, number, elsewhere);
    stack_unlock(stack);
    return (int)result;
}
