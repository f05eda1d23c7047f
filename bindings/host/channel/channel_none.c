/*
 * A system without abstract names, and packets in sequence between processes: no process but its
 * own uses a Stack.
 */
#include "channel/channel.h"

#ifndef __linux__

bool channel_owner_lets_go(ps_stack *stack, int64_t handle)
{
    (void)stack, (void)handle;
    return false;
}

bool channel_is_held(ps_stack *stack, int64_t handle)
{
    (void)stack, (void)handle;
    return false;
}

int channel_keep_out(ps_stack *stack, struct channel_server **kept)
{
    (void)stack, (void)kept;
    return 0;
}

void channel_let_in(struct channel_server *kept)
{
    (void)kept;
}

void channel_stop(ps_stack *stack)
{
    (void)stack;
}

void channel_forget(ps_stack *stack)
{
    (void)stack;
}

int ps_channel_fork(ps_stack *stack, const int64_t *handles, size_t count)
{
    (void)stack, (void)handles, (void)count;
    return -EOPNOTSUPP;
}

int ps_channel_listen(ps_stack *stack, char *name, size_t size)
{
    (void)stack, (void)name, (void)size;
    return -EOPNOTSUPP;
}

int ps_channel_give(ps_stack *stack, int64_t handle, uint8_t *ticket)
{
    (void)stack, (void)handle, (void)ticket;
    return -EOPNOTSUPP;
}

int64_t ps_channel_take(ps_stack *stack, const uint8_t *ticket)
{
    (void)stack, (void)ticket;
    return -EOPNOTSUPP;
}

int64_t ps_channel_identify(ps_stack *stack, int descriptor)
{
    (void)stack, (void)descriptor;
    return -EOPNOTSUPP;
}

#endif
