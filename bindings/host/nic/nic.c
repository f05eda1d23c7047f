/*
 * What all kinds of NIC share: waking the driver, and references.
 */
#include "nic/nic.h"
#include "api/nic_api.h"
#include "base/arena.h"
#include "nic/frame_queue.h"
#include "nic/gso.h"
#include "nic/longest.h"
#include "nic/queues.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int nic_init(ps_nic *nic, const struct ps_nic_kind *kind, enum ps_layer layer, uint32_t mtu)
{
    if (mtu < 68 || mtu > PS_MTU_MAXIMUM || (layer != PS_LAYER_ETHERNET && layer != PS_LAYER_IP))
        return -EINVAL;
    nic->kind = kind;
    nic->layer = (uint8_t)layer;
    nic->mtu = mtu;
    atomic_store(&nic->references, 1);
    pthread_mutex_init(&nic->wake_lock, NULL);
    return 0;
}

void nic_set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument)
{
    pthread_mutex_lock(&nic->wake_lock);
    nic->wake = wake;
    nic->wake_argument = argument;
    pthread_mutex_unlock(&nic->wake_lock);
}

void nic_wake(ps_nic *nic)
{
    /* Held while the driver is woken, so that a Stack that detaches doesn't go meanwhile. */
    pthread_mutex_lock(&nic->wake_lock);
    if (nic->wake != NULL)
        nic->wake(nic->wake_argument);
    pthread_mutex_unlock(&nic->wake_lock);
}

static int count_sent(ps_nic *nic, int result, size_t total)
{
    if (result < 0) {
        nic->counters.dropped_frames++;
        return result;
    }
    nic->counters.sent_frames++;
    nic->counters.sent_bytes += total;
    return result;
}

int nic_transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                 uint64_t now_us)
{
    return count_sent(nic, nic->kind->transmit(nic, pieces, count, total, now_us), total);
}

static int send_offload(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                        const struct ps_offload *offload, uint64_t now_us)
{
    return count_sent(nic, nic->kind->transmit_offload(nic, pieces, count, total, offload, now_us),
                      total);
}

int nic_transmit_offload(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                         const struct ps_offload *offload, uint64_t now_us)
{
    if (nic->kind->transmit_offload == NULL)
        return -EOPNOTSUPP;
    if (total <= PS_FRAME_SIZE)
        return send_offload(nic, pieces, count, total, offload, now_us);
    /* Where there is no memory for so much in one piece there may be for less. */
    int result = -ENOBUFS;
    if (longest_arrives(nic, pieces, now_us))
        result = nic->kind->transmit_offload(nic, pieces, count, total, offload, now_us);
    if (result == -ENOBUFS)
        return longest_in_parts(nic, pieces, count, total, offload, now_us, send_offload);
    return count_sent(nic, result, total);
}

static void count_received(ps_nic *nic, ssize_t size)
{
    if (size > 0) {
        nic->counters.received_frames++;
        nic->counters.received_bytes += (uint64_t)size;
    }
}

static void drop_gso(ps_nic *nic)
{
    if (nic->gso != NULL)
        frame_block_destroy(nic->gso->frame.bytes);
    free(nic->gso);
    nic->gso = NULL;
}

static struct gso *create_gso(void)
{
    struct gso *gso = calloc(1, sizeof *gso);
    if (gso == NULL)
        return NULL;
    gso->is_over = true;
    gso->frame.bytes = frame_block_create();
    if (gso->frame.bytes == NULL) {
        free(gso);
        return NULL;
    }
    return gso;
}

ssize_t nic_receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    ssize_t size;
    if (nic->kind->receive_frame == NULL) {
        size = nic->kind->receive(nic, frame, room, now_us);
    } else {
        if (nic->gso == NULL)
            nic->gso = create_gso();
        struct gso *gso = nic->gso;
        if (gso == NULL)
            return -EAGAIN; /* no memory: as if nothing had come yet */
        while ((size = (ssize_t)gso_next(gso, frame, room)) == 0) {
            size = nic->kind->receive_frame(nic, &gso->frame, now_us);
            if (size < 0)
                break;
            gso_begin(gso, (enum ps_layer)nic->layer);
        }
    }
    count_received(nic, size);
    return size;
}

ssize_t nic_receive_frame(ps_nic *nic, struct nic_frame *frame, uint64_t now_us)
{
    ssize_t size;
    if (nic->kind->receive_frame != NULL) {
        size = nic->kind->receive_frame(nic, frame, now_us);
    } else {
        frame->offload = (struct ps_offload){0};
        size = nic->kind->receive(nic, frame->bytes, PS_FRAME_SIZE, now_us);
        frame->size = size > 0 ? (size_t)size : 0;
    }
    count_received(nic, size);
    return size;
}

ssize_t nic_receive_pieces(ps_nic *nic, const struct ps_piece *pieces, size_t count,
                           struct nic_frame *frame)
{
    ssize_t size = nic->kind->receive_pieces(nic, pieces, count, frame);
    count_received(nic, size);
    return size;
}

void nic_set_offloads(ps_nic *nic, uint32_t offloads)
{
    if (nic->kind->set_offloads != NULL)
        nic->kind->set_offloads(nic, offloads & nic->offloads);
}

uint64_t nic_deadline(ps_nic *nic)
{
    return nic->kind->deadline != NULL ? nic->kind->deadline(nic) : UINT64_MAX;
}

int nic_descriptor(ps_nic *nic)
{
    return nic->kind->descriptor != NULL ? nic->kind->descriptor(nic) : -1;
}

void nic_watch(ps_nic *nic, void (*wake)(void *argument), void *argument)
{
    (nic->kind->set_wake != NULL ? nic->kind->set_wake : nic_set_wake)(nic, wake, argument);
}

void nic_leave(ps_nic *nic)
{
    nic_watch(nic, NULL, nic);
}

enum nic_ear nic_ear(ps_nic *nic, uint64_t *taken)
{
    return nic->kind->ear != NULL ? nic->kind->ear(nic, taken) : NIC_HEARD;
}

bool nic_is_carried_here(ps_nic *nic)
{
    return nic->kind->is_carried_here != NULL && nic->kind->is_carried_here(nic);
}

bool nic_is_outside(ps_nic *nic)
{
    return nic->kind->is_outside == NULL || nic->kind->is_outside(nic);
}

void nic_forget(ps_nic *nic)
{
    if (nic->kind->forget != NULL)
        nic->kind->forget(nic);
}

bool nic_is_left(ps_nic *nic)
{
    pthread_mutex_lock(&nic->wake_lock);
    bool left = nic->wake == NULL && nic->wake_argument != NULL;
    pthread_mutex_unlock(&nic->wake_lock);
    return left;
}

enum nic_ear nic_ear_of(ps_nic *far, struct frame_queue *queue, uint64_t *taken)
{
    pthread_mutex_lock(&far->wake_lock);
    bool watched = far->wake != NULL, left = !watched && far->wake_argument != NULL;
    pthread_mutex_unlock(&far->wake_lock);
    if (left)
        return NIC_DEAF;
    /* A reader that doesn't wait leaves nothing in it. */
    bool empty = frame_queue_is_empty(queue, taken);
    return watched || empty ? NIC_HEARD : NIC_UNHEARD;
}

ps_nic *nic_hold(ps_nic *nic)
{
    atomic_fetch_add(&nic->references, 1);
    return nic;
}

void nic_release(ps_nic *nic)
{
    if (atomic_fetch_sub(&nic->references, 1) > 1)
        return;
    pthread_mutex_destroy(&nic->wake_lock);
    drop_gso(nic);
    nic->kind->destroy(nic);
}

/* --- for Python ------------------------------------------------------------------------------ */

void ps_nic_release(ps_nic *nic)
{
    nic_release(nic);
}

uint32_t ps_nic_offloads(ps_nic *nic)
{
    return nic->offloads;
}

void ps_nic_describe(ps_nic *nic, uint32_t *mtu, uint8_t *layer, bool *has_mac, uint8_t *mac,
                     bool *attached)
{
    *mtu = nic->mtu;
    *layer = nic->layer;
    *has_mac = nic->has_mac;
    memcpy(mac, nic->mac, sizeof nic->mac);
    *attached = atomic_load(&nic->attached);
}

unsigned ps_nic_queues(ps_nic *nic, unsigned *place)
{
    *place = nic->queues != NULL ? queues_place(nic->queues) : 0;
    return nic->queues != NULL ? queues_count(nic->queues) : 1;
}

int ps_nic_statistics(ps_nic *nic, struct ps_nic_statistics *out)
{
    /* Read beside the driver that counts: each number is whole, their sum may be a frame off. */
    *out = (struct ps_nic_statistics){
        .sent_frames = nic->counters.sent_frames,
        .sent_bytes = nic->counters.sent_bytes,
        .received_frames = nic->counters.received_frames,
        .received_bytes = nic->counters.received_bytes,
        .dropped_frames = nic->counters.dropped_frames,
    };
    return 0;
}

/* A call on a NIC without a Stack holds it for its duration. */
int ps_nic_transmit(ps_nic *nic, const uint8_t *frame, size_t size, uint64_t now_us)
{
    const struct ps_piece piece = {(uint8_t *)(uintptr_t)frame, size};
    if (size == 0 || size > PS_FRAME_SIZE)
        return -EMSGSIZE;
    if (atomic_exchange(&nic->attached, true))
        return -EBUSY;
    int result = nic_transmit(nic, &piece, 1, size, now_us);
    atomic_store(&nic->attached, false);
    return result;
}

int64_t ps_nic_receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    if (atomic_exchange(&nic->attached, true))
        return -EBUSY;
    ssize_t result = nic_receive(nic, frame, room, now_us);
    atomic_store(&nic->attached, false);
    return result;
}
