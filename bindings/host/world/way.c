/*
 * One direction of a link.
 *
 * A frame meets its fate when it is sent: it is lost, or waits for the rate, perhaps changed or
 * doubled, and arrives at the far end when its delay is over. Each direction has its own generator,
 * so that the same frames meet the same fate whatever goes the other way.
 *
 * Whoever sends isn't told of what is dropped, as if the queue were a hop further: TCP is to find
 * out by what is missing.
 *
 * In a queue that is first in, first out each frame's departure is known when it is sent, so that
 * no event of the World's is needed for it. With CoDel it depends on what happens meanwhile: there
 * the frames are kept, and the next one is taken when the transmitter is free.
 */
#include "world/way.h"

#include <errno.h>

#include "world/store.h"

void way_tell(const struct way *way, enum ps_trace_kind what, uint64_t number, uint64_t now_us)
{
    struct trace *trace = &way->world->trace;
    if (trace_is_on(trace) && !way->settings.unseen)
        trace_write(trace, &(struct ps_trace){now_us, way->stream, number, what, 0}, NULL, 0);
}

/* To the frame that is being sent. */
static bool happens(struct way *way, enum ps_choice_kind kind, double probability)
{
    struct ps_choice choice = {kind, way->stream, way->counts.sent, 1};
    return tape_happens(&way->world->tape, choice, &way->generator, probability);
}

static bool is_lost(struct way *way)
{
    if (way->planned_count > 0) {
        struct ps_choice choice = {PS_CHOICE_LOST, way->stream, way->counts.sent, way->planned & 1};
        way->planned >>= 1;
        way->planned_count--;
        return tape_value(&way->world->tape, choice) != 0;
    }
    const struct ps_link *settings = &way->settings;
    double turns = way->is_bad ? settings->to_good : settings->to_bad;
    if (turns > 0 && generator_uniform(&way->generator) < turns)
        way->is_bad = !way->is_bad;
    return happens(way, PS_CHOICE_LOST, way->is_bad ? settings->bad_loss : settings->loss);
}

static uint64_t up_to_us(uint64_t time_ns)
{
    return (time_ns + 999) / 1000;
}

/* By how much its delay is longer than the link's, or shorter. */
static int64_t late_us(struct way *way, const struct travelling *frame)
{
    const struct ps_link *settings = &way->settings;
    struct tape *tape = &way->world->tape;
    bool replays = tape_replays(tape);
    int64_t late_us = replays ? 0 : delay_drift_us(&way->delay, &way->generator);
    if (!replays && settings->reorder > 0 && generator_uniform(&way->generator) < settings->reorder)
        late_us += (int64_t)settings->reorder_delay_us;
    struct ps_choice choice = {frame->is_twin ? PS_CHOICE_TWIN_LATE : PS_CHOICE_LATE, way->stream,
                               frame->number, late_us};
    return late_us != 0 || replays ? tape_value(tape, choice) : 0;
}

/* It has been sent. */
static int travel(struct way *way, struct travelling *frame, uint64_t sent_ns)
{
    uint64_t sent_us = up_to_us(sent_ns);
    int64_t takes_us = (int64_t)delay_us(&way->delay, sent_us) + late_us(way, frame);
    frame->due_us = sent_us + (takes_us > 0 ? (uint64_t)takes_us : 0);
    return way->pass(way, frame);
}

/* --- first in, first out ------------------------------------------------------------------- */

static void forget_departed(struct way *way, uint64_t now_us)
{
    while (way->waiting > 0 && way->departures[way->first].begins_ns <= now_us * 1000) {
        way->waiting_bytes -= way->departures[way->first].size;
        way->first = (way->first + 1) % way->room;
        way->waiting--;
    }
}

static int send_in_order(struct way *way, struct travelling *frame, uint64_t now_us)
{
    const struct ps_queue *queue = &way->settings.queue;
    forget_departed(way, now_us);
    uint64_t begins_ns = transmitter_begin_ns(&way->transmitter, now_us);
    if (begins_ns > now_us * 1000) {
        if (way->waiting >= queue->most_frames ||
            (queue->most_bytes > 0 && way->waiting_bytes + frame->size > queue->most_bytes)) {
            way->counts.overflowed++;
            way_tell(way, PS_TRACE_OVERFLOWED, frame->number, now_us);
            world_free(frame);
            return 0;
        }
        uint32_t place = (way->first + way->waiting++) % way->room;
        way->departures[place] = (struct departure){begins_ns, (uint32_t)frame->size};
        way->waiting_bytes += frame->size;
    }
    return travel(way, frame, transmitter_send_ns(&way->transmitter, begins_ns, frame->size));
}

/* --- with CoDel ---------------------------------------------------------------------------- */

static void tell_of(struct codel *codel, const struct travelling *frame, enum ps_trace_kind what)
{
    struct way *way = (struct way *)((char *)codel - offsetof(struct way, codel));
    way->counts.overflowed += what == PS_TRACE_OVERFLOWED;
    way->counts.dropped += what == PS_TRACE_DROPPED;
    way->counts.marked += what == PS_TRACE_MARKED;
    way_tell(way, what, frame->number, world_now_us(way->world));
}

void way_go_on(struct way *way, uint64_t now_us)
{
    struct codel *codel = &way->codel;
    while (codel->frames > 0) {
        uint64_t free_us = up_to_us(transmitter_begin_ns(&way->transmitter, now_us));
        if (free_us > now_us && world_set(way->world, &way->departure, free_us) == 0)
            return;
        struct travelling *frame = codel_take(codel, now_us);
        if (frame == NULL)
            return; /* the rest was dropped */
        /* Since it waited it begins when the one before has ended, which may be less than a
         * microsecond ago. */
        uint64_t begins_ns = transmitter_begin_ns(&way->transmitter, frame->due_us);
        travel(way, frame, transmitter_send_ns(&way->transmitter, begins_ns, frame->size));
    }
}

/* --- settings ------------------------------------------------------------------------------ */

static void empty(struct way *way, void (*each)(struct way *way, struct travelling *frame))
{
    struct travelling *frame;
    world_set(way->world, &way->departure, NOT_DUE);
    while (way->codel.flows != NULL && (frame = codel_take_out(&way->codel)) != NULL)
        each(way, frame);
}

static void drop(struct way *way, struct travelling *frame)
{
    way->counts.cut_off++;
    way_tell(way, PS_TRACE_CUT_OFF, frame->number, world_now_us(way->world));
    world_free(frame);
}

static void send_on(struct way *way, struct travelling *frame)
{
    send_in_order(way, frame, world_now_us(way->world));
}

static void send_again(struct way *way, struct travelling *frame)
{
    codel_put(&way->codel, frame, frame->due_us);
}

static int set_room(struct way *way, uint32_t room)
{
    if (room == way->room)
        return 0;
    struct departure *departures = world_allocate(way->world, room * sizeof *departures);
    if (departures == NULL)
        return -ENOMEM;
    /* Those for whom there is no room any more leave as it was promised. */
    uint32_t kept = way->waiting < room ? way->waiting : room;
    way->waiting_bytes = 0;
    for (uint32_t i = 0; i < kept; i++) {
        departures[i] = way->departures[(way->first + i) % way->room];
        way->waiting_bytes += departures[i].size;
    }
    world_free(way->departures);
    way->departures = departures;
    way->waiting = kept;
    way->first = 0;
    way->room = room;
    return 0;
}

static bool is_same(const struct ps_queue *one, const struct ps_queue *other)
{
    return one->kind == other->kind && one->ecn == other->ecn &&
           one->most_frames == other->most_frames && one->most_bytes == other->most_bytes &&
           one->target_us == other->target_us && one->interval_us == other->interval_us &&
           one->flows == other->flows && one->quantum_bytes == other->quantum_bytes;
}

static int set_queue(struct way *way, const struct ps_queue *settings)
{
    if (is_same(&way->codel.settings, settings))
        return 0;
    struct codel made = way->codel;
    made.new = made.old = (struct codel_list){0};
    made.frames = 0;
    made.bytes = 0;
    made.flows = NULL;
    made.settings = *settings;
    int result = 0;
    if (settings->kind == PS_QUEUE_FIFO)
        result = set_room(way, settings->most_frames);
    else
        result = codel_open(&made, settings);
    if (result < 0)
        return result;
    /* What waits goes on waiting, in the new way. */
    struct codel left = way->codel;
    way->codel = made;
    way->settings.queue = *settings;
    while (left.frames > 0) {
        struct travelling *frame = codel_take_out(&left);
        (made.flows != NULL ? send_again : send_on)(way, frame);
    }
    codel_close(&left);
    return 0;
}

int way_set(struct way *way, const struct ps_link *settings)
{
    uint64_t now_us = world_now_us(way->world);
    if (settings->queue.most_frames == 0 ||
        (settings->queue.kind != PS_QUEUE_FIFO &&
         (settings->queue.flows == 0 || settings->queue.quantum_bytes == 0)))
        return -EINVAL;
    int result = delay_set(&way->delay, settings, now_us);
    if (result == 0)
        result = transmitter_set(&way->transmitter, settings, now_us);
    if (result == 0)
        result = set_queue(way, &settings->queue);
    if (result < 0)
        return result;
    way->settings = *settings;
    way->settings.delays_us = NULL;
    way->settings.opportunities_ms = NULL;
    if (settings->down)
        empty(way, drop);
    way_go_on(way, now_us); /* perhaps at another rate */
    return 0;
}

int way_open(struct way *way, ps_world *world, enum ps_layer layer, uint32_t mtu, uint64_t seed,
             const struct ps_link *settings)
{
    way->world = world;
    way->stream = seed;
    generator_seed(&way->generator, seed);
    way->codel.world = way->delay.world = way->transmitter.world = world;
    way->codel.tell = tell_of;
    way->codel.layer = layer;
    way->codel.largest_bytes = mtu + (layer == PS_LAYER_ETHERNET ? 14 : 0);
    way->codel.salt = seed ^ UINT64_C(14695981039346656037);
    int result = way_set(way, settings);
    if (result < 0)
        way_close(way);
    return result;
}

void way_close(struct way *way)
{
    empty(way, drop);
    codel_close(&way->codel);
    delay_clear(&way->delay);
    transmitter_clear(&way->transmitter);
    world_free(way->departures);
}

/* --- sending ------------------------------------------------------------------------------- */

/* Which bit of the frame that is being sent is to be flipped, from 1; 0: none. */
static uint64_t wrong_bit(struct way *way, size_t total)
{
    struct tape *tape = &way->world->tape;
    double corrupt = way->settings.corrupt;
    struct ps_choice choice = {PS_CHOICE_CORRUPT, way->stream, way->counts.sent, 0};
    if (!tape_replays(tape) && corrupt > 0 && generator_uniform(&way->generator) < corrupt)
        choice.value = 1 + (int64_t)(generator_next(&way->generator) % (total * 8));
    if (choice.value == 0 && !tape_replays(tape))
        return 0;
    int64_t bit = tape_value(tape, choice);
    return bit > 0 ? 1 + (uint64_t)(bit - 1) % (total * 8) : 0;
}

static int send_once(struct way *way, struct travelling *frame, uint64_t now_us)
{
    if (!transmitter_has_limit(&way->transmitter))
        return travel(way, frame, now_us * 1000);
    if (way->settings.queue.kind == PS_QUEUE_FIFO)
        return send_in_order(way, frame, now_us);
    codel_put(&way->codel, frame, now_us);
    if (way->departure.place == 0)
        way_go_on(way, now_us);
    return 0;
}

int way_send(struct way *way, const struct ps_piece *pieces, size_t count, size_t total,
             bool is_plugged, uint64_t now_us)
{
    uint64_t number = ++way->counts.sent;
    struct trace *trace = &way->world->trace;
    world_note_progress(way->world);
    if (trace_is_on(trace) && !way->settings.unseen)
        trace_write(trace, &(struct ps_trace){now_us, way->stream, number, PS_TRACE_SENT, 0},
                    pieces, count);
    if (way->settings.down || !is_plugged) {
        way->counts.cut_off++;
        way_tell(way, PS_TRACE_CUT_OFF, number, now_us);
        return 0;
    }
    if (is_lost(way)) {
        way->counts.lost++;
        way_tell(way, PS_TRACE_LOST, number, now_us);
        return 0;
    }
    struct travelling *frame = travelling_copy(way->world, pieces, count, total);
    if (frame == NULL)
        return -ENOBUFS;
    frame->number = number;
    uint64_t bit = wrong_bit(way, total);
    if (bit-- > 0) {
        frame->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        way->counts.corrupted++;
        way_tell(way, PS_TRACE_CORRUPTED, number, now_us);
    }
    struct travelling *twin = NULL;
    if (happens(way, PS_CHOICE_DUPLICATE, way->settings.duplicate)) {
        const struct ps_piece whole = {frame->bytes, frame->size};
        twin = travelling_copy(way->world, &whole, 1, total);
    }
    if (twin != NULL) {
        way->counts.duplicated++;
        way_tell(way, PS_TRACE_DUPLICATED, number, now_us);
        twin->number = number;
        twin->is_twin = true;
    }
    int result = send_once(way, frame, now_us);
    if (twin != NULL)
        send_once(way, twin, now_us);
    return result;
}
