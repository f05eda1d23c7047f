#include "arena.h"

#include <stdalign.h>
#include <stdlib.h>

/* In front of each allocation; its size keeps what follows aligned for any type. */
struct arena_block {
    alignas(max_align_t) struct arena_block *next;
    struct arena_block **link;
    size_t size;
};

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

static struct arena_block *obtain(struct arena *arena, size_t size)
{
    if (arena->python->memory_allocate == NULL)
        return malloc(size);
    void *memory = NULL;
    return arena->python->memory_allocate(arena->python->python, size, &memory) == 0 ? memory
                                                                                     : NULL;
}

static void give_back(struct arena *arena, struct arena_block *block)
{
    if (arena->python->memory_allocate == NULL)
        free(block);
    else
        arena->python->memory_free(arena->python->python, block);
}

void *arena_allocate(struct arena *arena, size_t size)
{
    size_t whole = size + sizeof(struct arena_block);
    struct arena_block *block = whole < size || refuses(arena, whole) ? NULL : obtain(arena, whole);
    if (block == NULL) {
        arena->statistics.failures++;
        return NULL;
    }
    block->size = whole;
    block->next = arena->blocks;
    block->link = &arena->blocks;
    if (block->next != NULL)
        block->next->link = &block->next;
    arena->blocks = block;
    struct ps_arena_statistics *now = &arena->statistics;
    now->allocations++;
    now->live_blocks++;
    now->used_bytes += whole;
    if (now->used_bytes > now->peak_bytes)
        now->peak_bytes = now->used_bytes;
    return block + 1;
}

void arena_free(struct arena *arena, void *memory)
{
    struct arena_block *block = (struct arena_block *)memory - 1;
    *block->link = block->next;
    if (block->next != NULL)
        block->next->link = block->link;
    arena->statistics.frees++;
    arena->statistics.live_blocks--;
    arena->statistics.used_bytes -= block->size;
    give_back(arena, block);
}

void arena_release(struct arena *arena)
{
    while (arena->blocks != NULL)
        arena_free(arena, arena->blocks + 1);
}
