#include "base/arena.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

/* In front of each allocation; its size keeps what follows aligned for any type. */
struct arena_block {
    alignas(max_align_t) struct arena_block *next;
    struct arena_block **link;
    uint64_t size : 47;
    uint64_t is_back : 1; /* while a snapshot is restored: it is one of those that come back */
    uint64_t pins : 16;   /* the snapshots that it is in */
    struct slab *slab;    /* a small one's; NULL: the C library made it */
};

/* --- blocks for frames -------------------------------------------------------------------- */

#define FRAME_BLOCK_BYTES (sizeof(struct arena_block) + PS_FRAME_HEADROOM + PS_FRAME_SIZE)

/* Blocks that wait to be used again, for all Stacks: a wire's far end frees what the near end
 * has made, and the C library would give such large pieces back to the kernel each time.
 * Without a lock, so that a fork finds it whole. */
#if defined(__SANITIZE_ADDRESS__)
#define SPARE_BLOCKS 0 /* a block that is used after its end should be seen */
#else
#define SPARE_BLOCKS 64
#endif
static _Atomic(struct arena_block *) spare_blocks[SPARE_BLOCKS + 1];

static void frame_block_give_back(struct arena_block *block)
{
    for (int i = 0; i < SPARE_BLOCKS; i++) {
        struct arena_block *nothing = NULL;
        if (atomic_load_explicit(&spare_blocks[i], memory_order_relaxed) == NULL &&
            atomic_compare_exchange_strong(&spare_blocks[i], &nothing, block))
            return;
    }
    free(block);
}

static struct arena_block *frame_block_obtain(void)
{
    for (int i = 0; i < SPARE_BLOCKS; i++)
        if (atomic_load_explicit(&spare_blocks[i], memory_order_relaxed) != NULL) {
            struct arena_block *block = atomic_exchange(&spare_blocks[i], NULL);
            if (block != NULL)
                return block;
        }
    return malloc(FRAME_BLOCK_BYTES);
}

static struct arena_block *block_of_frame(uint8_t *frame)
{
    return (struct arena_block *)(void *)(frame - PS_FRAME_HEADROOM) - 1;
}

uint8_t *frame_block_create(void)
{
    struct arena_block *block = frame_block_obtain();
    return block != NULL ? (uint8_t *)(block + 1) + PS_FRAME_HEADROOM : NULL;
}

void frame_block_destroy(uint8_t *frame)
{
    if (frame != NULL)
        frame_block_give_back(block_of_frame(frame));
}

/* --- the account -------------------------------------------------------------------------- */

static bool refuses(struct arena *arena, size_t size)
{
    const struct ps_arena_statistics *now = &arena->statistics;
    if (size > now->limit_bytes || now->used_bytes > now->limit_bytes - size)
        return true;
    if (arena->fail_count == 0)
        return false;
    if (arena->fail_after > 0) {
        arena->fail_after--;
        return false;
    }
    arena->fail_count--;
    return true;
}

/* --- small blocks -------------------------------------------------------------------------- */

/* A segment is two small blocks that live for a round trip, made in one thread and given up in
 * another: the C library would take a lock for each, join it with its neighbours and hand pages
 * back to the kernel. */
static size_t class_of(size_t size)
{
    return (size - 1) / ARENA_CLASS_BYTES;
}

static bool spare_is_kept(size_t size)
{
#if defined(__SANITIZE_ADDRESS__)
    (void)size;
    return false; /* as above */
#else
    return class_of(size) < ARENA_CLASSES;
#endif
}

static struct arena_block *small_obtain(struct arena *arena, size_t size)
{
    size_t slot = class_of(size), whole = (slot + 1) * ARENA_CLASS_BYTES;
    struct arena_block *block = arena->spare[slot];
    if (block != NULL) {
        arena->spare[slot] = block->next;
        arena->spare_bytes -= whole;
        return block;
    }
    struct slab *slab = NULL;
    if (arena->few[slot] >= ARENA_FEW_BLOCKS)
        block = slab_obtain(&arena->slabs[slot], &arena->spare_slabs, whole, &slab);
    if (block == NULL) {
        block = malloc(whole);
        if (block == NULL)
            return NULL;
        arena->few[slot]++;
    }
    block->slab = slab;
    return block;
}

static void small_give_back(struct arena *arena, struct arena_block *block)
{
    size_t slot = class_of(block->size), whole = (slot + 1) * ARENA_CLASS_BYTES;
    if (block->slab != NULL) {
        slab_give_back(&arena->slabs[slot], &arena->spare_slabs, block->slab, block, whole);
    } else if (arena->spare_bytes + whole > ARENA_SPARE_BYTES) {
        arena->few[slot]--;
        free(block);
    } else {
        block->next = arena->spare[slot];
        arena->spare[slot] = block;
        arena->spare_bytes += whole;
    }
}

static void release_spare(struct arena *arena)
{
    for (size_t slot = 0; slot < ARENA_CLASSES; slot++) {
        struct arena_block *next;
        for (struct arena_block *block = arena->spare[slot]; block != NULL; block = next) {
            next = block->next;
            free(block);
        }
        arena->spare[slot] = NULL;
        arena->few[slot] = 0;
    }
    arena->spare_bytes = 0;
    slab_release_spare(&arena->spare_slabs);
}

/* --- any block ----------------------------------------------------------------------------- */

/* As for a frame: for a long segment. */
static bool is_frame_sized(size_t size)
{
    return size > FRAME_BLOCK_BYTES / 2 && size <= FRAME_BLOCK_BYTES && SPARE_BLOCKS > 0;
}

static struct arena_block *obtain(struct arena *arena, size_t size)
{
    if (arena->python->memory_allocate == NULL)
        return spare_is_kept(size)    ? small_obtain(arena, size)
               : is_frame_sized(size) ? frame_block_obtain()
                                      : malloc(size);
    void *memory = NULL;
    return arena->python->memory_allocate(arena->python->python, size, &memory) == 0 ? memory
                                                                                     : NULL;
}

static void give_back(struct arena *arena, struct arena_block *block)
{
    if (arena->python->memory_allocate != NULL)
        arena->python->memory_free(arena->python->python, block);
    else if (is_frame_sized(block->size))
        frame_block_give_back(block);
    else if (spare_is_kept(block->size))
        small_give_back(arena, block);
    else
        free(block);
}

static void link_to(struct arena_block **list, struct arena_block *block)
{
    block->next = *list;
    block->link = list;
    if (block->next != NULL)
        block->next->link = &block->next;
    *list = block;
}

static void unlink_block(struct arena_block *block)
{
    *block->link = block->next;
    if (block->next != NULL)
        block->next->link = block->link;
}

static void enter(struct arena *arena, struct arena_block *block, size_t whole)
{
    block->size = whole;
    block->pins = block->is_back = 0;
    link_to(&arena->blocks, block);
    struct ps_arena_statistics *now = &arena->statistics;
    now->allocations++;
    now->live_blocks++;
    now->used_bytes += whole;
    if (now->used_bytes > now->peak_bytes)
        now->peak_bytes = now->used_bytes;
}

static void leave(struct arena *arena, struct arena_block *block)
{
    unlink_block(block);
    arena->statistics.frees++;
    arena->statistics.live_blocks--;
    arena->statistics.used_bytes -= block->size;
}

void *arena_allocate(struct arena *arena, size_t size)
{
    size_t whole = size + sizeof(struct arena_block);
    struct arena_block *block = whole < size || refuses(arena, whole) ? NULL : obtain(arena, whole);
    if (block == NULL) {
        arena->statistics.failures++;
        return NULL;
    }
    enter(arena, block, whole);
    return block + 1;
}

void arena_free(struct arena *arena, void *memory)
{
    struct arena_block *block = (struct arena_block *)memory - 1;
    leave(arena, block);
    if (block->pins > 0)
        link_to(&arena->held, block);
    else
        give_back(arena, block);
}

bool arena_adopt(struct arena *arena, uint8_t *frame)
{
    if (arena->python->memory_allocate != NULL)
        return false;
    if (refuses(arena, FRAME_BLOCK_BYTES)) {
        arena->statistics.failures++;
        return false;
    }
    enter(arena, block_of_frame(frame), FRAME_BLOCK_BYTES);
    return true;
}

void arena_disown(struct arena *arena, uint8_t *frame)
{
    leave(arena, block_of_frame(frame));
}

void arena_release(struct arena *arena)
{
    while (arena->blocks != NULL)
        arena_free(arena, arena->blocks + 1);
    while (arena->held != NULL) {
        struct arena_block *block = arena->held;
        unlink_block(block);
        give_back(arena, block);
    }
    release_spare(arena);
}

/* --- snapshots ----------------------------------------------------------------------------- */

#define MOST_PINS UINT16_MAX

int arena_pin(struct arena *arena, struct arena_moment *moment)
{
    size_t count = 0;
    for (const struct arena_block *block = arena->blocks; block != NULL; block = block->next) {
        if (block->pins == MOST_PINS)
            return -ENOSPC;
        count++;
    }
    struct arena_block **all = malloc((count + 1) * sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    *moment =
        (struct arena_moment){arena->statistics, arena->fail_after, arena->fail_count, all, 0};
    for (struct arena_block *block = arena->blocks; block != NULL; block = block->next) {
        block->pins++;
        all[moment->count++] = block;
    }
    return 0;
}

void arena_unpin(struct arena *arena, struct arena_moment *moment)
{
    /* Held blocks were freed already: those that no snapshot has any more go now. */
    for (size_t i = 0; i < moment->count; i++)
        moment->blocks[i]->pins--;
    struct arena_block *next;
    for (struct arena_block *block = arena->held; block != NULL; block = next) {
        next = block->next;
        if (block->pins > 0)
            continue;
        unlink_block(block);
        give_back(arena, block);
    }
}

void arena_return(struct arena *arena, const struct arena_moment *moment)
{
    for (size_t i = 0; i < moment->count; i++)
        moment->blocks[i]->is_back = 1;
    struct arena_block *next;
    for (struct arena_block *block = arena->blocks; block != NULL; block = next) {
        next = block->next;
        if (!block->is_back)
            arena_free(arena, block + 1);
    }
    for (size_t i = moment->count; i-- > 0;) {
        struct arena_block *block = moment->blocks[i];
        unlink_block(block);
        link_to(&arena->blocks, block);
        block->is_back = 0;
    }
    arena->statistics = moment->statistics;
    arena->fail_after = moment->fail_after;
    arena->fail_count = moment->fail_count;
}

struct ps_piece arena_block_piece(struct arena_block *block)
{
    return (struct ps_piece){(uint8_t *)(block + 1), block->size - sizeof *block};
}
