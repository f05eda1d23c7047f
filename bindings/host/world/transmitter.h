/*
 * When a link's transmitter has sent a frame: at once, at a constant rate, or as a trace of
 * opportunities says.
 */
#ifndef PYSTACK_HOST_TRANSMITTER_H
#define PYSTACK_HOST_TRANSMITTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/world_api.h"

struct transmitter {
    ps_world *world;
    uint64_t bits_per_second; /* 0: no limit, unless there is a trace */
    uint64_t free_ns;         /* when the last frame has been sent */

    /* A trace: at each of these moments so many bytes may leave; behind the last it begins anew. */
    uint32_t *opportunities_ms, count;
    uint64_t origin_us;  /* its beginning */
    uint64_t turn;       /* how often it has begun anew, */
    uint32_t place;      /* and which opportunity is next, */
    uint32_t left_bytes; /* with how many bytes */
};

/* Takes over what changed; a trace that stays the same goes on. -EINVAL; -ENOMEM. */
int transmitter_set(struct transmitter *self, const struct ps_link *settings, uint64_t now_us);
void transmitter_clear(struct transmitter *self);
/* Whether frames may have to wait for it. */
bool transmitter_has_limit(const struct transmitter *self);
/* When a frame that has come at this moment can begin to be sent. */
uint64_t transmitter_begin_ns(struct transmitter *self, uint64_t came_us);
/* Sends it from then on; when its last bit has left. */
uint64_t transmitter_send_ns(struct transmitter *self, uint64_t begin_ns, size_t size);

#endif
