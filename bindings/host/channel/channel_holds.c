/*
 * Which process holds which sockets, and how often.
 *
 * Sockets held by the owner alone aren't recorded: most are never shared. For the others the upper
 * half of the number counts the owner's holds, the lower half those of all clients.
 */
#include <errno.h>

#include "channel/channel.h"

#define OWNER (UINT64_C(1) << 32)

bool channel_holds_it(const struct channel_client *client, int64_t handle)
{
    return handle_map_find(&client->held, handle) != NULL;
}

int channel_hold(struct channel_holds *holds, struct channel_client *client, int64_t handle,
                 bool owned)
{
    bool is_new = handle_map_find(&holds->shared, handle) == NULL;
    uint64_t *all = handle_map_put(&holds->shared, handle);
    uint64_t *own = all == NULL ? NULL : handle_map_put(&client->held, handle);
    if (own == NULL) {
        if (all != NULL && is_new)
            handle_map_remove(&holds->shared, handle);
        return -ENOMEM;
    }
    if (is_new && owned)
        *all = OWNER;
    ++*all;
    ++*own;
    return 0;
}

bool channel_release(struct channel_holds *holds, struct channel_client *client, int64_t handle)
{
    uint64_t *own = handle_map_find(&client->held, handle);
    uint64_t *all = handle_map_find(&holds->shared, handle);
    if (own == NULL || all == NULL)
        return false;
    if (--*own == 0)
        handle_map_remove(&client->held, handle);
    uint64_t left = --*all;
    if (left == 0 || left == OWNER)
        handle_map_remove(&holds->shared, handle);
    return left == 0;
}

int channel_hold_owner(struct channel_holds *holds, int64_t handle)
{
    uint64_t *all = handle_map_find(&holds->shared, handle);
    if (all == NULL)
        return -EBADF;
    *all += OWNER;
    return 0;
}

enum channel_left channel_release_owner(struct channel_holds *holds, int64_t handle)
{
    uint64_t *all = handle_map_find(&holds->shared, handle);
    if (all == NULL)
        return CHANNEL_LEFT_NONE;
    if (*all >= OWNER)
        *all -= OWNER;
    uint64_t left = *all;
    if (left == OWNER)
        handle_map_remove(&holds->shared, handle);
    return left >= OWNER ? CHANNEL_LEFT_OWN : CHANNEL_LEFT_OTHERS;
}
