/*
 * Two ends of an in-memory wire.
 *
 * Each end owns the queue of what comes to it. The wire outlives its ends: an end that is
 * gone swallows what is sent to it, as an unplugged cable does.
 */
#include <errno.h>
#include <stdlib.h>

#include "api/nic_api.h"
#include "nic/frame_queue.h"
#include "nic/nic.h"

#define MOST_BYTES (16u << 20)

struct wire {
    /* Each guards one end against going while the other sends to it. */
    pthread_mutex_t locks[2];
    struct wire_end *ends[2];
    _Atomic int users;
};

struct wire_end {
    ps_nic nic;
    struct wire *wire;
    int side;
    struct frame_queue *queue;
};

static int transmit_offload(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                            const struct ps_offload *offload, uint64_t now_us)
{
    (void)now_us;
    struct wire_end *end = (struct wire_end *)nic;
    struct wire *wire = end->wire;
    bool was_empty = false;
    pthread_mutex_lock(&wire->locks[!end->side]);
    struct wire_end *far = wire->ends[!end->side];
    int result = far ? frame_queue_put(far->queue, pieces, count, total, offload, &was_empty) : 0;
    if (was_empty)
        nic_wake(&far->nic);
    pthread_mutex_unlock(&wire->locks[!end->side]);
    return result;
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    return transmit_offload(nic, pieces, count, total, NULL, now_us);
}

static ssize_t receive_frame(ps_nic *nic, struct nic_frame *frame, uint64_t now_us)
{
    (void)now_us;
    return frame_queue_take_frame(((struct wire_end *)nic)->queue, frame);
}

static enum nic_ear ear(ps_nic *nic, uint64_t *taken)
{
    struct wire_end *end = (struct wire_end *)nic;
    struct wire *wire = end->wire;
    pthread_mutex_lock(&wire->locks[!end->side]);
    struct wire_end *far = wire->ends[!end->side];
    enum nic_ear result = far == NULL ? NIC_DEAF : nic_ear_of(&far->nic, far->queue, taken);
    pthread_mutex_unlock(&wire->locks[!end->side]);
    return result;
}

static void release_wire(struct wire *wire)
{
    if (atomic_fetch_sub(&wire->users, 1) > 1)
        return;
    pthread_mutex_destroy(&wire->locks[0]);
    pthread_mutex_destroy(&wire->locks[1]);
    free(wire);
}

static void destroy(ps_nic *nic)
{
    struct wire_end *end = (struct wire_end *)nic;
    struct wire *wire = end->wire;
    pthread_mutex_lock(&wire->locks[end->side]);
    wire->ends[end->side] = NULL;
    pthread_mutex_unlock(&wire->locks[end->side]);
    release_wire(wire);
    frame_queue_destroy(end->queue);
    free(end);
}

static const struct ps_nic_kind kind = {
    .name = "wire",
    .transmit = transmit,
    .transmit_offload = transmit_offload,
    .receive_frame = receive_frame,
    .ear = ear,
    .destroy = destroy,
};

static struct wire_end *create_end(struct wire *wire, int side, uint32_t mtu, uint8_t layer,
                                   size_t queue_frames, uint32_t offloads)
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
    end->nic.offloads = offloads;
    end->wire = wire;
    end->side = side;
    atomic_fetch_add(&wire->users, 1);
    return end;
}

int ps_nic_wire(uint32_t mtu, uint8_t layer, size_t queue_frames, uint32_t offloads, ps_nic **left,
                ps_nic **right)
{
    ps_nic probe = {0};
    int result = nic_init(&probe, &kind, (enum ps_layer)layer, mtu);
    if (result < 0)
        return result;
    pthread_mutex_destroy(&probe.wake_lock);
    struct wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL)
        return -ENOMEM;
    atomic_store(&wire->users, 1);
    pthread_mutex_init(&wire->locks[0], NULL);
    pthread_mutex_init(&wire->locks[1], NULL);
    for (int side = 0; side < 2; side++)
        wire->ends[side] = create_end(wire, side, mtu, layer, queue_frames, offloads);
    struct wire_end *const ends[] = {wire->ends[0], wire->ends[1]};
    release_wire(wire); /* the ends hold it */
    if (ends[0] == NULL || ends[1] == NULL) {
        for (int side = 0; side < 2; side++)
            if (ends[side] != NULL)
                nic_release(&ends[side]->nic);
        return -ENOMEM;
    }
    *left = &ends[0]->nic;
    *right = &ends[1]->nic;
    return 0;
}
