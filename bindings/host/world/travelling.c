/*
 * Frames in a World, between one NIC and another.
 */
#include "world/travelling.h"

#include <stdlib.h>

#include "base/pieces.h"

struct travelling *travelling_copy(const struct ps_piece *pieces, size_t count, size_t total)
{
    struct travelling *frame = malloc(sizeof *frame + total);
    if (frame == NULL)
        return NULL;
    frame->is_twin = false;
    frame->size = pieces_copy(frame->bytes, pieces, count);
    return frame;
}
