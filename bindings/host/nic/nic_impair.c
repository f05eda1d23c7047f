/*
 * A wrapper that makes a wire bad: loss, delay, jitter, reordering, duplicates, bit errors,
 * a limited rate. Seeded: the same frames at the same times meet the same fate.
 *
 * Each direction has one queue in order of the moment that a frame is due. Outgoing frames
 * leave when the driver comes by at that moment, so `receive` lets them out too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/nic_api.h"
#include "base/generator.h"
#include "base/pieces.h"
#include "nic/due_queue.h"
#include "nic/nic.h"
#include "nic/nic_wrapper.h"

/* Frames taken from the inner NIC at a time: all that are there, for they have come now, and a
 * virtual clock doesn't stand still until all have been taken; but not for ever. */
#define BATCH 65536

struct direction {
    struct ps_impairment settings;
    struct due_queue queue;
    uint64_t free_us; /* when the rate limit lets the next frame begin */
};

struct impair {
    struct nic_wrapper wrapper;
    pthread_mutex_t lock;
    struct direction outgoing, incoming;
    struct generator generator;
    uint8_t scratch[PS_FRAME_SIZE];
};

static bool happens(struct impair *self, double probability)
{
    /* A number is drawn only for what can happen, so that one knob doesn't move another. */
    return probability > 0 && generator_uniform(&self->generator) < probability;
}

static uint64_t due(struct impair *self, struct direction *direction, size_t size, uint64_t now_us)
{
    const struct ps_impairment *settings = &direction->settings;
    uint64_t at_us = now_us;
    if (settings->rate_bits_per_second > 0) {
        if (direction->free_us > at_us)
            at_us = direction->free_us;
        at_us += (size * 8 * 1000000 + settings->rate_bits_per_second - 1) /
                 settings->rate_bits_per_second;
        direction->free_us = at_us;
    }
    at_us += settings->delay_us;
    if (settings->jitter_us > 0)
        at_us += (uint64_t)(generator_uniform(&self->generator) * (double)settings->jitter_us);
    if (happens(self, settings->reorder))
        at_us += settings->reorder_delay_us;
    return at_us;
}

/* Decides one frame's fate. A frame that has no room to wait is lost, as on any wire. */
static void suffer(struct impair *self, struct direction *direction, uint8_t *frame, size_t size,
                   uint64_t now_us)
{
    const struct ps_impairment *settings = &direction->settings;
    if (happens(self, settings->loss)) {
        self->wrapper.nic.counters.dropped_frames++;
        return;
    }
    if (happens(self, settings->corrupt)) {
        uint64_t bit = generator_next(&self->generator) % (size * 8);
        frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    int copies = happens(self, settings->duplicate) ? 2 : 1;
    while (copies-- > 0)
        if (due_queue_put(&direction->queue, frame, size, due(self, direction, size, now_us),
                          settings->queue_frames) < 0)
            self->wrapper.nic.counters.dropped_frames++;
}

static void let_out(struct impair *self, uint64_t now_us)
{
    struct due_frame *frame;
    while ((frame = due_queue_take(&self->outgoing.queue, now_us)) != NULL) {
        const struct ps_piece piece = {frame->bytes, frame->size};
        if (nic_transmit(self->wrapper.inner, &piece, 1, frame->size, now_us) < 0)
            self->wrapper.nic.counters.dropped_frames++;
        free(frame);
    }
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct impair *self = (struct impair *)nic;
    if (total > sizeof self->scratch)
        return -EMSGSIZE;
    pthread_mutex_lock(&self->lock);
    size_t size = pieces_copy(self->scratch, pieces, count);
    suffer(self, &self->outgoing, self->scratch, size, now_us);
    let_out(self, now_us);
    pthread_mutex_unlock(&self->lock);
    return 0;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    struct impair *self = (struct impair *)nic;
    ssize_t result = 0;
    pthread_mutex_lock(&self->lock);
    let_out(self, now_us);
    for (int i = 0; i < BATCH; i++) {
        result = nic_receive(self->wrapper.inner, self->scratch, sizeof self->scratch, now_us);
        if (result < 0)
            break;
        suffer(self, &self->incoming, self->scratch, (size_t)result, now_us);
    }
    struct due_frame *first = due_queue_take(&self->incoming.queue, now_us);
    if (first != NULL) {
        result = first->size <= room ? (ssize_t)first->size : -EAGAIN;
        if (result > 0)
            memcpy(frame, first->bytes, first->size);
        free(first);
    } else if (result >= 0) {
        nic_wake(self->wrapper.inner); /* there may be more behind what has to wait */
        result = -EAGAIN;
    }
    pthread_mutex_unlock(&self->lock);
    return result;
}

static uint64_t deadline(ps_nic *nic)
{
    struct impair *self = (struct impair *)nic;
    pthread_mutex_lock(&self->lock);
    uint64_t soonest = nic_deadline(self->wrapper.inner);
    const struct direction *const directions[] = {&self->outgoing, &self->incoming};
    for (size_t i = 0; i < 2; i++)
        if (due_queue_deadline(&directions[i]->queue) < soonest)
            soonest = due_queue_deadline(&directions[i]->queue);
    pthread_mutex_unlock(&self->lock);
    return soonest;
}

static void destroy(ps_nic *nic)
{
    struct impair *self = (struct impair *)nic;
    due_queue_empty(&self->outgoing.queue);
    due_queue_empty(&self->incoming.queue);
    pthread_mutex_destroy(&self->lock);
    nic_wrapper_free(&self->wrapper);
}

static const struct ps_nic_kind kind = {
    .name = "impair",
    .transmit = transmit,
    .receive = receive,
    .deadline = deadline,
    .descriptor = nic_wrapper_descriptor,
    .set_wake = nic_wrapper_set_wake,
    .ear = nic_wrapper_ear,
    .is_carried_here = nic_wrapper_is_carried_here,
    .is_outside = nic_wrapper_is_outside,
    .forget = nic_wrapper_forget,
    .destroy = destroy,
};

ps_nic *ps_nic_impair(ps_nic *inner, const struct ps_impairment *outgoing,
                      const struct ps_impairment *incoming, uint64_t seed, int *error)
{
    struct impair *self = nic_wrapper_create(sizeof *self, &kind, inner, error);
    if (self == NULL)
        return NULL;
    pthread_mutex_init(&self->lock, NULL);
    self->outgoing.settings = *outgoing;
    self->incoming.settings = *incoming;
    generator_seed(&self->generator, seed);
    return &self->wrapper.nic;
}

int ps_nic_impair_set(ps_nic *nic, const struct ps_impairment *outgoing,
                      const struct ps_impairment *incoming)
{
    struct impair *self = (struct impair *)nic;
    if (nic->kind != &kind)
        return -EINVAL;
    pthread_mutex_lock(&self->lock);
    self->outgoing.settings = *outgoing;
    self->incoming.settings = *incoming;
    pthread_mutex_unlock(&self->lock);
    return 0;
}
