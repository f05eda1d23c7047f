/*
 * A hash table from sockets' handles to numbers; grows as it fills. All zero: an empty one.
 */
#ifndef PYSTACK_HOST_HANDLE_MAP_H
#define PYSTACK_HOST_HANDLE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handle_entry {
    int64_t handle;
    uint64_t value;
    bool used;
};

struct handle_map {
    struct handle_entry *entries;
    size_t room, count; /* room: 0 or a power of two */
};

/* Its value, good until the next change of the map; NULL: it isn't there. */
uint64_t *handle_map_find(const struct handle_map *map, int64_t handle);
/* As handle_map_find, and puts it there with the value 0 first; NULL: out of memory. */
uint64_t *handle_map_put(struct handle_map *map, int64_t handle);
void handle_map_remove(struct handle_map *map, int64_t handle);
/* The entry at `*position` (from 0) or behind it, and moves behind that; NULL: there is none. */
const struct handle_entry *handle_map_next(const struct handle_map *map, size_t *position);
void handle_map_clear(struct handle_map *map);

#endif
