/*
 * What becomes of descriptors when their Stack ends, or is the parent process's.
 *
 * Their numbers are their holders', who may close them at any time, or never: closing one here
 * would hand it to the next file that is opened, which the holder would then close. So they stay
 * open, and show what a lost connection shows. The last to go is the table's entry, with the Stack
 * itself.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <unistd.h>

#include "stack/descriptor.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/notifier.h"
#include "stack/waiters.h"

static void close_own(int *number)
{
    if (*number >= 0)
        close(*number);
    *number = -1;
}

/* Has nothing to do with the Stack any more. */
static void abandon(struct descriptor *descriptor)
{
    if (descriptor->form != DESCRIPTOR_SILENT) {
        close_own(&descriptor->kept);
        descriptor->form = DESCRIPTOR_RESET;
    }
    descriptor->is_watched = descriptor->is_pending = false;
    later_leave(descriptor);
}

void descriptors_abandon(ps_stack *stack)
{
    if (stack->remote == NULL) /* else the files are the owner's, too */
        descriptors_fail(stack);
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i], *next; each != NULL; each = next) {
            next = each->next;
            if (each->is_private)
                descriptor_close(stack, each->handle);
            else
                abandon(each);
        }
    notifiers_abandon(stack);
    stack->pending = stack->gate.held = NULL;
    stack->watched_count = 0;
    close_own(&stack->watcher);
    close_own(&stack->joiner);
}

void descriptors_free(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i], *next; each != NULL; each = next) {
            next = each->next;
            files_leave(each);
            close_own(&each->kept);
            free(each);
        }
    notifiers_free(stack);
}

void descriptor_forget_all(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next) {
            if (each->is_private) /* the owner's alone */
                close(each->shown);
            each->is_private = each->is_watched = each->is_pending = each->is_held = false;
            each->is_later = false;
            each->shows = 0;
            each->attention = (struct attention){0};
        }
    notifiers_forget(stack);
    if (stack->watcher >= 0)
        close(stack->watcher);
    if (stack->joiner >= 0)
        close(stack->joiner);
    stack->watcher = stack->joiner = -1;
    stack->watched_count = stack->gate.unread = stack->gate.owed = 0;
    stack->gate.held = NULL;
    stack->pending = stack->later_first = stack->later_last = NULL;
}

/* Puts one end of a pair in its place, on which nothing will ever come. */
static void silence(struct descriptor *descriptor)
{
    int ends[2];
    if (descriptor->form == DESCRIPTOR_SILENT ||
        socketpair(AF_UNIX, descriptor->datagrams ? SOCK_DGRAM : SOCK_STREAM, 0, ends) != 0)
        return;
    descriptor_prepare(ends[0]);
    descriptor_prepare(ends[1]);
    if (renewal_put(descriptor, ends[0])) {
        close_own(&descriptor->kept);
        descriptor->kept = ends[1];
        descriptor->form = DESCRIPTOR_SILENT;
    } else {
        close(ends[1]);
    }
    close(ends[0]);
}

void descriptor_end_silence(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = descriptor_find(stack, handle);
    if (descriptor != NULL && descriptor->form == DESCRIPTOR_SILENT && !descriptor->copied &&
        descriptor_number(descriptor) < 0)
        close_own(&descriptor->kept);
}

void ps_descriptor_silence(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL || stack_is_inherited(stack) || stack_is_inside(stack))
        return;
    pthread_mutex_lock(&stack->lock);
    bool ended = stack->poisoned || stack->state != STACK_OPEN;
    struct descriptor *descriptor = ended ? descriptor_find(stack, handle) : NULL;
    if (descriptor != NULL)
        silence(descriptor);
    pthread_mutex_unlock(&stack->lock);
}
