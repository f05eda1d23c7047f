/*
 * A Stack's end, why it failed, and its snapshots: in this process, or by the channel to the one
 * that owns the Stack.
 */
#include <errno.h>
#include <sys/uio.h>

#include "channel/channel.h"
#include "stack/entry.h"
#include "stack/snapshot.h"

int ps_stack_close(ps_stack *stack, bool abrupt)
{
    if (stack->remote != NULL) {
        channel_leave(stack);
        return 0;
    }
    int result = stack_begin_to_close(stack);
    if (result <= 0)
        return result;
    channel_stop(stack);
    stack_close(stack, abrupt);
    return 0;
}

int ps_stack_panic_text(ps_stack *stack, char *text, size_t size)
{
    if (stack->remote == NULL)
        return local_panic_text(stack, text, size);
    struct iovec answer = {text, size < 256 ? size : 256};
    struct channel_message message = {
        .operation = CHANNEL_PANIC_TEXT, .answer = &answer, .answer_pieces = 1};
    return (int)channel_ask(stack, &message);
}

int ps_channel_join(ps_stack *stack, int descriptor, const int64_t *handles, const int *shown,
                    size_t count)
{
    if (stack->remote == NULL)
        channel_forget(stack);
    return channel_join(stack, descriptor, handles, shown, count);
}

/* What other processes hold isn't in a snapshot. */
int ps_snapshot_create(ps_stack *stack, ps_snapshot **out)
{
    if (stack_is_inside(stack))
        return -EDEADLK;
    struct channel_server *kept;
    int result = channel_keep_out(stack, &kept);
    if (result < 0)
        return result;
    result = snapshot_create(stack, out);
    channel_let_in(kept);
    return result;
}

int ps_snapshot_restore(ps_stack *stack, ps_snapshot *snapshot)
{
    if (stack_is_inside(stack))
        return -EDEADLK;
    struct channel_server *kept;
    int result = channel_keep_out(stack, &kept);
    if (result < 0)
        return result;
    result = snapshot_restore(stack, snapshot);
    channel_let_in(kept);
    return result;
}
