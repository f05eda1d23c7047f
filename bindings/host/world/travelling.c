/*
 * Frames in a World, between one NIC and another.
 */
#include "world/travelling.h"

#include "base/pieces.h"
#include "world/store.h"

struct travelling *travelling_copy(ps_world *world, const struct ps_piece *pieces, size_t count,
                                   size_t total)
{
    struct travelling *frame = world_allocate(world, sizeof *frame + total);
    if (frame == NULL)
        return NULL;
    frame->is_twin = false;
    frame->size = pieces_copy(frame->bytes, pieces, count);
    return frame;
}
