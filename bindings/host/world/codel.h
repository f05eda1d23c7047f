/*
 * CoDel (RFC 8289), alone and in fair queues (RFC 8290).
 */
#ifndef PYSTACK_HOST_CODEL_H
#define PYSTACK_HOST_CODEL_H

#include "api/world_api.h"
#include "world/travelling.h"

struct codel_flow {
    struct travelling *first, *last;
    uint64_t bytes;
    int64_t deficit_bytes;
    struct codel_flow *next; /* in one of the lists below */
    bool is_listed;
    /* RFC 8289's own state; a time of 0 is none. */
    uint64_t first_above_us, drop_next_us;
    uint32_t count, last_count;
    bool is_dropping;
};

struct codel_list {
    struct codel_flow *first, *last;
};

struct codel {
    struct ps_queue settings;
    /* A frame is dropped, for the queue is full or by CoDel, or marked. */
    void (*tell)(struct codel *self, const struct travelling *frame, enum ps_trace_kind what);
    ps_world *world;
    enum ps_layer layer;
    uint32_t largest_bytes; /* of a frame */
    uint64_t salt;
    struct codel_flow *flows; /* one, if it is CoDel alone */
    struct codel_list new, old;
    uint32_t frames;
    uint64_t bytes;
};

/* -ENOMEM. */
int codel_open(struct codel *self, const struct ps_queue *settings);
/* Only with nothing in it. */
void codel_close(struct codel *self);
/* The frame is its own from now on, or dropped where there is no room. */
void codel_put(struct codel *self, struct travelling *frame, uint64_t now_us);
/* The next to be sent; NULL: nothing is left. */
struct travelling *codel_take(struct codel *self, uint64_t now_us);
/* Any of those that wait, whatever CoDel thinks of it. */
struct travelling *codel_take_out(struct codel *self);

#endif
