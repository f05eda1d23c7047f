/*
 * A Stack's memory: bounded, counted, and made to fail on demand.
 */
#ifndef PYSTACK_HOST_ARENA_H
#define PYSTACK_HOST_ARENA_H

#include "host_api.h"

struct arena_block;

struct arena {
    struct ps_arena_statistics statistics;
    uint64_t fail_after, fail_count;           /* injected failures; fail_count 0: none */
    struct arena_block *blocks;                /* all that are live */
    const struct ps_python_hypercalls *python; /* allocates in malloc's place, if it can */
};

void *arena_allocate(struct arena *arena, size_t size);
void arena_free(struct arena *arena, void *memory);
/* Gives back every block. */
void arena_release(struct arena *arena);

#endif
