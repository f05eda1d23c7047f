/*
 * A NIC whose far end is a tunnel in Python: a protocol with timers over datagrams.
 *
 * Python isn't called per frame where that can be helped: a long packet is cut here, and its
 * segments go up in one call. What the tunnel has to do by itself it does inside `receive`, on the
 * thread that moves the Stack and by the Stack's clock: when its descriptor is readable, when it
 * was woken, and when the time has come that it named last.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/nic_api.h"
#include "base/arena.h"
#include "base/pieces.h"
#include "nic/frame_queue.h"
#include "nic/gso.h"
#include "nic/nic.h"
#include "nic/nic_python.h"

#define MOST_BYTES (16u << 20)
#define MOST_SEGMENTS 128
#define ALIGNMENT 16u
/* After an exception the tunnel gets another turn. */
#define RETRY_US 1000000

struct tunnel_nic {
    ps_nic nic;
    void *python;
    ps_tunnel_transmit *transmit;
    ps_tunnel_run *run;
    struct frame_queue *queue; /* what has arrived */
    struct gso gso;
    uint8_t *cut; /* segments that go up together, each at a multiple of ALIGNMENT */
    size_t used, count;
    uint32_t sizes[MOST_SEGMENTS];
    _Atomic uint64_t deadline_us;
    atomic_bool wanted;
    int descriptor;
};

enum { CUT_BYTES = 3 * PS_FRAME_SIZE };

/* Gives what is cut to Python. */
static int give(struct tunnel_nic *self, uint64_t now_us)
{
    uint64_t deadline_us = atomic_load(&self->deadline_us);
    if (self->count == 0)
        return 0;
    int result =
        self->transmit(self->python, self->cut, self->sizes, self->count, now_us, &deadline_us);
    atomic_store(&self->deadline_us, deadline_us);
    self->used = self->count = 0;
    return result;
}

static uint8_t *room(struct tunnel_nic *self)
{
    return self->cut + self->used;
}

static void add(struct tunnel_nic *self, size_t size)
{
    size_t padded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(room(self) + size, 0, padded - size);
    self->sizes[self->count++] = (uint32_t)size;
    self->used += padded;
}

static int transmit_offload(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                            const struct ps_offload *offload, uint64_t now_us)
{
    struct tunnel_nic *self = (struct tunnel_nic *)nic;
    size_t size;
    int result = 0, given;
    if (total > PS_FRAME_SIZE)
        return -EMSGSIZE;
    self->gso.frame.size = pieces_copy(self->gso.frame.bytes, pieces, count);
    self->gso.frame.offload = *offload;
    gso_begin(&self->gso, (enum ps_layer)nic->layer);
    while ((size = gso_next(&self->gso, room(self), PS_FRAME_SIZE)) > 0) {
        add(self, size);
        if (self->count < MOST_SEGMENTS && CUT_BYTES - self->used >= PS_FRAME_SIZE + ALIGNMENT)
            continue;
        given = give(self, now_us);
        result = result < 0 ? result : given;
    }
    given = give(self, now_us);
    return result < 0 ? result : given;
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct tunnel_nic *self = (struct tunnel_nic *)nic;
    if (total > PS_FRAME_SIZE)
        return -EMSGSIZE;
    add(self, pieces_copy(room(self), pieces, count));
    return give(self, now_us);
}

static bool is_readable(const struct tunnel_nic *self)
{
    struct pollfd watched = {self->descriptor, POLLIN, 0};
    return self->descriptor >= 0 && poll(&watched, 1, 0) > 0;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t size, uint64_t now_us)
{
    struct tunnel_nic *self = (struct tunnel_nic *)nic;
    ssize_t taken = frame_queue_take(self->queue, frame, size);
    if (taken != -EAGAIN)
        return taken;
    bool wanted = atomic_exchange(&self->wanted, false);
    if (!wanted && atomic_load(&self->deadline_us) > now_us && !is_readable(self))
        return -EAGAIN;
    uint64_t deadline_us = now_us + RETRY_US;
    int result = self->run(self->python, now_us, &deadline_us);
    atomic_store(&self->deadline_us, deadline_us);
    return result < 0 ? result : frame_queue_take(self->queue, frame, size);
}

static uint64_t deadline(ps_nic *nic)
{
    return atomic_load(&((struct tunnel_nic *)nic)->deadline_us);
}

static int descriptor(ps_nic *nic)
{
    return ((struct tunnel_nic *)nic)->descriptor;
}

static void forget(ps_nic *nic)
{
    struct tunnel_nic *self = (struct tunnel_nic *)nic;
    if (self->descriptor >= 0)
        close(self->descriptor);
    self->descriptor = -1;
}

static void destroy(ps_nic *nic)
{
    struct tunnel_nic *self = (struct tunnel_nic *)nic;
    python_nics_add(-1);
    forget(nic);
    if (self->queue != NULL)
        frame_queue_destroy(self->queue);
    frame_block_destroy(self->gso.frame.bytes);
    free(self->cut);
    free(self);
}

static const struct ps_nic_kind kind = {
    .name = "tunnel",
    .transmit = transmit,
    .transmit_offload = transmit_offload,
    .receive = receive,
    .deadline = deadline,
    .descriptor = descriptor,
    .forget = forget,
    .destroy = destroy,
};

ps_nic *ps_nic_tunnel(void *python, ps_tunnel_transmit *transmit_frames, ps_tunnel_run *run,
                      int watched, uint8_t layer, uint32_t mtu, size_t queue_frames, int *error)
{
    struct tunnel_nic *self = calloc(1, sizeof *self);
    int result = self == NULL ? -ENOMEM : nic_init(&self->nic, &kind, (enum ps_layer)layer, mtu);
    if (result < 0) {
        free(self);
        *error = -result;
        return NULL;
    }
    python_nics_add(1);
    self->nic.offloads = PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4 | PS_OFFLOAD_TCP6;
    self->python = python;
    self->transmit = transmit_frames;
    self->run = run;
    atomic_store(&self->wanted, true);
    atomic_store(&self->deadline_us, UINT64_MAX);
    self->queue = frame_queue_create(queue_frames, MOST_BYTES);
    self->gso.frame.bytes = frame_block_create();
    self->cut = malloc(CUT_BYTES);
    /* Ours, so that it is there for as long as a Stack watches it. */
    self->descriptor = watched < 0 ? -1 : fcntl(watched, F_DUPFD_CLOEXEC, 3);
    bool duplicated = watched < 0 || self->descriptor >= 0;
    if (!duplicated || self->queue == NULL || self->gso.frame.bytes == NULL || self->cut == NULL) {
        *error = duplicated ? ENOMEM : errno;
        nic_release(&self->nic);
        return NULL;
    }
    return &self->nic;
}

int ps_nic_tunnel_deliver(ps_nic *nic, const uint8_t *frames, const uint32_t *offsets,
                          const uint32_t *sizes, size_t count)
{
    bool was_empty;
    size_t taken = 0;
    if (nic->kind != &kind)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        const struct ps_piece piece = {(uint8_t *)(uintptr_t)frames + offsets[i], sizes[i]};
        if (sizes[i] == 0 || sizes[i] > PS_FRAME_SIZE)
            continue;
        if (frame_queue_put(((struct tunnel_nic *)nic)->queue, &piece, 1, sizes[i], NULL,
                            &was_empty) == 0)
            taken++;
    }
    return (int)taken;
}

void ps_nic_tunnel_wake(ps_nic *nic)
{
    if (nic->kind != &kind)
        return;
    atomic_store(&((struct tunnel_nic *)nic)->wanted, true);
    nic_wake(nic);
}
