/*
 * A Stack's memory: bounded, counted, and made to fail on demand.
 */
#ifndef PYSTACK_HOST_ARENA_H
#define PYSTACK_HOST_ARENA_H

#include "base/arena_slab.h"
#include "api/host_api.h"

#define ARENA_CLASS_BYTES 32 /* small blocks are so many bytes, or a multiple of it */
#define ARENA_CLASSES 64
#define ARENA_SPARE_BYTES (1u << 20)
#define ARENA_FEW_BLOCKS 128 /* so many of a class are the C library's; more have slabs */

struct arena_block;

struct arena {
    struct ps_arena_statistics statistics;
    uint64_t fail_after, fail_count;           /* injected failures; fail_count 0: none */
    struct arena_block *blocks;                /* all that are live */
    struct arena_block *held;                  /* freed ones that are in a snapshot */
    const struct ps_python_hypercalls *python; /* allocates in malloc's place, if it can */

    struct arena_block *spare[ARENA_CLASSES]; /* small ones that wait to be used again */
    size_t spare_bytes;
    unsigned few[ARENA_CLASSES]; /* of them all, those that the C library has made */
    struct slab_class slabs[ARENA_CLASSES];
    struct slab_spare spare_slabs;
};

void *arena_allocate(struct arena *arena, size_t size);
void arena_free(struct arena *arena, void *memory);
/* Gives back every block. */
void arena_release(struct arena *arena);

/* Which blocks were live at a moment, and the account then. */
struct arena_moment {
    struct ps_arena_statistics statistics;
    uint64_t fail_after, fail_count;
    struct arena_block **blocks;
    size_t count;
};

/* Notes the live blocks, which stay where they are until `arena_unpin`, freed or not. -ENOMEM;
 * -ENOSPC: too many snapshots have one of them. The caller frees `blocks`. */
int arena_pin(struct arena *arena, struct arena_moment *moment);
void arena_unpin(struct arena *arena, struct arena_moment *moment);
/* Those blocks are live again, and no others; what they hold is the caller's to put back. */
void arena_return(struct arena *arena, const struct arena_moment *moment);
/* A block's own bytes. */
struct ps_piece arena_block_piece(struct arena_block *block);

/* Room for one frame (PS_FRAME_SIZE), with PS_FRAME_HEADROOM in front, that belongs to no arena
 * yet. From any thread. NULL: no memory. */
uint8_t *frame_block_create(void);
void frame_block_destroy(uint8_t *frame); /* NULL: nothing */
/* Takes such a block into the account, so that arena_free(frame - PS_FRAME_HEADROOM) gives it
 * back. False: the arena refuses, or Python is where its memory comes from. */
bool arena_adopt(struct arena *arena, uint8_t *frame);
/* Undoes that. */
void arena_disown(struct arena *arena, uint8_t *frame);

#endif
