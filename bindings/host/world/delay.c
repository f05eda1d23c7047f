/*
 * How long each frame of a link travels: a constant time, with an even or a normal jitter, or what
 * samples say.
 */
#include "world/delay.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "world/store.h"

void delay_clear(struct delay *self)
{
    world_free(self->samples_us);
    self->samples_us = NULL;
    self->count = 0;
}

static int set_samples(struct delay *self, const uint64_t *samples_us, uint32_t count,
                       uint64_t every_us, uint64_t now_us)
{
    size_t size = count * sizeof *samples_us;
    if (count == self->count && every_us == self->every_us &&
        memcmp(samples_us, self->samples_us, size) == 0)
        return 0;
    uint64_t *copy = world_allocate(self->world, size);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, samples_us, size);
    delay_clear(self);
    self->samples_us = copy;
    self->count = count;
    self->every_us = every_us;
    self->origin_us = now_us;
    self->next = 0;
    return 0;
}

int delay_set(struct delay *self, const struct ps_link *settings, uint64_t now_us)
{
    int result = 0;
    if (settings->delay_count > 0)
        result = set_samples(self, settings->delays_us, settings->delay_count,
                             settings->delays_every_us, now_us);
    else
        delay_clear(self);
    if (result < 0)
        return result;
    self->constant_us = settings->delay_us;
    self->jitter_us = settings->jitter_us;
    self->deviation_us = (double)settings->deviation_us;
    self->correlation = settings->correlation;
    return 0;
}

/* Normally distributed about 0 with a deviation of 1: Marsaglia's polar method, of which the second
 * value isn't kept, so that one change of settings has no memory of another. */
static double normal(struct generator *generator)
{
    double x, y, square;
    do {
        x = 2 * generator_uniform(generator) - 1;
        y = 2 * generator_uniform(generator) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    return x * sqrt(-2 * log(square) / square);
}

/* First-order autoregression, which keeps the deviation. */
static double around(struct delay *self, struct generator *generator)
{
    double value = normal(generator), kept = self->has_last ? self->correlation : 0;
    self->last = kept * self->last + sqrt(1 - kept * kept) * value;
    self->has_last = true;
    return self->deviation_us * self->last;
}

uint64_t delay_us(struct delay *self, uint64_t moment_us)
{
    if (self->count == 0)
        return self->constant_us;
    if (self->every_us > 0)
        return self->samples_us[(moment_us - self->origin_us) / self->every_us % self->count];
    uint64_t found_us = self->samples_us[self->next];
    self->next = (self->next + 1) % self->count;
    return found_us;
}

int64_t delay_drift_us(struct delay *self, struct generator *generator)
{
    int64_t drift_us = 0;
    if (self->deviation_us > 0)
        drift_us += (int64_t)floor(around(self, generator) + 0.5);
    if (self->jitter_us > 0)
        drift_us += (int64_t)(generator_uniform(generator) * (double)self->jitter_us);
    return drift_us;
}
