/*
 * What the C and the Go of this engine share. cgo reads this file too, so there are no
 * prototypes of Go's own functions in it: those are in entries.h.
 */
#ifndef PYSTACK_GVISOR_SHIM_H
#define PYSTACK_GVISOR_SHIM_H

#include "engine.h"

/* Frames and events are handed over many at a time: no call between Go and C is free. */
struct shim_frame {
    uint32_t interface, size;
};

/* An instance as the host holds it. Go can't be unwound by longjmp, so that what ends in
 * `panic` is only noted here while Go runs, and said by the C around it afterwards. */
struct ps_engine {
    struct ps_hypercalls hypercalls;
    uint64_t now_us;      /* the clock as it was when the host entered */
    uint64_t deadline_us; /* when Go wants to run again */
    uintptr_t instance;   /* the Go value, as a runtime/cgo.Handle */
    bool panicked;
    char panic_text[256];
    uint8_t *incoming; /* frames from the wire, end to end, that Go has not seen yet */
    struct shim_frame *incoming_frames;
    size_t incoming_size, incoming_count;
};

struct shim_event {
    int64_t id;
    uint32_t kind, mask;
};

int shim_random(struct ps_engine *engine, void *out, size_t size);
/* The frames lie end to end in `bytes`. */
void shim_frames_out(struct ps_engine *engine, uint8_t *bytes, const struct shim_frame *frames,
                     size_t count);
void shim_events(struct ps_engine *engine, const struct shim_event *events, size_t count);

#endif
