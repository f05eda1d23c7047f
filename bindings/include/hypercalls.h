/*
 * What a protocol stack asks of its host.
 *
 * The table names no particular stack. `user` comes first in every call and is the
 * host's own. A call returns 0 (or a count) or a negative errno; values come back
 * through pointers. An engine makes these calls only while one of its own entry points
 * (engine.h) is running, on that thread, and the host never calls back into the engine
 * from inside one.
 */
#ifndef PYSTACK_HYPERCALLS_H
#define PYSTACK_HYPERCALLS_H

#include <stddef.h>
#include <stdint.h>

/* Raised whenever a field changes meaning or place; host and engine refuse a mismatch. */
#define PS_HYPERCALLS_VERSION 2

/* One contiguous piece of a frame or of a message. */
struct ps_piece {
    uint8_t *base;
    size_t size;
};

/* The largest MTU: a frame's bytes, header included, fit in 16 bits. */
#define PS_MTU_MAXIMUM 65500
/* The longest frame that a NIC may carry: 64 KiB of IP packet and an Ethernet header. */
#define PS_FRAME_SIZE 65600
/* The longest of all, which only a far end takes that has agreed to PS_OFFLOAD_TCP4_LONGEST. */
#define PS_LONGEST_SIZE 327680
/* frame_room: into so many pieces at most. */
#define PS_ROOM_PIECES 20
/* Bytes in front of a frame that is given away, for the engine's own use. */
#define PS_FRAME_HEADROOM 128

/* The work on a frame that its sender may leave undone, where the other side agrees to do it. */
enum ps_offloads {
    PS_OFFLOAD_CHECKSUM = 1, /* finish the checksum of a TCP or UDP packet, or do without */
    PS_OFFLOAD_TCP4 = 2,     /* cut a long TCP packet into segments */
    PS_OFFLOAD_TCP6 = 4,
    PS_OFFLOAD_UDP = 8, /* cut a long UDP packet into datagrams, over IPv4 and IPv6 */
    /* With _TCP4: the packet may be of more than 64 KiB, its frame of PS_LONGEST_SIZE. IPv4's
     * length field can't say so much, and is 0 then (Linux's BIG TCP). */
    PS_OFFLOAD_TCP4_LONGEST = 16,
};

enum ps_checksum {
    PS_CHECKSUM_WHOLE,   /* it is in the frame */
    PS_CHECKSUM_PARTIAL, /* only its pseudo header's part is */
    PS_CHECKSUM_TRUSTED, /* it is in the frame, and was verified */
};

/* What was left undone in one frame. All zero: nothing, it is an ordinary one. */
struct ps_offload {
    uint8_t checksum;      /* enum ps_checksum */
    uint8_t segmentation;  /* PS_OFFLOAD_TCP4, _TCP6 or _UDP: to be cut; then PARTIAL, too */
    uint16_t segment_size; /* bytes of payload in each segment or datagram but the last */
    /* PARTIAL: the checksum covers what follows `start` bytes of the frame, and stands
     * `offset` bytes after that. */
    uint16_t checksum_start, checksum_offset;
};

enum ps_log_level { PS_LOG_DEBUG, PS_LOG_INFO, PS_LOG_WARNING, PS_LOG_ERROR };

#ifndef PYSTACK_FOR_PYTHON
/* The kinds of event. */
enum ps_event_kind {
    PS_EVENT_SOCKET,    /* id: the socket's handle; mask: its readiness, PS_READY_* */
    PS_EVENT_RESOLVE,   /* id: the request that has ended; mask: 0 */
    PS_EVENT_INTERFACE, /* id: the interface's index; addresses, link or lease changed */
};

struct ps_hypercalls {
    uint32_t version; /* PS_HYPERCALLS_VERSION */
    uint32_t size;    /* sizeof(struct ps_hypercalls) */
    void *user;

    /* Microseconds since any fixed moment; never goes back. Read once per entry. */
    int (*clock)(void *user, uint64_t *now_us);

    /* Memory aligned for any type, or *out = NULL and -ENOMEM. */
    int (*memory_allocate)(void *user, size_t size, void **out);
    void (*memory_free)(void *user, void *memory);

    /* Fills all of `size` bytes. */
    int (*random)(void *user, void *out, size_t size);

    /* One outgoing frame of `total` bytes in `count` pieces, borrowed for the call.
     * -ENOBUFS when the wire has no room (the frame is dropped, as a NIC would). */
    int (*frame_out)(void *user, uint32_t interface, const struct ps_piece *pieces, size_t count,
                     size_t total);

    /* The same for a frame of which something is left undone; only on interfaces that were
     * added with those `offloads` (engine.h). */
    int (*frame_out_offload)(void *user, uint32_t interface, const struct ps_piece *pieces,
                             size_t count, size_t total, const struct ps_offload *offload);

    /* Something that a waiter may care about. Must only record and wake. */
    void (*event)(void *user, enum ps_event_kind kind, int64_t id, uint32_t mask);

    /* One line of text, without a newline. */
    void (*log)(void *user, enum ps_log_level level, const char *text);

    /* The engine can't go on. Does not return: the host unwinds to the entry point, and
     * never enters this instance again except to drop it. */
    void (*panic)(void *user, const char *text);
};
#endif

#endif
