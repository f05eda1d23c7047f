/*
 * A link between two NICs in a World.
 *
 * What an end sends meets its fate at once: it is lost, or waits, perhaps changed or doubled, in
 * order of the moment at which it arrives at the far end. Each direction has its own generator, so
 * that the same frames meet the same fate whatever goes the other way.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/nic.h"
#include "world/world.h"

struct travelling {
    struct travelling *next;
    uint64_t due_us;
    uint64_t number; /* of those that its end has sent, from 1 */
    bool is_twin;
    size_t size;
    uint8_t bytes[];
};

struct link_end {
    ps_nic nic;
    struct link *link;
    int side;

    /* What it sends. */
    struct ps_link settings;
    struct ps_link_counts counts;
    struct generator generator;
    uint64_t stream;   /* its name on the tape */
    bool is_bad;       /* the state of Gilbert and Elliott's model */
    uint64_t free_us;  /* when the last frame that waits for the rate has been sent */
    uint64_t *departs; /* when each of those that wait begins to be: a ring */
    uint32_t departures, next_departure, most_departures;

    /* What comes to it. */
    struct world_event arrival; /* of the first */
    struct travelling *first, *last;
};

struct link {
    pthread_mutex_t lock;
    ps_world *world;
    struct link_end *ends[2]; /* NULL: unplugged */
};

/* What becomes of a frame that it has sent. */
static void tell(struct link_end *end, enum ps_trace_kind what, uint64_t number, uint64_t now_us)
{
    struct trace *trace = &end->link->world->trace;
    if (trace_is_on(trace))
        trace_write(trace, &(struct ps_trace){now_us, end->stream, number, what, 0}, NULL, 0);
}

/* To the frame that is being sent. */
static bool happens(struct link_end *end, enum ps_choice_kind kind, double probability)
{
    struct ps_choice choice = {kind, end->stream, end->counts.sent, 1};
    return tape_happens(&end->link->world->tape, choice, &end->generator, probability);
}

static bool is_lost(struct link_end *end)
{
    const struct ps_link *settings = &end->settings;
    double turns = end->is_bad ? settings->to_good : settings->to_bad;
    if (turns > 0 && generator_uniform(&end->generator) < turns)
        end->is_bad = !end->is_bad;
    return happens(end, PS_CHOICE_LOST, end->is_bad ? settings->bad_loss : settings->loss);
}

/* --- the rate ------------------------------------------------------------------------------ */

static uint64_t sending_us(const struct ps_link *settings, size_t size)
{
    uint64_t rate = settings->rate_bits_per_second;
    return rate == 0 ? 0 : ((uint64_t)size * 8 * 1000000 + rate - 1) / rate;
}

/* When the frame has been sent; 0: there is no room to wait. */
static uint64_t queue(struct link_end *end, size_t size, uint64_t now_us)
{
    if (end->settings.rate_bits_per_second == 0)
        return now_us;
    while (end->departures > 0 && end->departs[end->next_departure] <= now_us) {
        end->next_departure = (end->next_departure + 1) % end->most_departures;
        end->departures--;
    }
    uint64_t begins_us = end->free_us > now_us ? end->free_us : now_us;
    if (begins_us > now_us) {
        if (end->departures >= end->most_departures)
            return 0;
        end->departs[(end->next_departure + end->departures++) % end->most_departures] = begins_us;
    }
    end->free_us = begins_us + sending_us(&end->settings, size);
    return end->free_us;
}

/* --- on its way ----------------------------------------------------------------------------- */

/* By how much its delay is longer than the link's. */
static int64_t late_us(struct link_end *end, const struct travelling *frame)
{
    const struct ps_link *settings = &end->settings;
    struct tape *tape = &end->link->world->tape;
    uint64_t late_us = 0;
    if (!tape_replays(tape) && settings->jitter_us > 0)
        late_us += (uint64_t)(generator_uniform(&end->generator) * (double)settings->jitter_us);
    if (!tape_replays(tape) && settings->reorder > 0 &&
        generator_uniform(&end->generator) < settings->reorder)
        late_us += settings->reorder_delay_us;
    struct ps_choice choice = {frame->is_twin ? PS_CHOICE_TWIN_LATE : PS_CHOICE_LATE, end->stream,
                               frame->number, (int64_t)late_us};
    return late_us > 0 || tape_replays(tape) ? tape_value(tape, choice) : 0;
}

static uint64_t arrives(struct link_end *end, const struct travelling *frame, uint64_t sent_us)
{
    int64_t takes_us = (int64_t)end->settings.delay_us + late_us(end, frame);
    return sent_us + (takes_us > 0 ? (uint64_t)takes_us : 0);
}

static void insert(struct link_end *to, struct travelling *frame)
{
    struct travelling **link = &to->first;
    if (to->first != NULL && to->last->due_us <= frame->due_us)
        link = &to->last->next; /* most come behind all others */
    while (*link != NULL && (*link)->due_us <= frame->due_us)
        link = &(*link)->next;
    frame->next = *link;
    *link = frame;
    if (frame->next == NULL)
        to->last = frame;
}

static struct travelling *flatten(const struct ps_piece *pieces, size_t count, size_t total)
{
    struct travelling *frame = malloc(sizeof *frame + total);
    if (frame == NULL)
        return NULL;
    frame->is_twin = false;
    frame->size = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(frame->bytes + frame->size, pieces[i].base, pieces[i].size);
        frame->size += pieces[i].size;
    }
    return frame;
}

/* Which bit of the frame that is being sent is to be flipped, from 1; 0: none. */
static uint64_t wrong_bit(struct link_end *from, size_t total)
{
    struct tape *tape = &from->link->world->tape;
    double corrupt = from->settings.corrupt;
    struct ps_choice choice = {PS_CHOICE_CORRUPT, from->stream, from->counts.sent, 0};
    if (!tape_replays(tape) && corrupt > 0 && generator_uniform(&from->generator) < corrupt)
        choice.value = 1 + (int64_t)(generator_next(&from->generator) % (total * 8));
    if (choice.value == 0 && !tape_replays(tape))
        return 0;
    int64_t bit = tape_value(tape, choice);
    return bit > 0 ? 1 + (uint64_t)(bit - 1) % (total * 8) : 0;
}

static int send_once(struct link_end *from, struct link_end *to, struct travelling *frame,
                     uint64_t now_us)
{
    uint64_t sent_us = queue(from, frame->size, now_us);
    if (sent_us == 0) {
        from->counts.overflowed++;
        tell(from, PS_TRACE_OVERFLOWED, frame->number, now_us);
        free(frame);
        return -ENOBUFS;
    }
    frame->due_us = arrives(from, frame, sent_us);
    insert(to, frame);
    return world_set(from->link->world, &to->arrival, to->first->due_us);
}

static int send(struct link_end *from, struct link_end *to, const struct ps_piece *pieces,
                size_t count, size_t total, uint64_t now_us)
{
    from->counts.sent++;
    world_note_progress(from->link->world);
    uint64_t number = from->counts.sent;
    struct trace *trace = &from->link->world->trace;
    if (trace_is_on(trace))
        trace_write(trace, &(struct ps_trace){now_us, from->stream, number, PS_TRACE_SENT, 0},
                    pieces, count);
    if (from->settings.down || to == NULL) {
        from->counts.cut_off++;
        tell(from, PS_TRACE_CUT_OFF, number, now_us);
        return 0;
    }
    if (is_lost(from)) {
        from->counts.lost++;
        tell(from, PS_TRACE_LOST, number, now_us);
        return 0;
    }
    struct travelling *frame = flatten(pieces, count, total);
    if (frame == NULL)
        return -ENOBUFS;
    frame->number = number;
    uint64_t bit = wrong_bit(from, total);
    if (bit-- > 0) {
        frame->bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        from->counts.corrupted++;
        tell(from, PS_TRACE_CORRUPTED, number, now_us);
    }
    struct travelling *twin = NULL;
    if (happens(from, PS_CHOICE_DUPLICATE, from->settings.duplicate)) {
        const struct ps_piece whole = {frame->bytes, frame->size};
        twin = flatten(&whole, 1, total);
    }
    if (twin != NULL) {
        from->counts.duplicated++;
        tell(from, PS_TRACE_DUPLICATED, number, now_us);
        twin->number = frame->number;
        twin->is_twin = true;
    }
    int result = send_once(from, to, frame, now_us);
    if (twin != NULL)
        send_once(from, to, twin, now_us);
    return result;
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    pthread_mutex_lock(&link->lock);
    int result = send(end, link->ends[!end->side], pieces, count, total, now_us);
    pthread_mutex_unlock(&link->lock);
    return result;
}

static void arrive(struct world_event *event)
{
    struct link_end *end = (struct link_end *)((char *)event - offsetof(struct link_end, arrival));
    nic_wake(&end->nic);
}

static ssize_t receive(ps_nic *nic, uint8_t *bytes, size_t room, uint64_t now_us)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    ssize_t result = -EAGAIN;
    pthread_mutex_lock(&link->lock);
    struct travelling *frame = end->first;
    if (frame != NULL && frame->due_us <= now_us && frame->size <= room) {
        end->first = frame->next;
        memcpy(bytes, frame->bytes, frame->size);
        result = (ssize_t)frame->size;
        if (link->ends[!end->side] != NULL)
            tell(link->ends[!end->side], PS_TRACE_ARRIVED, frame->number, now_us);
        free(frame);
        atomic_fetch_add(&link->world->frames, 1);
    } else if (frame != NULL) {
        world_set(link->world, &end->arrival, frame->due_us);
    }
    pthread_mutex_unlock(&link->lock);
    return result;
}

/* --- its life ------------------------------------------------------------------------------ */

/* Of what comes to it, all that is due until then. */
static uint64_t drop(struct link_end *end, uint64_t until_us)
{
    struct link_end *from = end->link->ends[!end->side];
    uint64_t count = 0;
    while (end->first != NULL && end->first->due_us <= until_us) {
        struct travelling *frame = end->first;
        end->first = frame->next;
        if (from != NULL)
            tell(from, PS_TRACE_CUT_OFF, frame->number, ps_world_now_us(end->link->world));
        free(frame);
        count++;
    }
    world_set(end->link->world, &end->arrival, end->first != NULL ? end->first->due_us : NOT_DUE);
    return count;
}

static void destroy(ps_nic *nic)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    pthread_mutex_lock(&link->lock);
    link->ends[end->side] = NULL;
    drop(end, UINT64_MAX);
    bool was_last = link->ends[!end->side] == NULL;
    pthread_mutex_unlock(&link->lock);
    free(end->departs);
    free(end);
    if (was_last) {
        pthread_mutex_destroy(&link->lock);
        ps_world_release(link->world);
        free(link);
    }
}

static enum nic_ear ear(ps_nic *nic, uint64_t *taken)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    pthread_mutex_lock(&link->lock);
    struct link_end *far = link->ends[!end->side];
    enum nic_ear result = far == NULL || end->settings.down ? NIC_DEAF : NIC_HEARD;
    if (far != NULL)
        *taken += far->nic.counters.received_frames;
    pthread_mutex_unlock(&link->lock);
    return result;
}

static const struct ps_nic_kind kind = {
    .name = "link",
    .transmit = transmit,
    .receive = receive,
    .ear = ear,
    .destroy = destroy,
};

static int adopt(struct link_end *end, const struct ps_link *settings)
{
    if (settings->rate_bits_per_second > 0 && settings->queue_frames == 0)
        return -EINVAL;
    if (settings->queue_frames != end->most_departures) {
        uint64_t *departs = calloc(settings->queue_frames + 1, sizeof *departs);
        if (departs == NULL)
            return -ENOMEM;
        uint32_t kept =
            end->departures < settings->queue_frames ? end->departures : settings->queue_frames;
        for (uint32_t i = 0; i < kept; i++)
            departs[i] = end->departs[(end->next_departure + i) % end->most_departures];
        free(end->departs);
        end->departs = departs;
        end->departures = kept;
        end->next_departure = 0;
        end->most_departures = settings->queue_frames;
    }
    end->settings = *settings;
    return 0;
}

static struct link_end *create_end(struct link *link, int side, uint32_t mtu, uint8_t layer,
                                   const struct ps_link *settings, uint64_t seed, int *error)
{
    struct link_end *end = calloc(1, sizeof *end);
    if (end == NULL)
        return NULL;
    *error = adopt(end, settings);
    if (*error == 0)
        *error = nic_init(&end->nic, &kind, (enum ps_layer)layer, mtu);
    if (*error < 0) {
        free(end->departs);
        free(end);
        return NULL;
    }
    end->link = link;
    end->side = side;
    end->arrival.happen = arrive;
    end->stream = seed + (uint64_t)side;
    generator_seed(&end->generator, end->stream);
    return end;
}

int ps_link_create(ps_world *world, uint32_t mtu, uint8_t layer, uint64_t seed,
                   const struct ps_link settings[2], ps_nic *ends[2])
{
    struct link *link = calloc(1, sizeof *link);
    int result = -ENOMEM;
    if (link == NULL)
        return result;
    pthread_mutex_init(&link->lock, NULL);
    link->world = world_hold(world);
    for (int side = 0; side < 2; side++) {
        link->ends[side] = create_end(link, side, mtu, layer, &settings[side], seed, &result);
        if (link->ends[side] != NULL)
            continue;
        if (side == 0) {
            pthread_mutex_destroy(&link->lock);
            ps_world_release(world);
            free(link);
        } else {
            destroy(&link->ends[0]->nic);
        }
        return result;
    }
    for (int side = 0; side < 2; side++)
        ends[side] = &link->ends[side]->nic;
    return 0;
}

int ps_link_set(ps_nic *end, const struct ps_link *settings)
{
    struct link_end *self = (struct link_end *)end;
    if (end->kind != &kind)
        return -EINVAL;
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    int result = adopt(self, settings);
    struct link_end *far = link->ends[!self->side];
    if (result == 0 && settings->down && far != NULL)
        self->counts.cut_off += drop(far, UINT64_MAX);
    pthread_mutex_unlock(&link->lock);
    return result;
}

void ps_link_forget(ps_nic *end)
{
    struct link_end *self = (struct link_end *)end;
    if (end->kind != &kind)
        return;
    struct link *link = self->link;
    pthread_mutex_lock(&link->lock);
    uint64_t count = drop(self, ps_world_now_us(link->world));
    if (link->ends[!self->side] != NULL)
        link->ends[!self->side]->counts.cut_off += count;
    pthread_mutex_unlock(&link->lock);
}

uint64_t ps_link_stream(ps_nic *end)
{
    return end->kind == &kind ? ((struct link_end *)end)->stream : 0;
}

int ps_link_counts(ps_nic *end, struct ps_link_counts *out)
{
    struct link_end *self = (struct link_end *)end;
    if (end->kind != &kind)
        return -EINVAL;
    pthread_mutex_lock(&self->link->lock);
    *out = self->counts;
    pthread_mutex_unlock(&self->link->lock);
    return 0;
}
