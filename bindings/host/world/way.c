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
#include <stdlib.h>

static bool happens(struct way *way, double probability)
{
    /* A number is drawn only for what can happen, so that one setting doesn't move another. */
    return probability > 0 && generator_uniform(&way->generator) < probability;
}

static bool is_lost(struct way *way)
{
    const struct ps_link *settings = &way->settings;
    if (happens(way, way->is_bad ? settings->to_good : settings->to_bad))
        way->is_bad = !way->is_bad;
    return happens(way, way->is_bad ? settings->bad_loss : settings->loss);
}

static uint64_t up_to_us(uint64_t time_ns)
{
    return (time_ns + 999) / 1000;
}

/* It has been sent. */
static int travel(struct way *way, struct travelling *frame, uint64_t sent_ns)
{
    const struct ps_link *settings = &way->settings;
    frame->due_us = up_to_us(sent_ns);
    frame->due_us += delay_us(&way->delay, &way->generator, frame->due_us);
    if (happens(way, settings->reorder))
        frame->due_us += settings->reorder_delay_us;
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
            free(frame);
            return 0;
        }
        uint32_t place = (way->first + way->waiting++) % way->room;
        way->departures[place] = (struct departure){begins_ns, (uint32_t)frame->size};
        way->waiting_bytes += frame->size;
    }
    return travel(way, frame, transmitter_send_ns(&way->transmitter, begins_ns, frame->size));
}

/* --- with CoDel ---------------------------------------------------------------------------- */

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
    free(frame);
}

static void send_on(struct way *way, struct travelling *frame)
{
    send_in_order(way, frame, ps_world_now_us(way->world));
}

static void send_again(struct way *way, struct travelling *frame)
{
    codel_put(&way->codel, frame, frame->due_us);
}

static int set_room(struct way *way, uint32_t room)
{
    if (room == way->room)
        return 0;
    struct departure *departures = calloc(room, sizeof *departures);
    if (departures == NULL)
        return -ENOMEM;
    /* Those for whom there is no room any more leave as it was promised. */
    uint32_t kept = way->waiting < room ? way->waiting : room;
    way->waiting_bytes = 0;
    for (uint32_t i = 0; i < kept; i++) {
        departures[i] = way->departures[(way->first + i) % way->room];
        way->waiting_bytes += departures[i].size;
    }
    free(way->departures);
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
    uint64_t now_us = ps_world_now_us(way->world);
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
    generator_seed(&way->generator, seed);
    way->codel.counts = &way->counts;
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
    free(way->departures);
}

/* --- sending ------------------------------------------------------------------------------- */

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
    way->counts.sent++;
    world_note_progress(way->world);
    if (way->settings.down || !is_plugged) {
        way->counts.cut_off++;
        return 0;
    }
    if (is_lost(way)) {
        way->counts.lost++;
        return 0;
    }
    struct travelling *frame = travelling_copy(pieces, count, total);
    if (frame == NULL)
        return -ENOBUFS;
    if (happens(way, way->settings.corrupt)) {
        uint64_t bit = generator_next(&way->generator) % (total * 8);
        frame->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        way->counts.corrupted++;
    }
    struct travelling *twin = NULL;
    if (happens(way, way->settings.duplicate)) {
        const struct ps_piece whole = {frame->bytes, frame->size};
        twin = travelling_copy(&whole, 1, total);
        way->counts.duplicated += twin != NULL;
    }
    int result = send_once(way, frame, now_us);
    if (twin != NULL)
        send_once(way, twin, now_us);
    return result;
}
