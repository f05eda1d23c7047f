/*
 * Slabs (Bonwick 1994). A Stack's small blocks live for a round trip, or for a minute as what is
 * left of a connection: in the C library's heap each of the long-lived ones keeps a page that is
 * otherwise empty, in every thread's part of it, and the process grows for hours.
 */
#define _GNU_SOURCE
#include "base/arena_slab.h"

#include <stdint.h>
#include <stdlib.h>

#ifndef _WIN32
#include <sys/mman.h>
#endif

struct piece {
    struct piece *next;
};

struct slab {
    _Alignas(64) struct slab *next, *previous; /* among those with room, or the empty ones */
    struct piece *pieces;                      /* given back */
    uint32_t live, begun;                      /* blocks in use; bytes ever handed out */
};

static struct slab *create(struct slab_spare *spare)
{
    struct slab *slab = spare->empty;
    if (slab != NULL) {
        spare->empty = slab->next;
        spare->count--;
    } else {
#ifdef _WIN32
        return NULL;
#else
        void *memory =
            mmap(NULL, SLAB_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            return NULL;
        slab = memory;
#endif
    }
    *slab = (struct slab){.begun = sizeof *slab};
    return slab;
}

static void destroy(struct slab *slab)
{
#ifndef _WIN32
    munmap(slab, SLAB_BYTES);
#else
    (void)slab;
#endif
}

static void open(struct slab_class *class, struct slab *slab)
{
    slab->previous = NULL;
    slab->next = class->open;
    if (slab->next != NULL)
        slab->next->previous = slab;
    class->open = slab;
}

static void shut(struct slab_class *class, struct slab *slab)
{
    if (slab->previous != NULL)
        slab->previous->next = slab->next;
    else
        class->open = slab->next;
    if (slab->next != NULL)
        slab->next->previous = slab->previous;
}

static bool has_room(const struct slab *slab, size_t size)
{
    return slab->pieces != NULL || slab->begun + size <= SLAB_BYTES;
}

void *slab_obtain(struct slab_class *class, struct slab_spare *spare, size_t size,
                  struct slab **out)
{
    struct slab *slab = class->open;
    if (slab == NULL) {
        slab = create(spare);
        if (slab == NULL)
            return NULL;
        open(class, slab);
    }
    void *block = slab->pieces;
    if (block != NULL) {
        slab->pieces = slab->pieces->next;
    } else {
        block = (uint8_t *)slab + slab->begun;
        slab->begun += (uint32_t)size;
    }
    slab->live++;
    if (!has_room(slab, size))
        shut(class, slab);
    *out = slab;
    return block;
}

void slab_give_back(struct slab_class *class, struct slab_spare *spare, struct slab *slab,
                    void *block, size_t size)
{
    if (!has_room(slab, size))
        open(class, slab);
    struct piece *piece = block;
    piece->next = slab->pieces;
    slab->pieces = piece;
    if (--slab->live > 0)
        return;
    shut(class, slab);
    if (spare->count == SLABS_KEPT) {
        destroy(slab);
        return;
    }
    slab->next = spare->empty;
    spare->empty = slab;
    spare->count++;
}

void slab_release_spare(struct slab_spare *spare)
{
    while (spare->empty != NULL) {
        struct slab *slab = spare->empty;
        spare->empty = slab->next;
        destroy(slab);
    }
    spare->count = 0;
}
