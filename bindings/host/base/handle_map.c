/*
 * Open addressing with linear probing. Removing moves what follows back, so that no marks of what
 * was there pile up.
 */
#include "base/handle_map.h"

#include <stdlib.h>

#define LEAST_ROOM 16

static size_t home(const struct handle_map *map, int64_t handle)
{
    uint64_t mixed = (uint64_t)handle * UINT64_C(0x9E3779B97F4A7C15);
    return (size_t)(mixed >> 32) & (map->room - 1);
}

static size_t next_place(const struct handle_map *map, size_t place)
{
    return (place + 1) & (map->room - 1);
}

/* Where it is, or the free place where it belongs. */
static size_t place_of(const struct handle_map *map, int64_t handle)
{
    size_t place = home(map, handle);
    while (map->entries[place].used && map->entries[place].handle != handle)
        place = next_place(map, place);
    return place;
}

uint64_t *handle_map_find(const struct handle_map *map, int64_t handle)
{
    if (map->count == 0)
        return NULL;
    struct handle_entry *entry = &map->entries[place_of(map, handle)];
    return entry->used ? &entry->value : NULL;
}

static bool grow(struct handle_map *map)
{
    struct handle_map larger = {NULL, map->room == 0 ? LEAST_ROOM : map->room * 2, map->count};
    larger.entries = calloc(larger.room, sizeof *larger.entries);
    if (larger.entries == NULL)
        return false;
    for (size_t i = 0; i < map->room; i++)
        if (map->entries[i].used)
            larger.entries[place_of(&larger, map->entries[i].handle)] = map->entries[i];
    free(map->entries);
    *map = larger;
    return true;
}

uint64_t *handle_map_put(struct handle_map *map, int64_t handle)
{
    uint64_t *found = handle_map_find(map, handle);
    if (found != NULL)
        return found;
    if ((map->count + 1) * 4 > map->room * 3 && !grow(map))
        return NULL;
    struct handle_entry *entry = &map->entries[place_of(map, handle)];
    *entry = (struct handle_entry){handle, 0, true};
    map->count++;
    return &entry->value;
}

void handle_map_remove(struct handle_map *map, int64_t handle)
{
    if (handle_map_find(map, handle) == NULL)
        return;
    size_t hole = place_of(map, handle);
    map->entries[hole].used = false;
    map->count--;
    for (size_t place = next_place(map, hole); map->entries[place].used;
         place = next_place(map, place)) {
        /* One whose home is behind the hole is found without it. */
        size_t from_home = (place - home(map, map->entries[place].handle)) & (map->room - 1);
        size_t from_hole = (place - hole) & (map->room - 1);
        if (from_home < from_hole)
            continue;
        map->entries[hole] = map->entries[place];
        map->entries[place].used = false;
        hole = place;
    }
}

const struct handle_entry *handle_map_next(const struct handle_map *map, size_t *position)
{
    while (*position < map->room) {
        const struct handle_entry *entry = &map->entries[(*position)++];
        if (entry->used)
            return entry;
    }
    return NULL;
}

void handle_map_clear(struct handle_map *map)
{
    free(map->entries);
    *map = (struct handle_map){NULL, 0, 0};
}
