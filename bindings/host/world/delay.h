/*
 * How long each frame of a link travels.
 */
#ifndef PYSTACK_HOST_DELAY_H
#define PYSTACK_HOST_DELAY_H

#include "api/world_api.h"
#include "base/generator.h"

struct delay {
    ps_world *world;
    uint64_t constant_us, jitter_us;
    /* Normally distributed about the constant; each value depends on the one before. */
    double deviation_us, correlation, last;
    bool has_last;
    /* Samples: one for each frame, or for each `every_us`. */
    uint64_t *samples_us, every_us, origin_us;
    uint32_t count, next;
};

/* Takes over what changed; samples that stay the same go on. -ENOMEM. */
int delay_set(struct delay *self, const struct ps_link *settings, uint64_t now_us);
void delay_clear(struct delay *self);
/* The next frame's, which leaves at this moment, without what chance adds. */
uint64_t delay_us(struct delay *self, uint64_t moment_us);
/* What chance adds to the next frame's, or takes off. */
int64_t delay_drift_us(struct delay *self, struct generator *generator);

#endif
