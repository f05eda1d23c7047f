/*
 * Frames that wait, each for its moment: in order of that, and as they came where it is the same.
 */
#ifndef PYSTACK_HOST_DUE_QUEUE_H
#define PYSTACK_HOST_DUE_QUEUE_H

#include <stddef.h>
#include <stdint.h>

struct due_frame {
    struct due_frame *next;
    uint64_t due_us;
    size_t size;
    uint8_t bytes[];
};

/* Empty when all of it is zero. */
struct due_queue {
    struct due_frame *first;
    struct due_frame *last; /* of no meaning while there is no first */
    size_t frames;
};

/* Copies a frame. -ENOBUFS: `most` wait already, or there is no memory. */
int due_queue_put(struct due_queue *queue, const uint8_t *bytes, size_t size, uint64_t due_us,
                  size_t most);
/* The first, which is the caller's to free; NULL: none is due. */
struct due_frame *due_queue_take(struct due_queue *queue, uint64_t now_us);
/* When the first is due; UINT64_MAX: there is none. */
uint64_t due_queue_deadline(const struct due_queue *queue);
void due_queue_empty(struct due_queue *queue);

#endif
