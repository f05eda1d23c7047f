/*
 * A link between two NICs in a World: what an end sends goes its way (way.c), and waits at the far
 * end for its moment.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nic/nic.h"
#include "world/store.h"
#include "world/way.h"

struct link_end {
    ps_nic nic;
    struct link *link;
    int side;
    /* From here on it is a part of the World's moments. */
    struct way out;             /* of what it sends */
    struct world_event arrival; /* of the first that comes to it */
    struct travelling *first, *last;
};

struct link {
    pthread_mutex_t lock;
    ps_world *world;
    struct link_end *ends[2]; /* NULL: unplugged */
    int left;                 /* so many are not destroyed yet */
};

/* In order of arrival: most come behind all others, and none overtakes many. */
static void insert(struct link_end *to, struct travelling *frame)
{
    struct travelling *before = to->last;
    while (before != NULL && before->due_us > frame->due_us)
        before = before->before;
    frame->before = before;
    frame->next = before != NULL ? before->next : to->first;
    *(before != NULL ? &before->next : &to->first) = frame;
    *(frame->next != NULL ? &frame->next->before : &to->last) = frame;
}

static struct travelling *take_first(struct link_end *end)
{
    struct travelling *frame = end->first;
    end->first = frame->next;
    *(end->first != NULL ? &end->first->before : &end->last) = NULL;
    return frame;
}

/* The way's end; under the link's lock. */
static int pass(struct way *way, struct travelling *frame)
{
    struct link_end *from = (struct link_end *)((char *)way - offsetof(struct link_end, out));
    struct link_end *to = from->link->ends[!from->side];
    if (to == NULL) {
        world_free(frame);
        return 0;
    }
    insert(to, frame);
    return world_set(from->link->world, &to->arrival, to->first->due_us);
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    pthread_mutex_lock(&link->lock);
    int result = way_send(&end->out, pieces, count, total, link->ends[!end->side] != NULL, now_us);
    pthread_mutex_unlock(&link->lock);
    return result;
}

static void depart(struct world_event *event)
{
    struct way *way = (struct way *)((char *)event - offsetof(struct way, departure));
    struct link_end *end = (struct link_end *)((char *)way - offsetof(struct link_end, out));
    pthread_mutex_lock(&end->link->lock);
    way_go_on(way, world_now_us(end->link->world));
    pthread_mutex_unlock(&end->link->lock);
}

static ssize_t receive(ps_nic *nic, uint8_t *bytes, size_t room, uint64_t now_us)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    ssize_t result = -EAGAIN;
    pthread_mutex_lock(&link->lock);
    struct travelling *frame = end->first;
    if (frame != NULL && frame->due_us <= now_us && frame->size <= room) {
        take_first(end);
        memcpy(bytes, frame->bytes, frame->size);
        result = (ssize_t)frame->size;
        if (link->ends[!end->side] != NULL)
            way_tell(&link->ends[!end->side]->out, PS_TRACE_ARRIVED, frame->number, now_us);
        world_free(frame);
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
        struct travelling *frame = take_first(end);
        if (from != NULL)
            way_tell(&from->out, PS_TRACE_CUT_OFF, frame->number, world_now_us(end->link->world));
        world_free(frame);
        count++;
    }
    world_set(end->link->world, &end->arrival, end->first != NULL ? end->first->due_us : NOT_DUE);
    return count;
}

/* Nobody takes what has come until now. */
static void cut_off(struct link_end *end)
{
    struct link *link = end->link;
    pthread_mutex_lock(&link->lock);
    uint64_t count = drop(end, world_now_us(link->world));
    if (link->ends[!end->side] != NULL)
        link->ends[!end->side]->out.counts.cut_off += count;
    pthread_mutex_unlock(&link->lock);
}

static void arrive(struct world_event *event)
{
    struct link_end *end = (struct link_end *)((char *)event - offsetof(struct link_end, arrival));
    if (nic_is_left(&end->nic))
        cut_off(end);
    else
        nic_wake(&end->nic);
}

static void destroy(ps_nic *nic)
{
    struct link_end *end = (struct link_end *)nic;
    struct link *link = end->link;
    pthread_mutex_lock(&link->lock);
    link->ends[end->side] = NULL;
    drop(end, UINT64_MAX);
    pthread_mutex_unlock(&link->lock);
    /* Another thread may move the World, and these with it. */
    world_end(link->world, &end->arrival);
    world_end(link->world, &end->out.departure);
    pthread_mutex_lock(&link->lock);
    way_close(&end->out);
    world_unkeep(link->world, &end->out);
    bool was_last = --link->left == 0;
    pthread_mutex_unlock(&link->lock);
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
    enum nic_ear result = far == NULL || end->out.settings.down ? NIC_DEAF : NIC_HEARD;
    if (far != NULL)
        *taken += far->nic.counters.received_frames;
    pthread_mutex_unlock(&link->lock);
    return result;
}

static bool is_outside(ps_nic *nic)
{
    (void)nic;
    return false;
}

static const struct ps_nic_kind kind = {
    .name = "link",
    .is_outside = is_outside,
    .transmit = transmit,
    .receive = receive,
    .ear = ear,
    .destroy = destroy,
};

static struct link_end *create_end(struct link *link, int side, uint32_t mtu, uint8_t layer,
                                   const struct ps_link *settings, uint64_t seed, int *error)
{
    struct link_end *end = calloc(1, sizeof *end);
    if (end == NULL)
        return NULL;
    *error = nic_init(&end->nic, &kind, (enum ps_layer)layer, mtu);
    if (*error == 0)
        *error = way_open(&end->out, link->world, (enum ps_layer)layer, mtu, seed + (uint64_t)side,
                          settings);
    if (*error == 0) {
        *error = world_keep(link->world, &end->out, sizeof *end - offsetof(struct link_end, out));
        if (*error < 0)
            way_close(&end->out);
    }
    if (*error < 0) {
        free(end);
        return NULL;
    }
    end->out.pass = pass;
    end->out.departure.happen = depart;
    end->link = link;
    end->side = side;
    end->arrival.happen = arrive;
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
        if (link->ends[side] != NULL) {
            link->left++;
            continue;
        }
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
    int result = way_set(&self->out, settings);
    struct link_end *far = link->ends[!self->side];
    if (result == 0 && settings->down && far != NULL)
        self->out.counts.cut_off += drop(far, UINT64_MAX);
    pthread_mutex_unlock(&link->lock);
    return result;
}

void ps_link_plan(ps_nic *end, uint64_t lost, uint32_t count)
{
    struct link_end *self = (struct link_end *)end;
    if (end->kind != &kind)
        return;
    pthread_mutex_lock(&self->link->lock);
    self->out.planned = lost;
    self->out.planned_count = count;
    pthread_mutex_unlock(&self->link->lock);
}

void ps_link_forget(ps_nic *end)
{
    if (end->kind == &kind)
        cut_off((struct link_end *)end);
}

uint64_t ps_link_stream(ps_nic *end)
{
    return end->kind == &kind ? ((struct link_end *)end)->out.stream : 0;
}

int ps_link_counts(ps_nic *end, struct ps_link_counts *out)
{
    struct link_end *self = (struct link_end *)end;
    if (end->kind != &kind)
        return -EINVAL;
    pthread_mutex_lock(&self->link->lock);
    *out = self->out.counts;
    pthread_mutex_unlock(&self->link->lock);
    return 0;
}
