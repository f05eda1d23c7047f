/*
 * Two ends of an in-memory wire.
 *
 * Each end owns the queue of what comes to it. The wire outlives its ends: an end that is
 * gone swallows what is sent to it, as an unplugged cable does.
 */
#include <errno.h>
#include <stdlib.h>

#include "nic.h"
#include "nic_api.h"

#define MOST_BYTES (16u << 20)

struct wire {
    pthread_mutex_t lock; /* guards the ends against one that goes while the other sends */
    struct wire_end *ends[2];
};

struct wire_end {
    ps_nic nic;
    struct wire *wire;
    int side;
    struct frame_queue *queue;
};

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    (void)now_us;
    struct wire_end *end = (struct wire_end *)nic;
    struct wire *wire = end->wire;
    bool was_empty = false;
    pthread_mutex_lock(&wire->lock);
    struct wire_end *far = wire->ends[!end->side];
    int result = far ? frame_queue_put(far->queue, pieces, count, total, &was_empty) : 0;
    if (was_empty)
        nic_wake(&far->nic);
    pthread_mutex_unlock(&wire->lock);
    return result;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    return frame_queue_take(((struct wire_end *)nic)->queue, frame, room);
}

static void destroy(ps_nic *nic)
{
    struct wire_end *end = (struct wire_end *)nic;
    struct wire *wire = end->wire;
    pthread_mutex_lock(&wire->lock);
    wire->ends[end->side] = NULL;
    bool last = wire->ends[!end->side] == NULL;
    pthread_mutex_unlock(&wire->lock);
    if (last) {
        pthread_mutex_destroy(&wire->lock);
        free(wire);
    }
    frame_queue_destroy(end->queue);
    free(end);
}

static const struct ps_nic_kind kind = {
    .name = "wire",
    .transmit = transmit,
    .receive = receive,
    .destroy = destroy,
};

static struct wire_end *create_end(struct wire *wire, int side, uint32_t mtu, uint8_t layer,
                                   size_t queue_frames)
{
    struct wire_end *end = calloc(1, sizeof *end);
    if (end == NULL)
        return NULL;
    end->queue = frame_queue_create(queue_frames, MOST_BYTES);
    if (end->queue == NULL) {
        free(end);
        return NULL;
    }
    nic_init(&end->nic, &kind, (enum ps_layer)layer, mtu);
    end->wire = wire;
    end->side = side;
    return end;
}

int ps_nic_wire(uint32_t mtu, uint8_t layer, size_t queue_frames, ps_nic **left, ps_nic **right)
{
    ps_nic probe = {0};
    int result = nic_init(&probe, &kind, (enum ps_layer)layer, mtu);
    if (result < 0)
        return result;
    pthread_mutex_destroy(&probe.wake_lock);
    struct wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL)
        return -ENOMEM;
    pthread_mutex_init(&wire->lock, NULL);
    for (int side = 0; side < 2; side++)
        wire->ends[side] = create_end(wire, side, mtu, layer, queue_frames);
    if (wire->ends[0] == NULL || wire->ends[1] == NULL) {
        struct wire_end *only = wire->ends[0] ? wire->ends[0] : wire->ends[1];
        if (only != NULL) {
            nic_release(&only->nic); /* takes the wire along */
        } else {
            pthread_mutex_destroy(&wire->lock);
            free(wire);
        }
        return -ENOMEM;
    }
    *left = &wire->ends[0]->nic;
    *right = &wire->ends[1]->nic;
    return 0;
}
