/*
 * A list, for most frames are due behind all others.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/due_queue.h"

int due_queue_put(struct due_queue *queue, const uint8_t *bytes, size_t size, uint64_t due_us,
                  size_t most)
{
    if (queue->frames >= most)
        return -ENOBUFS;
    struct due_frame *frame = malloc(sizeof *frame + size);
    if (frame == NULL)
        return -ENOBUFS;
    memcpy(frame->bytes, bytes, size);
    frame->size = size;
    frame->due_us = due_us;
    struct due_frame **link =
        queue->first != NULL && queue->last->due_us <= due_us ? &queue->last->next : &queue->first;
    while (*link != NULL && (*link)->due_us <= due_us)
        link = &(*link)->next;
    frame->next = *link;
    *link = frame;
    if (frame->next == NULL)
        queue->last = frame;
    queue->frames++;
    return 0;
}

struct due_frame *due_queue_take(struct due_queue *queue, uint64_t now_us)
{
    struct due_frame *frame = queue->first;
    if (frame == NULL || frame->due_us > now_us)
        return NULL;
    queue->first = frame->next;
    queue->frames--;
    return frame;
}

uint64_t due_queue_deadline(const struct due_queue *queue)
{
    return queue->first != NULL ? queue->first->due_us : UINT64_MAX;
}

void due_queue_empty(struct due_queue *queue)
{
    struct due_frame *frame;
    while ((frame = due_queue_take(queue, UINT64_MAX)) != NULL)
        free(frame);
}
