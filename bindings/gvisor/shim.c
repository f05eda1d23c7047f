/*
 * The table that the host finds the engine by, over the functions of the Go side.
 *
 * An entry into Go costs a microsecond and more, so `enter`, `leave` and a `run` without
 * anything due stay in C: Go settles and hands over frames and events in each of its calls.
 * Incoming frames are gathered until something else is asked for.
 */
#include <errno.h>
#include <string.h>

#include "entries.h"

/* What is gathered before Go is entered, at most. One frame always fits. */
#define MOST_FRAMES 128
#define MOST_BYTES (2 * PS_MTU_MAXIMUM)

/* Called by Go, on the thread that the host has entered on. */
int shim_random(struct ps_engine *self, void *out, size_t size)
{
    return self->hypercalls.random(self->hypercalls.user, out, size);
}

void shim_frames_out(struct ps_engine *self, uint8_t *bytes, const struct shim_frame *frames,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct ps_piece whole = {bytes, frames[i].size};
        /* One that the wire has no room for is dropped, as a NIC would. */
        (void)self->hypercalls.frame_out(self->hypercalls.user, frames[i].interface, &whole, 1,
                                         whole.size);
        bytes += whole.size;
    }
}

void shim_events(struct ps_engine *self, const struct shim_event *events, size_t count)
{
    for (size_t i = 0; i < count; i++)
        self->hypercalls.event(self->hypercalls.user, (enum ps_event_kind)events[i].kind,
                               events[i].id, events[i].mask);
}

/* What Go gave, unless it panicked: that is passed on here, where no Go frame is in the way. */
static int64_t outcome(struct ps_engine *self, int64_t result)
{
    if (self->panicked)
        self->hypercalls.panic(self->hypercalls.user, self->panic_text);
    return result;
}

static int deliver(struct ps_engine *self)
{
    return self->incoming_count > 0 ? (int)outcome(self, gvFramesIn(self)) : 0;
}

static int frame_in(ps_engine *self, uint32_t index, const uint8_t *frame, size_t size)
{
    if (size > MOST_BYTES)
        return -EMSGSIZE;
    if (self->incoming_count == MOST_FRAMES || self->incoming_size + size > MOST_BYTES)
        deliver(self);
    memcpy(self->incoming + self->incoming_size, frame, size);
    self->incoming_frames[self->incoming_count++] = (struct shim_frame){index, (uint32_t)size};
    self->incoming_size += size;
    return 0;
}

static void drop(struct ps_engine *self)
{
    self->hypercalls.memory_free(self->hypercalls.user, self->incoming_frames);
    self->hypercalls.memory_free(self->hypercalls.user, self->incoming);
    self->hypercalls.memory_free(self->hypercalls.user, self);
}

/* The instance with its room for frames, or NULL. */
static struct ps_engine *create(const struct ps_hypercalls *hypercalls)
{
    const size_t sizes[] = {sizeof(struct ps_engine), MOST_BYTES,
                            MOST_FRAMES * sizeof(struct shim_frame)};
    void *blocks[3] = {NULL};
    for (size_t i = 0; i < 3; i++)
        if (hypercalls->memory_allocate(hypercalls->user, sizes[i], &blocks[i]) < 0) {
            while (i-- > 0)
                hypercalls->memory_free(hypercalls->user, blocks[i]);
            return NULL;
        }
    struct ps_engine *self = blocks[0];
    *self = (struct ps_engine){
        .hypercalls = *hypercalls,
        .deadline_us = UINT64_MAX,
        .incoming = blocks[1],
        .incoming_frames = blocks[2],
    };
    return self;
}

static int open_engine(const struct ps_hypercalls *hypercalls, ps_engine **out)
{
    if (hypercalls->version != PS_HYPERCALLS_VERSION || hypercalls->size != sizeof *hypercalls)
        return -EPROTO;
    struct ps_engine *self = create(hypercalls);
    if (self == NULL)
        return -ENOMEM;
    int result = hypercalls->clock(hypercalls->user, &self->now_us);
    if (result == 0)
        result = (int)gvOpen(self);
    if (self->panicked) {
        char text[sizeof self->panic_text];
        memcpy(text, self->panic_text, sizeof text);
        drop(self);
        hypercalls->panic(hypercalls->user, text);
    }
    if (result < 0) {
        drop(self);
        return result;
    }
    *out = self;
    return 0;
}

static int close_engine(ps_engine *self, bool abrupt)
{
    deliver(self);
    int result = (int)outcome(self, gvClose(self, abrupt));
    drop(self);
    return result;
}

static void abandon_engine(ps_engine *self)
{
    gvAbandon(self);
    drop(self);
}

static int enter_engine(ps_engine *self)
{
    uint64_t now_us;
    int result = self->hypercalls.clock(self->hypercalls.user, &now_us);
    if (result == 0)
        self->now_us = now_us;
    return result;
}

static int leave_engine(ps_engine *self, uint64_t *deadline_us)
{
    int result = deliver(self);
    *deadline_us = self->deadline_us;
    return result;
}

static int run_engine(ps_engine *self)
{
    deliver(self); /* which runs the timers too */
    return self->deadline_us > self->now_us ? 0 : (int)outcome(self, gvRun(self));
}

/* Calls that netstack has nothing for. */

static int lease_get(ps_engine *self, uint32_t index, struct ps_lease *out)
{
    (void)self, (void)index;
    memset(out, 0, sizeof *out);
    return 0;
}

static int service_set(ps_engine *self, uint32_t index, enum ps_service service, bool on,
                       const char *name)
{
    (void)name;
    deliver(self);
    return (int)outcome(self, gvServiceSet(self, index, service, on));
}

static int64_t resolve_start(ps_engine *self, const char *name, enum ps_family family)
{
    (void)self, (void)name, (void)family;
    return -EOPNOTSUPP;
}

static int resolve_result(ps_engine *self, int64_t request, struct ps_address *out, size_t room)
{
    (void)self, (void)request, (void)out, (void)room;
    return -ENOENT;
}

static int resolve_cancel(ps_engine *self, int64_t request)
{
    (void)self, (void)request;
    return -ENOENT;
}

/* The rest is handed on as it is. */
#define HAND_ON(type, name, parameters, arguments) \
    static type name(ps_engine *self, PS_UNPACK parameters) \
    { \
        deliver(self); \
        return (type)outcome(self, gv_##name(self, PS_UNPACK arguments)); \
    }
HANDED_ON(HAND_ON)

static int fail_engine(ps_engine *self, const char *text)
{
    deliver(self);
    return (int)outcome(self, gvFail(self, text));
}

#ifndef GVISOR_RELEASE
#define GVISOR_RELEASE "unknown"
#endif

__attribute__((visibility("default"))) const struct ps_engine_table ps_engine_table = {
    .version = PS_ENGINE_VERSION,
    .size = sizeof(struct ps_engine_table),
    .name = "gvisor",
    .release = GVISOR_RELEASE,
    .flags = PS_ENGINE_SHARED,
    .open = open_engine,
    .close = close_engine,
    .abandon = abandon_engine,
    .enter = enter_engine,
    .leave = leave_engine,
    .run = run_engine,
    .fail = fail_engine,
#define ENTRY(type, name, parameters, arguments) .name = name,
    PS_ENGINE_CALLS(ENTRY).address_prefer = address_prefer};
