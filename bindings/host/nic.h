/*
 * One end of a wire, as a Stack's driver sees it.
 *
 * A NIC is used by one Stack at a time; the Stack's lock serialises `transmit`, `receive`
 * and `deadline`. The far end (another Stack, Python, the kernel) may put frames in at any
 * time from any thread, and then wakes the driver. Wrappers (capture, impairment) hold
 * another NIC and pass through.
 */
#ifndef PYSTACK_HOST_NIC_H
#define PYSTACK_HOST_NIC_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "engine.h"

typedef struct ps_nic ps_nic;

/* The largest frame a NIC may carry: 64 KiB of IP packet and an Ethernet header. */
#define PS_FRAME_SIZE (65536 + 64)

/* A frame in a block of its own (frame_block_create in arena.h), and what is undone in it. */
struct nic_frame {
    uint8_t *bytes;
    size_t size;
    struct ps_offload offload;
};

/* Who hears a NIC: nobody any more; nobody, unless they take something soon; somebody. */
enum nic_ear { NIC_DEAF, NIC_UNHEARD, NIC_HEARD };

struct ps_nic_kind {
    const char *name;
    /* Queues or writes one frame; never waits. -ENOBUFS: no room, the frame is dropped. */
    int (*transmit)(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us);
    /* One frame into `room` bytes: its length; -EAGAIN: none now; another negative errno:
     * the wire is gone (the driver takes the link down and stops asking). */
    ssize_t (*receive)(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us);
    /* For NICs with `offloads`, which need no `receive`: the same for a frame of which something
     * is undone. The frame that is received may come in another block, in exchange for the one
     * that was there. */
    int (*transmit_offload)(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                            const struct ps_offload *offload, uint64_t now_us);
    ssize_t (*receive_frame)(ps_nic *nic, struct nic_frame *frame, uint64_t now_us);
    /* What may be undone in frames from now on; some may still come otherwise. At first
     * nothing. NULL: `receive_frame` gives whatever there is. */
    void (*set_offloads)(ps_nic *nic, uint32_t offloads);
    /* When to call `receive` again although nothing woke the driver; UINT64_MAX: never. NULL: never. */
    uint64_t (*deadline)(ps_nic *nic);
    /* The descriptor whose readability means that `receive` has a frame; -1: it wakes the
     * driver itself. NULL: -1. */
    int (*descriptor)(ps_nic *nic);
    /* Tells the NIC whom to wake, or nobody (NULL). NULL member: nic_set_wake_default. */
    void (*set_wake)(ps_nic *nic, void (*wake)(void *argument), void *argument);
    /* Whether somebody takes what is sent. NULL: that can't be told, and it is taken that they do.
     * Adds what was taken so far. */
    enum nic_ear (*ear)(ps_nic *nic, uint64_t *taken);
    void (*destroy)(ps_nic *nic);
};

struct ps_nic_counters {
    uint64_t sent_frames, sent_bytes, received_frames, received_bytes, dropped_frames;
};

struct ps_nic {
    const struct ps_nic_kind *kind;
    uint32_t mtu;  /* bytes of IP packet */
    uint8_t layer; /* enum ps_layer */
    /* enum ps_offloads: what its far end agrees to do, or to have done. A wrapper has none, so
     * that it sees ordinary frames both ways: see nic_receive. */
    uint32_t offloads;
    bool has_mac;
    uint8_t mac[6];
    atomic_bool attached; /* a Stack or a wrapper holds it */
    struct ps_nic_counters counters;
    _Atomic int references;
    pthread_mutex_t wake_lock; /* guards wake and wake_argument against a detach */
    void (*wake)(void *argument);
    void *wake_argument;       /* without `wake`: not NULL if a Stack has left it */
    struct segments *segments; /* of a frame that is being given out in ordinary ones */
    struct queues *queues;     /* with whom its device is shared (queues.h); a wrapper: inner's */
};

struct frame_queue;

/* nic.c: what all kinds share. */

/* The kind's own, counted. */
int nic_transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                 uint64_t now_us);
int nic_transmit_offload(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                         const struct ps_offload *offload, uint64_t now_us);
/* An ordinary frame: what is undone in what comes is done first. */
ssize_t nic_receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us);
/* A frame as it comes. */
ssize_t nic_receive_frame(ps_nic *nic, struct nic_frame *frame, uint64_t now_us);
void nic_set_offloads(ps_nic *nic, uint32_t offloads);
uint64_t nic_deadline(ps_nic *nic);
int nic_descriptor(ps_nic *nic);
void nic_watch(ps_nic *nic, void (*wake)(void *argument), void *argument);
/* The driver goes, and what comes from now on nobody will take. */
void nic_leave(ps_nic *nic);
enum nic_ear nic_ear(ps_nic *nic, uint64_t *taken);
/* The same of the far end of a wire in memory, which takes its frames out of `queue`. */
enum nic_ear nic_ear_of(ps_nic *far, struct frame_queue *queue, uint64_t *taken);
/* Makes `nic` a wrapper of `inner`, which it holds: -EBUSY when somebody else does. */
int nic_wrap(ps_nic *nic, const struct ps_nic_kind *kind, ps_nic *inner);
void nic_unwrap(ps_nic *nic, ps_nic *inner);

int nic_init(ps_nic *nic, const struct ps_nic_kind *kind, enum ps_layer layer, uint32_t mtu);
void nic_set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument);
/* Wakes the driver that has this NIC, if one has. From any thread. */
void nic_wake(ps_nic *nic);
ps_nic *nic_hold(ps_nic *nic);
void nic_release(ps_nic *nic); /* destroys with the last reference */

/* nic_descriptor.c: what the far end of a descriptor with virtio's header does, and who tells it
 * what we do. */
#define VIRTIO_HEADER 10
void descriptor_nic_configure(ps_nic *nic, uint32_t offloads,
                              int (*configure)(int fd, uint32_t offloads));
/* One queue of several: what its device does is settled. `queues` goes with the NIC. */
void descriptor_nic_share(ps_nic *nic, uint32_t offloads, struct queues *queues);

/* How many there are whose far end is Python (nic_python.c). */
int python_nics(void);

/* A bounded queue of frames between threads (frame_queue.c). */
struct frame_queue *frame_queue_create(size_t most_frames, size_t most_bytes);
void frame_queue_destroy(struct frame_queue *queue);
/* -ENOBUFS: full. *was_empty tells the caller whether a wake is due. offload: NULL for an
 * ordinary frame. */
int frame_queue_put(struct frame_queue *queue, const struct ps_piece *pieces, size_t count,
                    size_t total, const struct ps_offload *offload, bool *was_empty);
/* -EAGAIN: empty; a frame longer than `room` is dropped and counted. */
ssize_t frame_queue_take(struct frame_queue *queue, uint8_t *frame, size_t room);
/* The same into a block, or in another block for it. */
ssize_t frame_queue_take_frame(struct frame_queue *queue, struct nic_frame *frame);
/* Adds how many were taken so far. */
bool frame_queue_is_empty(struct frame_queue *queue, uint64_t *taken);

/* A frame, cut into ordinary ones (segments.c). */
struct segments {
    struct nic_frame frame;
    size_t network, transport, header; /* where IP, TCP or UDP, and their payload begin */
    size_t payload, done;
    uint32_t count;
    bool is_over;
};
/* Begins with what is in `frame`. One that contradicts itself gives no segment. */
void segments_begin(struct segments *self, enum ps_layer layer);
/* The next one's size; 0: there are no more. */
size_t segments_next(struct segments *self, uint8_t *out, size_t room);

/* The sum of 16-bit words (RFC 1071), not folded; at most 64 KiB. */
uint32_t checksum_sum(const uint8_t *data, size_t size);
uint16_t checksum_fold(uint64_t sum);
/* Finishes the TCP, UDP or ICMPv6 checksum of an Ethernet frame (partial_checksum.c). */
void partial_checksum_finish(uint8_t *frame, size_t size);

/* A small seeded generator (xoshiro256**), for impairment and the arena's injected faults. */
struct generator {
    uint64_t state[4];
};
void generator_seed(struct generator *generator, uint64_t seed);
uint64_t generator_next(struct generator *generator);
double generator_uniform(struct generator *generator); /* [0, 1) */

#endif
