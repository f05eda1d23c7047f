/*
 * Frames in a World, between one NIC and another.
 */
#ifndef PYSTACK_HOST_TRAVELLING_H
#define PYSTACK_HOST_TRAVELLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/world_api.h"

struct travelling {
    struct travelling *next, *before;
    uint64_t due_us; /* when it arrives; while it waits for the rate: when it began to */
    uint64_t number; /* of those that were sent this way, from 1 */
    bool is_twin;
    size_t size;
    uint8_t bytes[];
};

/* A flat copy; NULL: no memory. */
struct travelling *travelling_copy(ps_world *world, const struct ps_piece *pieces, size_t count,
                                   size_t total);

#endif
