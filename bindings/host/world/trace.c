/*
 * The trace of a World's frames; see trace.h.
 */
#include "world/trace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/pieces.h"
#include "world/world.h"

#define FIRST_ROOM 65536

void trace_open(struct trace *trace)
{
    pthread_mutex_init(&trace->lock, NULL);
}

void trace_close(struct trace *trace)
{
    pthread_mutex_destroy(&trace->lock);
    free(trace->older);
    free(trace->newer);
}

static uint64_t count_records(const uint8_t *bytes, size_t size)
{
    uint64_t count = 0;
    for (size_t at = 0; at < size; count++) {
        struct ps_trace record;
        memcpy(&record, bytes + at, sizeof record);
        at += sizeof record + record.kept;
    }
    return count;
}

/* Under the lock: room for so much more. */
static bool make_room(struct trace *trace, size_t size)
{
    if (trace->newer_size > 0 && trace->newer_size + size > trace->most / 2) {
        trace->forgotten += count_records(trace->older, trace->older_size);
        free(trace->older);
        trace->older = trace->newer;
        trace->older_size = trace->newer_size;
        trace->newer = NULL;
        trace->newer_size = trace->room = 0;
        trace->turns++;
    }
    if (trace->newer_size + size <= trace->room)
        return true;
    size_t room = trace->room > 0 ? 2 * trace->room : FIRST_ROOM;
    while (room < trace->newer_size + size)
        room *= 2;
    uint8_t *bytes = realloc(trace->newer, room);
    if (bytes == NULL)
        return false;
    trace->newer = bytes;
    trace->room = room;
    return true;
}

void trace_write(struct trace *trace, const struct ps_trace *record, const struct ps_piece *pieces,
                 size_t count)
{
    struct ps_trace head = *record;
    head.kept = (uint32_t)pieces_size(pieces, count);
    pthread_mutex_lock(&trace->lock);
    if (make_room(trace, sizeof head + head.kept)) {
        uint8_t *to = trace->newer + trace->newer_size;
        memcpy(to, &head, sizeof head);
        pieces_copy(to + sizeof head, pieces, count);
        trace->newer_size += sizeof head + head.kept;
    } else {
        trace->forgotten++;
    }
    pthread_mutex_unlock(&trace->lock);
}

struct trace_position trace_position(struct trace *trace)
{
    pthread_mutex_lock(&trace->lock);
    struct trace_position position = {trace->turns, trace->newer_size};
    pthread_mutex_unlock(&trace->lock);
    return position;
}

void trace_return(struct trace *trace, const struct trace_position *position)
{
    pthread_mutex_lock(&trace->lock);
    if (trace->turns == position->turns) {
        trace->newer_size = position->newer_size;
    } else {
        trace->forgotten += count_records(trace->older, trace->older_size);
        trace->forgotten += count_records(trace->newer, trace->newer_size);
        trace->older_size = trace->newer_size = 0;
    }
    pthread_mutex_unlock(&trace->lock);
}

void ps_trace_on(ps_world *world, bool on, uint64_t most_bytes)
{
    pthread_mutex_lock(&world->trace.lock);
    world->trace.most = most_bytes;
    pthread_mutex_unlock(&world->trace.lock);
    atomic_store(&world->trace.on, on);
}

uint64_t ps_trace_read(ps_world *world, uint8_t *out, uint64_t room, uint64_t *forgotten)
{
    struct trace *trace = &world->trace;
    pthread_mutex_lock(&trace->lock);
    uint64_t size = trace->older_size + trace->newer_size;
    if (size <= room) {
        if (trace->older_size > 0)
            memcpy(out, trace->older, trace->older_size);
        if (trace->newer_size > 0)
            memcpy(out + trace->older_size, trace->newer, trace->newer_size);
    }
    *forgotten = trace->forgotten;
    pthread_mutex_unlock(&trace->lock);
    return size;
}
