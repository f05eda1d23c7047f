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
#define PS_HYPERCALLS_VERSION 1

/* One contiguous piece of a frame or of a message. */
struct ps_piece {
    uint8_t *base;
    size_t size;
};

enum ps_log_level { PS_LOG_DEBUG, PS_LOG_INFO, PS_LOG_WARNING, PS_LOG_ERROR };

/* What an event is about. */
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

    /* Something that a waiter may care about. Must only record and wake. */
    void (*event)(void *user, enum ps_event_kind kind, int64_t id, uint32_t mask);

    /* One line of text, without a newline. */
    void (*log)(void *user, enum ps_log_level level, const char *text);

    /* The engine can't go on. Does not return: the host unwinds to the entry point, and
     * never enters this instance again except to drop it. */
    void (*panic)(void *user, const char *text);
};

#endif
