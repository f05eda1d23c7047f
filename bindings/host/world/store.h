/*
 * What a World's links, switches and NATs are made of, so that a moment of it can be kept: blocks
 * of memory, and regions in structures that live longer.
 */
#ifndef PYSTACK_HOST_STORE_H
#define PYSTACK_HOST_STORE_H

#include <stddef.h>

#include "api/world_api.h"

/* All zeros; NULL: there is no memory. */
void *world_allocate(ps_world *world, size_t size);
/* Of world_allocate, or NULL. */
void world_free(void *memory);
/* The region is a part of the World's state from now on; -ENOMEM. */
int world_keep(ps_world *world, void *region, size_t size);
void world_unkeep(ps_world *world, const void *region);

/* All of it at one moment. NULL: there is no memory. */
struct stored *store_copy(ps_world *world);
/* As it was then. -ESTALE: a region has come or gone. */
int store_return(ps_world *world, struct stored *stored);
void store_drop(ps_world *world, struct stored *stored);

#endif
