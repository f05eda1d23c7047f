/*
 * The trace: what was sent in a World, and what became of it.
 */
#ifndef PYSTACK_HOST_TRACE_H
#define PYSTACK_HOST_TRACE_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/world_api.h"
#include "hypercalls.h"

/* Records one after the other; what no longer fits puts the older half away. */
struct trace {
    pthread_mutex_t lock; /* the last to be taken */
    _Atomic bool on;
    uint8_t *older, *newer;
    size_t older_size, newer_size, room, most;
    uint64_t forgotten, turns; /* turns: how often the older half was put away */
};

/* How long it is. */
struct trace_position {
    uint64_t turns;
    size_t newer_size;
};

struct trace_position trace_position(struct trace *trace);
/* Without what came behind it; without anything where that isn't there any more. */
void trace_return(struct trace *trace, const struct trace_position *position);

void trace_open(struct trace *trace);
void trace_close(struct trace *trace);
void trace_write(struct trace *trace, const struct ps_trace *record, const struct ps_piece *pieces,
                 size_t count);

/* Costs one test where nobody looks. */
static inline bool trace_is_on(const struct trace *trace)
{
    return atomic_load_explicit(&trace->on, memory_order_relaxed);
}

#endif
