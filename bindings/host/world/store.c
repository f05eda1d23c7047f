/*
 * The blocks and regions of a World's wires.
 *
 * A block that a copy has stays where it is, freed or not, until the copy is dropped: so pointers
 * to it are good again when all is put back.
 */
#include "world/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "world/world.h"

struct block {
    struct block *next, **link;
    ps_world *world;
    size_t size;
    unsigned copies; /* that have it */
    bool is_free;
    _Alignas(max_align_t) uint8_t bytes[];
};

struct region {
    struct region *next;
    uint8_t *bytes;
    size_t size;
};

struct copied_block {
    struct block *block;
    uint8_t *bytes;
};

struct stored {
    struct copied_block *blocks;
    size_t count;
    uint8_t *bytes;   /* of the blocks, */
    uint8_t *regions; /* and of the regions in their order */
    uint64_t changes; /* of regions, so far */
};

/* --- blocks -------------------------------------------------------------------------------- */

static void unlink_block(struct block *block)
{
    *block->link = block->next;
    if (block->next != NULL)
        block->next->link = block->link;
    free(block);
}

void *world_allocate(ps_world *world, size_t size)
{
    struct block *block = calloc(1, sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->world = world;
    block->size = size;
    pthread_mutex_lock(&world->store_lock);
    block->next = world->blocks;
    block->link = &world->blocks;
    if (block->next != NULL)
        block->next->link = &block->next;
    world->blocks = block;
    pthread_mutex_unlock(&world->store_lock);
    return block->bytes;
}

void world_free(void *memory)
{
    if (memory == NULL)
        return;
    struct block *block = (struct block *)((char *)memory - offsetof(struct block, bytes));
    ps_world *world = block->world;
    pthread_mutex_lock(&world->store_lock);
    if (block->copies > 0)
        block->is_free = true;
    else
        unlink_block(block);
    pthread_mutex_unlock(&world->store_lock);
}

/* --- regions ------------------------------------------------------------------------------- */

int world_keep(ps_world *world, void *region, size_t size)
{
    struct region *made = malloc(sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    pthread_mutex_lock(&world->store_lock);
    *made = (struct region){world->regions, region, size};
    world->regions = made;
    world->region_changes++;
    pthread_mutex_unlock(&world->store_lock);
    return 0;
}

void world_unkeep(ps_world *world, const void *region)
{
    pthread_mutex_lock(&world->store_lock);
    struct region **link = &world->regions;
    while (*link != NULL && (*link)->bytes != region)
        link = &(*link)->next;
    struct region *found = *link;
    if (found != NULL)
        *link = found->next;
    world->region_changes++;
    pthread_mutex_unlock(&world->store_lock);
    free(found);
}

/* --- copies -------------------------------------------------------------------------------- */

/* Under the lock. */
static bool copy_blocks(ps_world *world, struct stored *stored)
{
    size_t count = 0, size = 0;
    for (struct block *block = world->blocks; block != NULL; block = block->next) {
        count += !block->is_free;
        size += block->is_free ? 0 : block->size;
    }
    stored->blocks = calloc(count + 1, sizeof *stored->blocks);
    stored->bytes = malloc(size + 1);
    if (stored->blocks == NULL || stored->bytes == NULL)
        return false;
    uint8_t *to = stored->bytes;
    for (struct block *block = world->blocks; block != NULL; block = block->next) {
        if (block->is_free)
            continue;
        stored->blocks[stored->count++] = (struct copied_block){block, to};
        memcpy(to, block->bytes, block->size);
        to += block->size;
        block->copies++;
    }
    return true;
}

static bool copy_regions(ps_world *world, struct stored *stored)
{
    size_t size = 0;
    for (const struct region *region = world->regions; region != NULL; region = region->next)
        size += region->size;
    stored->regions = malloc(size + 1);
    if (stored->regions == NULL)
        return false;
    uint8_t *to = stored->regions;
    for (const struct region *region = world->regions; region != NULL; region = region->next) {
        memcpy(to, region->bytes, region->size);
        to += region->size;
    }
    stored->changes = world->region_changes;
    return true;
}

struct stored *store_copy(ps_world *world)
{
    struct stored *stored = calloc(1, sizeof *stored);
    if (stored == NULL)
        return NULL;
    pthread_mutex_lock(&world->store_lock);
    bool done = copy_regions(world, stored) && copy_blocks(world, stored);
    pthread_mutex_unlock(&world->store_lock);
    if (done)
        return stored;
    store_drop(world, stored);
    return NULL;
}

/* Under the lock: those that came later are freed, those of the copy are as they were. */
static void put_blocks_back(ps_world *world, const struct stored *stored)
{
    for (struct block *block = world->blocks, *next; block != NULL; block = next) {
        next = block->next;
        if (block->copies == 0)
            unlink_block(block);
        else
            block->is_free = true;
    }
    for (size_t i = 0; i < stored->count; i++) {
        struct block *block = stored->blocks[i].block;
        memcpy(block->bytes, stored->blocks[i].bytes, block->size);
        block->is_free = false;
    }
}

int store_return(ps_world *world, struct stored *stored)
{
    pthread_mutex_lock(&world->store_lock);
    bool is_same = stored->changes == world->region_changes;
    if (is_same) {
        put_blocks_back(world, stored);
        const uint8_t *from = stored->regions;
        for (const struct region *region = world->regions; region != NULL; region = region->next) {
            memcpy(region->bytes, from, region->size);
            from += region->size;
        }
    }
    pthread_mutex_unlock(&world->store_lock);
    return is_same ? 0 : -ESTALE;
}

void store_drop(ps_world *world, struct stored *stored)
{
    pthread_mutex_lock(&world->store_lock);
    for (size_t i = 0; i < stored->count; i++) {
        struct block *block = stored->blocks[i].block;
        if (--block->copies == 0 && block->is_free)
            unlink_block(block);
    }
    pthread_mutex_unlock(&world->store_lock);
    free(stored->blocks);
    free(stored->bytes);
    free(stored->regions);
    free(stored);
}
