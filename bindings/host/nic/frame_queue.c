/*
 * A bounded queue of frames between two threads.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/frame_queue.h"
#include "base/arena.h"
#include "base/pieces.h"
#include "nic/nic.h"

/* From this size on a frame goes into a block, which its receiver takes as it is; a smaller one
 * is cheaper to copy than its block is to leave half empty. */
#define LEAST_IN_BLOCK 16384

struct queued_frame {
    struct queued_frame *next;
    size_t size;
    struct ps_offload offload;
    uint8_t *block; /* NULL: it is in `bytes` */
    uint8_t bytes[];
};

struct frame_queue {
    pthread_mutex_t lock;
    struct queued_frame *first, **last;
    size_t frames, bytes, most_frames, most_bytes;
    uint64_t taken;
};

struct frame_queue *frame_queue_create(size_t most_frames, size_t most_bytes)
{
    struct frame_queue *queue = calloc(1, sizeof *queue);
    if (queue == NULL)
        return NULL;
    pthread_mutex_init(&queue->lock, NULL);
    queue->last = &queue->first;
    queue->most_frames = most_frames;
    queue->most_bytes = most_bytes;
    return queue;
}

static void destroy_frame(struct queued_frame *frame)
{
    frame_block_destroy(frame->block);
    free(frame);
}

void frame_queue_destroy(struct frame_queue *queue)
{
    while (queue->first != NULL) {
        struct queued_frame *frame = queue->first;
        queue->first = frame->next;
        destroy_frame(frame);
    }
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

static struct queued_frame *create_frame(const struct ps_piece *pieces, size_t count, size_t total,
                                         const struct ps_offload *offload)
{
    bool large = total >= LEAST_IN_BLOCK && total <= PS_FRAME_SIZE;
    struct queued_frame *frame = malloc(sizeof *frame + (large ? 0 : total));
    if (frame == NULL)
        return NULL;
    frame->next = NULL;
    frame->offload = offload != NULL ? *offload : (struct ps_offload){0};
    frame->block = large ? frame_block_create() : NULL;
    if (large && frame->block == NULL) {
        free(frame);
        return NULL;
    }
    frame->size = pieces_copy(large ? frame->block : frame->bytes, pieces, count);
    return frame;
}

int frame_queue_put(struct frame_queue *queue, const struct ps_piece *pieces, size_t count,
                    size_t total, const struct ps_offload *offload, bool *was_empty)
{
    struct queued_frame *frame = create_frame(pieces, count, total, offload);
    if (frame == NULL)
        return -ENOBUFS;
    pthread_mutex_lock(&queue->lock);
    bool full = queue->frames >= queue->most_frames || queue->bytes + total > queue->most_bytes;
    if (!full) {
        *was_empty = queue->first == NULL;
        *queue->last = frame;
        queue->last = &frame->next;
        queue->frames++;
        queue->bytes += total;
    }
    pthread_mutex_unlock(&queue->lock);
    if (full)
        destroy_frame(frame);
    return full ? -ENOBUFS : 0;
}

bool frame_queue_is_empty(struct frame_queue *queue, uint64_t *taken)
{
    pthread_mutex_lock(&queue->lock);
    bool empty = queue->first == NULL;
    *taken += queue->taken;
    pthread_mutex_unlock(&queue->lock);
    return empty;
}

bool frame_queue_is_half_empty(struct frame_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    bool is = queue->frames <= queue->most_frames / 2 && queue->bytes <= queue->most_bytes / 2;
    pthread_mutex_unlock(&queue->lock);
    return is;
}

static struct queued_frame *take_first(struct frame_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    struct queued_frame *first = queue->first;
    if (first != NULL) {
        queue->first = first->next;
        if (queue->first == NULL)
            queue->last = &queue->first;
        queue->frames--;
        queue->taken++;
        queue->bytes -= first->size;
    }
    pthread_mutex_unlock(&queue->lock);
    return first;
}

ssize_t frame_queue_take(struct frame_queue *queue, uint8_t *frame, size_t room)
{
    struct queued_frame *first = take_first(queue);
    if (first == NULL)
        return -EAGAIN;
    ssize_t size = first->size <= room ? (ssize_t)first->size : -EMSGSIZE;
    if (size > 0)
        memcpy(frame, first->block != NULL ? first->block : first->bytes, first->size);
    destroy_frame(first);
    return size;
}

ssize_t frame_queue_take_frame(struct frame_queue *queue, struct nic_frame *frame)
{
    struct queued_frame *first = take_first(queue);
    if (first == NULL)
        return -EAGAIN;
    ssize_t size = first->size <= PS_FRAME_SIZE ? (ssize_t)first->size : -EMSGSIZE;
    frame->size = first->size;
    frame->offload = first->offload;
    if (first->block != NULL) {
        uint8_t *empty = frame->bytes;
        frame->bytes = first->block;
        first->block = empty;
    } else if (size > 0) {
        memcpy(frame->bytes, first->bytes, first->size);
    }
    destroy_frame(first);
    return size;
}
