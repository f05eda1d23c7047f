/*
 * A NIC whose far end is Python.
 */
#include <errno.h>
#include <stdlib.h>

#include "nic/nic_python.h"
#include "api/nic_api.h"
#include "base/pieces.h"
#include "nic/frame_queue.h"
#include "nic/nic.h"

#define MOST_BYTES (16u << 20)

struct python_nic {
    ps_nic nic;
    void *python;
    int (*transmit)(void *python, const uint8_t *frame, size_t size);
    struct frame_queue *queue;
    uint8_t *flat; /* an outgoing frame in one piece */
};

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    (void)now_us;
    struct python_nic *self = (struct python_nic *)nic;
    if (total > PS_FRAME_SIZE)
        return -EMSGSIZE;
    size_t size = pieces_copy(self->flat, pieces, count);
    return self->transmit(self->python, self->flat, size);
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    return frame_queue_take(((struct python_nic *)nic)->queue, frame, room);
}

static _Atomic int count;

int python_nics(void)
{
    return atomic_load(&count);
}

void python_nics_count(int change)
{
    atomic_fetch_add(&count, change);
}

static void destroy(ps_nic *nic)
{
    struct python_nic *self = (struct python_nic *)nic;
    python_nics_count(-1);
    if (self->queue != NULL)
        frame_queue_destroy(self->queue);
    free(self->flat);
    free(self);
}

static const struct ps_nic_kind kind = {
    .name = "python",
    .transmit = transmit,
    .receive = receive,
    .destroy = destroy,
};

ps_nic *ps_nic_python(void *python,
                      int (*transmit_frame)(void *python, const uint8_t *frame, size_t size),
                      uint8_t layer, uint32_t mtu, size_t queue_frames, int *error)
{
    struct python_nic *self = calloc(1, sizeof *self);
    int result = self == NULL ? -ENOMEM : nic_init(&self->nic, &kind, (enum ps_layer)layer, mtu);
    if (result < 0) {
        free(self);
        *error = -result;
        return NULL;
    }
    python_nics_count(1);
    self->python = python;
    self->transmit = transmit_frame;
    self->queue = frame_queue_create(queue_frames, MOST_BYTES);
    self->flat = malloc(PS_FRAME_SIZE);
    if (self->queue == NULL || self->flat == NULL) {
        nic_release(&self->nic);
        *error = ENOMEM;
        return NULL;
    }
    return &self->nic;
}

int ps_nic_python_deliver(ps_nic *nic, const uint8_t *frame, size_t size)
{
    bool was_empty = false;
    if (nic->kind != &kind)
        return -EINVAL;
    if (size == 0 || size > PS_FRAME_SIZE)
        return -EMSGSIZE;
    const struct ps_piece piece = {(uint8_t *)(uintptr_t)frame, size};
    int result =
        frame_queue_put(((struct python_nic *)nic)->queue, &piece, 1, size, NULL, &was_empty);
    if (was_empty)
        nic_wake(nic);
    return result;
}
