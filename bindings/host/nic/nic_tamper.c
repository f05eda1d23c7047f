/*
 * A wrapper whose frames go through a function of Python's, in both directions: it may change,
 * drop, delay and multiply them.
 *
 * The Stack's lock keeps one frame at a time in here, so that the function runs without a lock of
 * this NIC's, and may ask for its statistics. Only what other threads put in needs one.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "api/nic_api.h"
#include "base/pieces.h"
#include "nic/due_queue.h"
#include "nic/nic.h"
#include "nic/nic_python.h"
#include "nic/nic_wrapper.h"

/* Frames that the function may swallow in one call, before others have their turn. */
#define MOST_AT_ONCE 1024

struct tamper {
    struct nic_wrapper wrapper;
    void *python;
    int (*function)(void *python, ps_nic *nic, bool outgoing, const uint8_t *frame, size_t size,
                    uint64_t now_us);
    size_t queue_frames;
    struct due_queue outgoing, incoming;
    uint64_t now_us;      /* while the function runs, and after that when it last did */
    size_t put;           /* frames, by the function that runs */
    pthread_mutex_t lock; /* guards the next two */
    struct due_queue injected_outgoing, injected_incoming;
    uint8_t scratch[PS_FRAME_SIZE];
};

static void lose(struct tamper *self)
{
    self->wrapper.nic.counters.dropped_frames++;
}

/* Has the function decide on the frame in `scratch`. */
static int decide(struct tamper *self, bool outgoing, size_t size, uint64_t now_us)
{
    self->now_us = now_us;
    self->put = 0;
    int result =
        self->function(self->python, &self->wrapper.nic, outgoing, self->scratch, size, now_us);
    if (self->put == 0 && (result >= 0 || !outgoing)) /* else who sends it counts it */
        lose(self);
    return result;
}

static void send_due(struct tamper *self, struct due_queue *queue, uint64_t now_us)
{
    struct due_frame *frame;
    while ((frame = due_queue_take(queue, now_us)) != NULL) {
        const struct ps_piece piece = {frame->bytes, frame->size};
        if (nic_transmit(self->wrapper.inner, &piece, 1, frame->size, now_us) < 0)
            lose(self);
        free(frame);
    }
}

static struct due_queue take_injected(struct tamper *self, struct due_queue *queue)
{
    pthread_mutex_lock(&self->lock);
    struct due_queue taken = *queue;
    *queue = (struct due_queue){0};
    pthread_mutex_unlock(&self->lock);
    return taken;
}

static void let_out(struct tamper *self, uint64_t now_us)
{
    send_due(self, &self->outgoing, now_us);
    struct due_queue injected = take_injected(self, &self->injected_outgoing);
    send_due(self, &injected, now_us);
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct tamper *self = (struct tamper *)nic;
    if (total > sizeof self->scratch)
        return -EMSGSIZE;
    int result = decide(self, true, pieces_copy(self->scratch, pieces, count), now_us);
    let_out(self, now_us);
    return result;
}

static struct due_frame *take_incoming(struct tamper *self, uint64_t now_us)
{
    struct due_frame *frame = due_queue_take(&self->incoming, now_us);
    if (frame != NULL)
        return frame;
    pthread_mutex_lock(&self->lock);
    frame = due_queue_take(&self->injected_incoming, now_us);
    pthread_mutex_unlock(&self->lock);
    return frame;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    struct tamper *self = (struct tamper *)nic;
    for (int i = 0; i < MOST_AT_ONCE; i++) {
        let_out(self, now_us);
        struct due_frame *first = take_incoming(self, now_us);
        if (first != NULL) {
            ssize_t size = first->size <= room ? (ssize_t)first->size : -EAGAIN;
            if (size > 0)
                memcpy(frame, first->bytes, first->size);
            free(first);
            return size;
        }
        ssize_t size =
            nic_receive(self->wrapper.inner, self->scratch, sizeof self->scratch, now_us);
        if (size < 0)
            return size;
        /* Negative without a Stack alone; with one what it raises waits for that one's next call.
         */
        int result = decide(self, false, (size_t)size, now_us);
        if (result < 0)
            return result;
    }
    nic_wake(nic); /* there may be more */
    return -EAGAIN;
}

static uint64_t deadline(ps_nic *nic)
{
    struct tamper *self = (struct tamper *)nic;
    pthread_mutex_lock(&self->lock);
    bool any = self->injected_outgoing.frames > 0 || self->injected_incoming.frames > 0;
    pthread_mutex_unlock(&self->lock);
    const uint64_t moments[] = {nic_deadline(self->wrapper.inner),
                                due_queue_deadline(&self->outgoing),
                                due_queue_deadline(&self->incoming)};
    uint64_t soonest = any ? 0 : UINT64_MAX;
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++)
        if (moments[i] < soonest)
            soonest = moments[i];
    return soonest;
}

/* A Stack that leaves takes along what was put in while it was there. */
static void set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument)
{
    struct tamper *self = (struct tamper *)nic;
    if (wake == NULL && argument != NULL) {
        struct due_queue injected = take_injected(self, &self->injected_outgoing);
        send_due(self, &injected, self->now_us);
    }
    nic_wrapper_set_wake(nic, wake, argument);
}

static void destroy(ps_nic *nic)
{
    struct tamper *self = (struct tamper *)nic;
    python_nics_add(-1);
    due_queue_empty(&self->outgoing);
    due_queue_empty(&self->incoming);
    due_queue_empty(&self->injected_outgoing);
    due_queue_empty(&self->injected_incoming);
    pthread_mutex_destroy(&self->lock);
    nic_wrapper_free(&self->wrapper);
}

static const struct ps_nic_kind kind = {
    .name = "tamper",
    .transmit = transmit,
    .receive = receive,
    .deadline = deadline,
    .descriptor = nic_wrapper_descriptor,
    .set_wake = set_wake,
    .ear = nic_wrapper_ear,
    .is_carried_here = nic_wrapper_is_carried_here,
    .is_outside = nic_wrapper_is_outside,
    .forget = nic_wrapper_forget,
    .destroy = destroy,
};

ps_nic *ps_nic_tamper(ps_nic *inner,
                      int (*function)(void *python, ps_nic *nic, bool outgoing,
                                      const uint8_t *frame, size_t size, uint64_t now_us),
                      void *python, size_t queue_frames, int *error)
{
    struct tamper *self = nic_wrapper_create(sizeof *self, &kind, inner, error);
    if (self == NULL)
        return NULL;
    pthread_mutex_init(&self->lock, NULL);
    python_nics_add(1);
    self->function = function;
    self->python = python;
    self->queue_frames = queue_frames;
    return &self->wrapper.nic;
}

int ps_nic_tamper_put(ps_nic *nic, bool outgoing, const uint8_t *frame, size_t size,
                      uint64_t later_us)
{
    struct tamper *self = (struct tamper *)nic;
    if (size == 0 || size > PS_FRAME_SIZE)
        return -EMSGSIZE;
    self->put++;
    int result = due_queue_put(outgoing ? &self->outgoing : &self->incoming, frame, size,
                               self->now_us + later_us, self->queue_frames);
    if (result < 0)
        lose(self);
    return 0;
}

int ps_nic_tamper_inject(ps_nic *nic, bool outgoing, const uint8_t *frame, size_t size)
{
    struct tamper *self = (struct tamper *)nic;
    if (nic->kind != &kind)
        return -EINVAL;
    if (size == 0 || size > PS_FRAME_SIZE)
        return -EMSGSIZE;
    pthread_mutex_lock(&self->lock);
    int result = due_queue_put(outgoing ? &self->injected_outgoing : &self->injected_incoming,
                               frame, size, 0, self->queue_frames);
    pthread_mutex_unlock(&self->lock);
    if (result == 0)
        nic_wake(nic);
    return result;
}
