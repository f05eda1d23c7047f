/*
 * Data that lies in several pieces.
 */
#ifndef PYSTACK_HOST_PIECES_H
#define PYSTACK_HOST_PIECES_H

#include <string.h>

#include "hypercalls.h"

static inline size_t pieces_size(const struct ps_piece *pieces, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    return size;
}

/* Copies them one behind the other to where there is room for all; how many bytes. */
static inline size_t pieces_copy(uint8_t *out, const struct ps_piece *pieces, size_t count)
{
    size_t done = 0;
    for (size_t i = 0; i < count; done += pieces[i++].size)
        memcpy(out + done, pieces[i].base, pieces[i].size);
    return done;
}

#endif
