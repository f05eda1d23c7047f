/*
 * Frames in a World, between one NIC and another.
 */
#include "world/travelling.h"

#include <stdlib.h>
#include <string.h>

struct travelling *travelling_copy(const struct ps_piece *pieces, size_t count, size_t total)
{
    struct travelling *frame = malloc(sizeof *frame + total);
    if (frame == NULL)
        return NULL;
    frame->is_twin = false;
    frame->size = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(frame->bytes + frame->size, pieces[i].base, pieces[i].size);
        frame->size += pieces[i].size;
    }
    return frame;
}
