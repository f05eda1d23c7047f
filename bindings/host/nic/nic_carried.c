/*
 * A NIC whose frames a program carries, many at a time: an event loop, most likely, which must
 * neither be entered for each frame nor wait.
 *
 * The program takes what goes out, and puts in what has come. Where it has found nothing to take,
 * or no room for what it puts, its bell rings as soon as that changes. A full queue refuses frames,
 * so that TCP keeps them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "nic/nic_python.h"
#include "api/nic_api.h"
#include "nic/frame_queue.h"
#include "nic/nic.h"

#define IP4_HEADER 20
#define IP6_HEADER 40
#define LENGTHS 4 /* the longest prefix of a frame */
/* Frames up to this size find room when longer ones don't: handshakes, acknowledgements, questions
 * don't stand back behind a bulk of data. */
#define SMALL 256

struct carried_nic {
    ps_nic nic;
    int bell; /* a descriptor of ours that shares the program's open file */
    struct frame_queue *out, *in;
    atomic_bool wants_frames, wants_room;
    _Atomic int error; /* how the wire has ended; 0: it has not */
    atomic_bool has_carrier;
    _Atomic(pthread_t) carrier;
};

static _Atomic int count;

int carried_nics(void)
{
    return atomic_load(&count);
}

static struct carried_nic *carried(ps_nic *nic)
{
    return (struct carried_nic *)nic;
}

static void ring(struct carried_nic *self)
{
    const uint64_t one = 1;
    /* It can only fail for being full, and then it rings. */
    ssize_t wrote = write(self->bell, &one, sizeof one);
    (void)wrote;
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t pieces_count, size_t total,
                    uint64_t now_us)
{
    (void)now_us;
    struct carried_nic *self = carried(nic);
    bool was_empty = false;
    if (atomic_load(&self->error) != 0)
        return -ENETDOWN;
    if (total > PS_FRAME_SIZE)
        return -EMSGSIZE;
    if (total > SMALL && !frame_queue_is_half_empty(self->out))
        return -ENOBUFS;
    int result = frame_queue_put(self->out, pieces, pieces_count, total, NULL, &was_empty);
    if (result == 0 && atomic_exchange(&self->wants_frames, false))
        ring(self);
    return result;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    struct carried_nic *self = carried(nic);
    /* Asked before: what came before the end is received before it. */
    int error = atomic_load(&self->error);
    ssize_t result = frame_queue_take(self->in, frame, room);
    if (result == -EAGAIN && error != 0)
        return -error;
    if (atomic_load(&self->wants_room) && frame_queue_is_half_empty(self->in) &&
        atomic_exchange(&self->wants_room, false))
        ring(self);
    return result;
}

static bool is_carried_here(ps_nic *nic)
{
    const struct carried_nic *self = carried(nic);
    return atomic_load(&self->has_carrier) &&
           pthread_equal(atomic_load(&self->carrier), pthread_self());
}

static enum nic_ear ear(ps_nic *nic, uint64_t *taken)
{
    struct carried_nic *self = carried(nic);
    bool is_empty = frame_queue_is_empty(self->out, taken);
    if (atomic_load(&self->error) != 0 || is_carried_here(nic))
        return NIC_DEAF;
    return is_empty ? NIC_HEARD : NIC_UNHEARD;
}

static void forget(ps_nic *nic)
{
    struct carried_nic *self = carried(nic);
    close(self->bell);
    self->bell = -1;
}

/* A Stack that lets it go rings, too: the program may have waited for that to end. */
static void set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument)
{
    nic_set_wake(nic, wake, argument);
    if (wake == NULL)
        ring(carried(nic));
}

static void destroy(ps_nic *nic)
{
    struct carried_nic *self = carried(nic);
    atomic_fetch_sub(&count, 1);
    if (self->bell >= 0)
        close(self->bell);
    if (self->out != NULL)
        frame_queue_destroy(self->out);
    if (self->in != NULL)
        frame_queue_destroy(self->in);
    free(self);
}

static const struct ps_nic_kind kind = {
    .name = "carried",
    .transmit = transmit,
    .receive = receive,
    .set_wake = set_wake,
    .ear = ear,
    .is_carried_here = is_carried_here,
    .forget = forget,
    .destroy = destroy,
};

ps_nic *ps_nic_carried(uint8_t layer, uint32_t mtu, size_t queue_frames, size_t queue_bytes,
                       int bell, int *error)
{
    struct carried_nic *self = calloc(1, sizeof *self);
    int result = self == NULL ? -ENOMEM : nic_init(&self->nic, &kind, (enum ps_layer)layer, mtu);
    if (result < 0) {
        free(self);
        *error = -result;
        return NULL;
    }
    atomic_fetch_add(&count, 1);
    atomic_store(&self->wants_frames, true);
    self->bell = fcntl(bell, F_DUPFD_CLOEXEC, 0);
    *error = self->bell < 0 ? errno : ENOMEM;
    self->out = frame_queue_create(2 * queue_frames, 2 * queue_bytes); /* half of it for SMALL */
    /* Whatever comes finds room some time, or the program would wait for it for ever. */
    self->in =
        frame_queue_create(queue_frames, queue_bytes > PS_FRAME_SIZE ? queue_bytes : PS_FRAME_SIZE);
    if (self->bell < 0 || self->out == NULL || self->in == NULL) {
        nic_release(&self->nic);
        return NULL;
    }
    return &self->nic;
}

bool ps_nic_carried_is_held(ps_nic *nic)
{
    pthread_mutex_lock(&nic->wake_lock);
    bool left = nic->wake == NULL && nic->wake_argument != NULL;
    pthread_mutex_unlock(&nic->wake_lock);
    return atomic_load(&nic->attached) && !left;
}

void ps_nic_carried_here(ps_nic *nic)
{
    struct carried_nic *self = carried(nic);
    atomic_store(&self->carrier, pthread_self());
    atomic_store(&self->has_carrier, true);
}

void ps_nic_carried_end(ps_nic *nic, int error)
{
    struct carried_nic *self = carried(nic);
    int none = 0;
    atomic_compare_exchange_strong(&self->error, &none, error);
    atomic_store(&self->has_carrier, false);
    nic_wake(nic);
}

/* --- taking ---------------------------------------------------------------------------------- */

static size_t prefix_size(enum ps_framing framing)
{
    return framing == PS_FRAMING_LENGTH_16 ? 2 : framing == PS_FRAMING_LENGTH_32 ? 4 : 0;
}

static void put_length(uint8_t *out, size_t bytes, size_t length)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(length >> 8 * (bytes - 1 - i));
}

int64_t ps_nic_carried_take(ps_nic *nic, enum ps_framing framing, uint8_t *out, size_t room,
                            uint32_t *sizes, size_t most, size_t *total)
{
    struct carried_nic *self = carried(nic);
    size_t prefix = prefix_size(framing), done = 0, frames = 0;
    while (frames < most && room - done >= LENGTHS + PS_FRAME_SIZE) {
        ssize_t size = frame_queue_take(self->out, out + done + prefix, PS_FRAME_SIZE);
        if (size == -EAGAIN) {
            uint64_t taken = 0;
            if (frames > 0)
                break;
            atomic_store(&self->wants_frames, true);
            if (frame_queue_is_empty(self->out, &taken))
                break;
            atomic_store(&self->wants_frames, false); /* one came meanwhile */
            continue;
        }
        if (size <= 0 || (framing == PS_FRAMING_LENGTH_16 && size > UINT16_MAX))
            continue;
        put_length(out + done, prefix, (size_t)size);
        sizes[frames++] = (uint32_t)(prefix + (size_t)size);
        done += prefix + (size_t)size;
    }
    *total = done;
    return (int64_t)frames;
}

/* --- putting --------------------------------------------------------------------------------- */

/* The length of the frame that begins here, without its prefix; 0: not enough of it is here to
 * tell; -EPROTO: nothing can begin so. */
static int64_t frame_size(enum ps_framing framing, const uint8_t *bytes, size_t size)
{
    size_t prefix = prefix_size(framing), length = 0;
    if (framing == PS_FRAMING_DATAGRAM)
        return size > PS_FRAME_SIZE ? -EMSGSIZE : (int64_t)size;
    if (prefix != 0) {
        if (size < prefix)
            return 0;
        for (size_t i = 0; i < prefix; i++)
            length = length << 8 | bytes[i];
        return length == 0 || length > PS_FRAME_SIZE ? -EPROTO : (int64_t)length;
    }
    unsigned version = bytes[0] >> 4;
    if (version != 4 && version != 6)
        return -EPROTO;
    if (size < 6)
        return 0;
    if (version == 6)
        return IP6_HEADER + (bytes[4] << 8 | bytes[5]);
    length = (size_t)(bytes[2] << 8 | bytes[3]);
    return length < IP4_HEADER ? -EPROTO : (int64_t)length;
}

int64_t ps_nic_carried_put(ps_nic *nic, enum ps_framing framing, const uint8_t *bytes, size_t size,
                           bool *is_full)
{
    struct carried_nic *self = carried(nic);
    size_t prefix = prefix_size(framing), done = 0;
    int64_t result = 0;
    *is_full = false;
    while (done < size) {
        int64_t length = frame_size(framing, bytes + done, size - done);
        if (length < 0)
            result = length;
        if (length <= 0 || prefix + (size_t)length > size - done)
            break;
        const struct ps_piece piece = {(uint8_t *)(uintptr_t)bytes + done + prefix, (size_t)length};
        bool was_empty = false;
        if (frame_queue_put(self->in, &piece, 1, (size_t)length, NULL, &was_empty) < 0) {
            if (*is_full)
                break;
            /* Once more, when we will be told of room: it may just have been made. */
            atomic_store(&self->wants_room, true);
            *is_full = true;
            continue;
        }
        if (*is_full)
            atomic_store(&self->wants_room, false);
        *is_full = false;
        done += prefix + (size_t)length;
    }
    return result < 0 ? result : (int64_t)done;
}

void ps_nic_carried_wake(ps_nic *nic)
{
    nic_wake(nic);
}
