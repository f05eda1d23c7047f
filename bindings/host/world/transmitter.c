/*
 * Rates. Times are in nanoseconds, so that those of fast links don't add up to another rate.
 *
 * A trace is that of mahimahi's link shells: at each moment in it OPPORTUNITY_BYTES may leave,
 * which several small frames share; what no frame is there for is lost, and a frame that finds too
 * few left ends with a later opportunity.
 */
#include "world/transmitter.h"

#include <errno.h>
#include <string.h>

#include "world/store.h"

#define OPPORTUNITY_BYTES 1504

void transmitter_clear(struct transmitter *self)
{
    world_free(self->opportunities_ms);
    self->opportunities_ms = NULL;
    self->count = 0;
}

static int set_trace(struct transmitter *self, const uint32_t *trace_ms, uint32_t count,
                     uint64_t now_us)
{
    if (count == self->count &&
        memcmp(trace_ms, self->opportunities_ms, count * sizeof *trace_ms) == 0)
        return 0;
    for (uint32_t i = 1; i < count; i++)
        if (trace_ms[i] < trace_ms[i - 1])
            return -EINVAL;
    if (trace_ms[count - 1] == 0)
        return -EINVAL;
    uint32_t *copy = world_allocate(self->world, count * sizeof *copy);
    if (copy == NULL)
        return -ENOMEM;
    memcpy(copy, trace_ms, count * sizeof *copy);
    transmitter_clear(self);
    self->opportunities_ms = copy;
    self->count = count;
    self->origin_us = now_us;
    self->turn = self->place = 0;
    self->left_bytes = OPPORTUNITY_BYTES;
    return 0;
}

int transmitter_set(struct transmitter *self, const struct ps_link *settings, uint64_t now_us)
{
    int result = 0;
    if (settings->opportunity_count > 0)
        result = set_trace(self, settings->opportunities_ms, settings->opportunity_count, now_us);
    else
        transmitter_clear(self);
    if (result == 0)
        self->bits_per_second = settings->rate_bits_per_second;
    return result;
}

bool transmitter_has_limit(const struct transmitter *self)
{
    return self->bits_per_second > 0 || self->count > 0;
}

static uint64_t opportunity_us(const struct transmitter *self)
{
    uint64_t period_ms = self->opportunities_ms[self->count - 1];
    return self->origin_us +
           (self->turn * period_ms + self->opportunities_ms[self->place]) * UINT64_C(1000);
}

static void go_on(struct transmitter *self)
{
    self->left_bytes = OPPORTUNITY_BYTES;
    if (++self->place == self->count) {
        self->place = 0;
        self->turn++;
    }
}

/* To the first opportunity at this moment or after it. */
static void skip_to(struct transmitter *self, uint64_t moment_us)
{
    uint64_t period_us = self->opportunities_ms[self->count - 1] * UINT64_C(1000);
    uint64_t since_us = moment_us - self->origin_us;
    /* The last one of a turn is at the moment at which the next turn begins. */
    self->turn = since_us == 0 ? 0 : (since_us - 1) / period_us;
    uint64_t within_us = since_us - self->turn * period_us;
    uint32_t low = 0, high = self->count - 1;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (self->opportunities_ms[middle] * UINT64_C(1000) < within_us)
            low = middle + 1;
        else
            high = middle;
    }
    self->place = low;
    self->left_bytes = OPPORTUNITY_BYTES;
}

uint64_t transmitter_begin_ns(struct transmitter *self, uint64_t came_us)
{
    if (self->count > 0) {
        if (opportunity_us(self) < came_us)
            skip_to(self, came_us);
        return opportunity_us(self) * 1000;
    }
    uint64_t came_ns = came_us * 1000;
    return self->bits_per_second > 0 && self->free_ns > came_ns ? self->free_ns : came_ns;
}

uint64_t transmitter_send_ns(struct transmitter *self, uint64_t begin_ns, size_t size)
{
    if (self->count > 0) {
        while (size > self->left_bytes) {
            size -= self->left_bytes;
            go_on(self);
        }
        self->free_ns = opportunity_us(self) * 1000;
        self->left_bytes -= (uint32_t)size;
        if (self->left_bytes == 0)
            go_on(self);
    } else {
        self->free_ns = begin_ns;
        if (self->bits_per_second > 0)
            self->free_ns += (uint64_t)((double)size * 8e9 / (double)self->bits_per_second + 0.5);
    }
    return self->free_ns;
}
