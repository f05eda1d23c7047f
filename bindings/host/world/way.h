/*
 * One direction of a link: what becomes of the frames that are sent.
 */
#ifndef PYSTACK_HOST_WAY_H
#define PYSTACK_HOST_WAY_H

#include "base/generator.h"
#include "world/codel.h"
#include "world/delay.h"
#include "world/transmitter.h"
#include "world/world.h"

/* One that waits, or is being sent, in a queue whose future is known. */
struct departure {
    uint64_t begins_ns;
    uint32_t size;
};

struct way {
    ps_world *world;
    struct ps_link settings; /* without what it points to */
    struct ps_link_counts counts;
    struct generator generator;
    uint64_t stream;  /* its name on the tape */
    uint64_t planned; /* whether the next frames, so many of them, are lost */
    uint32_t planned_count;
    bool is_bad; /* the state of Gilbert and Elliott's model */
    struct delay delay;
    struct transmitter transmitter;

    /* First in, first out: a ring of those that wait. */
    struct departure *departures;
    uint32_t waiting, first, room;
    uint64_t waiting_bytes;
    /* With CoDel: the frames themselves, and when the next one leaves. */
    struct codel codel;
    struct world_event departure;

    /* Takes the frame over, whose due_us is when it arrives. -ENOMEM. */
    int (*pass)(struct way *way, struct travelling *frame);
};

/* -EINVAL: a rate without a queue, or a trace that falls; -ENOMEM. */
int way_open(struct way *way, ps_world *world, enum ps_layer layer, uint32_t mtu, uint64_t seed,
             const struct ps_link *settings);
int way_set(struct way *way, const struct ps_link *settings);
void way_close(struct way *way);
/* -ENOBUFS: there is no memory. */
int way_send(struct way *way, const struct ps_piece *pieces, size_t count, size_t total,
             bool is_plugged, uint64_t now_us);
/* What becomes of a frame that it has sent; nothing where no trace is kept. */
void way_tell(const struct way *way, enum ps_trace_kind what, uint64_t number, uint64_t now_us);
/* The departure has come. */
void way_go_on(struct way *way, uint64_t now_us);

#endif
