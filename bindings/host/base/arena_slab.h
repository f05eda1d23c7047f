/*
 * Where many blocks of one size lie: separate pages, which hold nothing else.
 */
#ifndef PYSTACK_HOST_ARENA_SLAB_H
#define PYSTACK_HOST_ARENA_SLAB_H

#include <stdbool.h>
#include <stddef.h>

#define SLAB_BYTES (64u << 10)
#define SLABS_KEPT 8 /* empty ones that wait to be used again */

struct slab;

/* All slabs of one size of block. */
struct slab_class {
    struct slab *open; /* those that have room */
};

/* What the classes of one arena share. */
struct slab_spare {
    struct slab *empty;
    unsigned count;
};

/* Room for one block of `size` bytes, the class's own, and the slab that it is in. NULL: no
 * memory, or no slabs here. */
void *slab_obtain(struct slab_class *class, struct slab_spare *spare, size_t size,
                  struct slab **slab);
void slab_give_back(struct slab_class *class, struct slab_spare *spare, struct slab *slab,
                    void *block, size_t size);
void slab_release_spare(struct slab_spare *spare);

#endif
