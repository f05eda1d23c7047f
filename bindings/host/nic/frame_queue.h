/*
 * A bounded queue of frames between threads.
 */
#ifndef PYSTACK_HOST_FRAME_QUEUE_H
#define PYSTACK_HOST_FRAME_QUEUE_H

#include "nic/nic.h"

struct frame_queue *frame_queue_create(size_t most_frames, size_t most_bytes);
void frame_queue_destroy(struct frame_queue *queue);
/* -ENOBUFS: full. *was_empty tells the caller whether a wake is due. offload: NULL for an
 * ordinary frame. */
int frame_queue_put(struct frame_queue *queue, const struct ps_piece *pieces, size_t count,
                    size_t total, const struct ps_offload *offload, bool *was_empty);
/* -EAGAIN: empty; a frame longer than `room` is dropped and counted. */
ssize_t frame_queue_take(struct frame_queue *queue, uint8_t *frame, size_t room);
/* The same into a block, or in another block for it. */
ssize_t frame_queue_take_frame(struct frame_queue *queue, struct nic_frame *frame);
/* Adds how many were taken so far. */
bool frame_queue_is_empty(struct frame_queue *queue, uint64_t *taken);
/* Whether there is room for as many again. */
bool frame_queue_is_half_empty(struct frame_queue *queue);

#endif
