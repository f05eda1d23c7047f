/*
 * A bounded queue of frames between two threads.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic.h"

struct queued_frame {
    struct queued_frame *next;
    size_t size;
    uint8_t bytes[];
};

struct frame_queue {
    pthread_mutex_t lock;
    struct queued_frame *first, **last;
    size_t frames, bytes, most_frames, most_bytes;
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

void frame_queue_destroy(struct frame_queue *queue)
{
    while (queue->first != NULL) {
        struct queued_frame *frame = queue->first;
        queue->first = frame->next;
        free(frame);
    }
    pthread_mutex_destroy(&queue->lock);
    free(queue);
}

int frame_queue_put(struct frame_queue *queue, const struct ps_piece *pieces, size_t count,
                    size_t total, bool *was_empty)
{
    struct queued_frame *frame = malloc(sizeof *frame + total);
    if (frame == NULL)
        return -ENOBUFS;
    frame->next = NULL;
    frame->size = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(frame->bytes + frame->size, pieces[i].base, pieces[i].size);
        frame->size += pieces[i].size;
    }
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
        free(frame);
    return full ? -ENOBUFS : 0;
}

ssize_t frame_queue_take(struct frame_queue *queue, uint8_t *frame, size_t room)
{
    pthread_mutex_lock(&queue->lock);
    struct queued_frame *first = queue->first;
    if (first != NULL) {
        queue->first = first->next;
        if (queue->first == NULL)
            queue->last = &queue->first;
        queue->frames--;
        queue->bytes -= first->size;
    }
    pthread_mutex_unlock(&queue->lock);
    if (first == NULL)
        return -EAGAIN;
    ssize_t size = first->size <= room ? (ssize_t)first->size : -EMSGSIZE;
    if (size > 0)
        memcpy(frame, first->bytes, first->size);
    free(first);
    return size;
}
