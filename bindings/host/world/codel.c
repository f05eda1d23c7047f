/*
 * CoDel (RFC 8289): packets that have waited longer than the target for an interval are dropped, or
 * marked, at their queue's head, the more often the longer that lasts.
 *
 * FQ-CoDel (RFC 8290) is many such queues, one a flow, that take turns by deficit round robin;
 * flows that have just begun come first. CoDel alone is the same with one queue, and drops the
 * newcomer when that is full, not the head of the longest.
 */
#include "world/codel.h"

#include <errno.h>
#include <math.h>

#include "nic/queues.h"
#include "world/ecn.h"
#include "world/store.h"

/* RFC 8290 4.1.3: so many at once from the longest queue. */
#define MOST_DROPPED_AT_ONCE 64
/* RFC 8289 5.3: a drop rate is remembered for so many intervals. */
#define INTERVALS_REMEMBERED 16

/* --- which flow ---------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(1099511628211); /* FNV-1a */
    return hash;
}

static uint64_t mix_address(uint64_t hash, const struct ps_address *address)
{
    const uint8_t port[2] = {(uint8_t)(address->port >> 8), (uint8_t)address->port};
    hash = mix(hash, address->bytes, sizeof address->bytes);
    return mix(hash, port, sizeof port);
}

static struct codel_flow *flow_of(struct codel *self, const struct travelling *frame)
{
    if (self->settings.flows == 1)
        return &self->flows[0];
    struct ps_flow flow;
    flow_destiny(frame->bytes, frame->size, self->layer, &flow);
    uint64_t hash = mix(self->salt, &flow.protocol, 1);
    hash = mix_address(mix_address(hash, &flow.local), &flow.remote);
    return &self->flows[(hash ^ hash >> 32) % self->settings.flows];
}

/* --- lists of flows ------------------------------------------------------------------------ */

static void append(struct codel_list *list, struct codel_flow *flow)
{
    flow->next = NULL;
    flow->is_listed = true;
    if (list->last != NULL)
        list->last->next = flow;
    else
        list->first = flow;
    list->last = flow;
}

static struct codel_flow *remove_first(struct codel_list *list)
{
    struct codel_flow *flow = list->first;
    list->first = flow->next;
    if (list->first == NULL)
        list->last = NULL;
    flow->is_listed = false;
    return flow;
}

/* --- one queue ----------------------------------------------------------------------------- */

static struct travelling *pop(struct codel *self, struct codel_flow *flow)
{
    struct travelling *frame = flow->first;
    if (frame == NULL)
        return NULL;
    flow->first = frame->next;
    if (flow->first == NULL)
        flow->last = NULL;
    flow->bytes -= frame->size;
    self->bytes -= frame->size;
    self->frames--;
    return frame;
}

/* The head, and whether it has waited long enough to be dropped. */
static struct travelling *examine(struct codel *self, struct codel_flow *flow, uint64_t now_us,
                                  bool *may_drop)
{
    struct travelling *frame = pop(self, flow);
    *may_drop = false;
    if (frame == NULL || now_us - frame->due_us < self->settings.target_us ||
        flow->bytes <= self->largest_bytes) {
        flow->first_above_us = 0;
    } else if (flow->first_above_us == 0) {
        flow->first_above_us = now_us + self->settings.interval_us;
    } else {
        *may_drop = now_us >= flow->first_above_us;
    }
    return frame;
}

static uint64_t next_drop_us(const struct codel *self, uint64_t last_us, uint32_t count)
{
    return last_us + (uint64_t)((double)self->settings.interval_us / sqrt(count));
}

/* Marks the frame, or drops it: false. */
static bool mark(struct codel *self, struct travelling *frame)
{
    if (self->settings.ecn && ecn_mark(frame->bytes, frame->size, self->layer)) {
        self->tell(self, frame, PS_TRACE_MARKED);
        return true;
    }
    self->tell(self, frame, PS_TRACE_DROPPED);
    world_free(frame);
    return false;
}

static struct travelling *take_from(struct codel *self, struct codel_flow *flow, uint64_t now_us)
{
    bool may_drop;
    struct travelling *frame = examine(self, flow, now_us, &may_drop);
    if (flow->is_dropping) {
        flow->is_dropping = may_drop;
        while (flow->is_dropping && now_us >= flow->drop_next_us) {
            flow->count++;
            bool marked = mark(self, frame);
            if (!marked) {
                frame = examine(self, flow, now_us, &may_drop);
                flow->is_dropping = may_drop;
            }
            if (flow->is_dropping)
                flow->drop_next_us = next_drop_us(self, flow->drop_next_us, flow->count);
            if (marked)
                break;
        }
    } else if (may_drop) {
        if (!mark(self, frame))
            frame = examine(self, flow, now_us, &may_drop);
        flow->is_dropping = true;
        /* It was here not long ago: that cycle's rate is where this one begins. */
        uint32_t grown = flow->count - flow->last_count;
        bool recent = (int64_t)(now_us - flow->drop_next_us) <
                      (int64_t)(INTERVALS_REMEMBERED * self->settings.interval_us);
        flow->count = grown > 1 && recent ? grown : 1;
        flow->drop_next_us = next_drop_us(self, now_us, flow->count);
        flow->last_count = flow->count;
    }
    return frame;
}

/* --- all of them --------------------------------------------------------------------------- */

int codel_open(struct codel *self, const struct ps_queue *settings)
{
    self->flows = world_allocate(self->world, settings->flows * sizeof *self->flows);
    if (self->flows == NULL)
        return -ENOMEM;
    self->settings = *settings;
    return 0;
}

void codel_close(struct codel *self)
{
    world_free(self->flows);
    self->flows = NULL;
    self->new = self->old = (struct codel_list){0};
}

static bool has_room(const struct codel *self, uint32_t frames, uint64_t bytes)
{
    return self->frames + frames <= self->settings.most_frames &&
           (self->settings.most_bytes == 0 || self->bytes + bytes <= self->settings.most_bytes);
}

static void drop_from_longest(struct codel *self)
{
    struct codel_flow *longest = &self->flows[0];
    for (uint32_t i = 1; i < self->settings.flows; i++)
        if (self->flows[i].bytes > longest->bytes)
            longest = &self->flows[i];
    uint64_t enough = longest->bytes / 2, dropped = 0;
    for (int i = 0; i < MOST_DROPPED_AT_ONCE && longest->first != NULL; i++) {
        struct travelling *frame = pop(self, longest);
        dropped += frame->size;
        self->tell(self, frame, PS_TRACE_OVERFLOWED);
        world_free(frame);
        if (dropped >= enough)
            break;
    }
}

void codel_put(struct codel *self, struct travelling *frame, uint64_t now_us)
{
    bool is_fair = self->settings.kind == PS_QUEUE_FQ_CODEL;
    if (!is_fair && !has_room(self, 1, frame->size)) {
        self->tell(self, frame, PS_TRACE_OVERFLOWED);
        world_free(frame);
        return;
    }
    struct codel_flow *flow = flow_of(self, frame);
    frame->due_us = now_us;
    frame->next = NULL;
    if (flow->last != NULL)
        flow->last->next = frame;
    else
        flow->first = frame;
    flow->last = frame;
    flow->bytes += frame->size;
    self->bytes += frame->size;
    self->frames++;
    if (!flow->is_listed) {
        flow->deficit_bytes = self->settings.quantum_bytes;
        append(&self->new, flow);
    }
    while (!has_room(self, 0, 0))
        drop_from_longest(self);
}

struct travelling *codel_take(struct codel *self, uint64_t now_us)
{
    for (;;) {
        struct codel_list *list = self->new.first != NULL ? &self->new : &self->old;
        struct codel_flow *flow = list->first;
        if (flow == NULL)
            return NULL;
        if (flow->deficit_bytes <= 0) {
            flow->deficit_bytes += self->settings.quantum_bytes;
            append(&self->old, remove_first(list));
            continue;
        }
        struct travelling *frame = take_from(self, flow, now_us);
        if (frame != NULL) {
            flow->deficit_bytes -= (int64_t)frame->size;
            return frame;
        }
        remove_first(list);
        /* RFC 8290 4.2: or a flow could stay new for ever. */
        if (list == &self->new && self->old.first != NULL)
            append(&self->old, flow);
    }
}

struct travelling *codel_take_out(struct codel *self)
{
    for (uint32_t i = 0; i < self->settings.flows && self->frames > 0; i++)
        if (self->flows[i].first != NULL)
            return pop(self, &self->flows[i]);
    return NULL;
}
