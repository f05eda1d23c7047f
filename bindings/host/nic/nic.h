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

#include "base/arena.h"
#include "engine.h"

typedef struct ps_nic ps_nic;

/* A frame in its own block (frame_block_create in arena.h), and what is undone in it. */
struct nic_frame {
    uint8_t *bytes;
    size_t size;
    struct ps_offload offload;
};

/* The far end of a NIC: gone; gone unless it takes something soon; there. */
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
    /* Of an IPv4 address: whether the far end is who has it, and doesn't hand on what goes there.
     * Of NICs with PS_OFFLOAD_TCP4_LONGEST. NULL: it does. */
    bool (*is_far_end)(ps_nic *nic, const uint8_t address[4], uint64_t now_us);
    /* The same into pieces of PS_FRAME_SIZE bytes at least, at most PS_ROOM_PIECES; all but `bytes`
     * of the frame is filled in. NULL: it has its frames in blocks. */
    ssize_t (*receive_pieces)(ps_nic *nic, const struct ps_piece *pieces, size_t count,
                              struct nic_frame *frame);
    /* What may be undone in frames from now on; some may still come otherwise. At first
     * nothing. NULL: `receive_frame` gives whatever there is. */
    void (*set_offloads)(ps_nic *nic, uint32_t offloads);
    /* When to call `receive` again although nothing woke the driver. UINT64_MAX or NULL: never. */
    uint64_t (*deadline)(ps_nic *nic);
    /* The descriptor whose readability means that `receive` has a frame; -1: it wakes the
     * driver itself. NULL: -1. */
    int (*descriptor)(ps_nic *nic);
    /* Tells the NIC whom to wake (NULL: no one). NULL member: nic_set_wake_default. */
    void (*set_wake)(ps_nic *nic, void (*wake)(void *argument), void *argument);
    /* Whether the far end takes what is sent. NULL: unknown, taken to.
     * Adds what was taken so far. */
    enum nic_ear (*ear)(ps_nic *nic, uint64_t *taken);
    /* Whether the frames are carried by the very thread that asks, which must not wait for them.
     * NULL: no. */
    bool (*is_carried_here)(ps_nic *nic);
    /* Whether its frames come from outside of any World. NULL: yes. */
    bool (*is_outside)(ps_nic *nic);
    /* In a child process: closes the descriptors that would keep the parent's device busy when it
     * has ended, and does nothing to the device. NULL: there are none. */
    void (*forget)(ps_nic *nic);
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
    void *wake_argument;   /* without `wake`: not NULL if a Stack has left it */
    struct gso *gso;       /* of a frame that is being given out in ordinary ones */
    struct queues *queues; /* with whom its device is shared (queues.h); a wrapper: inner's */
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
/* The same into pieces, for a kind that can. */
ssize_t nic_receive_pieces(ps_nic *nic, const struct ps_piece *pieces, size_t count,
                           struct nic_frame *frame);
void nic_set_offloads(ps_nic *nic, uint32_t offloads);
uint64_t nic_deadline(ps_nic *nic);
int nic_descriptor(ps_nic *nic);
void nic_watch(ps_nic *nic, void (*wake)(void *argument), void *argument);
/* The driver goes; frames that arrive from now on are not taken. */
void nic_leave(ps_nic *nic);
bool nic_is_left(ps_nic *nic); /* whether one has gone, and none has come since */
enum nic_ear nic_ear(ps_nic *nic, uint64_t *taken);
bool nic_is_carried_here(ps_nic *nic);
bool nic_is_outside(ps_nic *nic);
/* In a child process: a Stack of the parent's has it. */
void nic_forget(ps_nic *nic);
/* The same of the far end of a wire in memory, which takes its frames out of `queue`. */
enum nic_ear nic_ear_of(ps_nic *far, struct frame_queue *queue, uint64_t *taken);

int nic_init(ps_nic *nic, const struct ps_nic_kind *kind, enum ps_layer layer, uint32_t mtu);
void nic_set_wake(ps_nic *nic, void (*wake)(void *argument), void *argument);
/* Wakes the driver that has this NIC, if one has. From any thread. */
void nic_wake(ps_nic *nic);
ps_nic *nic_hold(ps_nic *nic);
void nic_release(ps_nic *nic); /* destroys with the last reference */

#endif
