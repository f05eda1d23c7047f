// SPDX-License-Identifier: GPL-2.0
/* Incoming frames, and the work their sender left undone. */
#include <errno.h>

#include "engine/frame.h"
#include "engine/readiness.h"

/* IEEE 802: the first bit on the wire of a destination's address. */
#define GROUP_BIT 1
/* Of frames of this size and more is told at once: who waits may want to read them while they are
 * in the processor's cache, before the rest of a batch. */
#define LEAST_TOLD 32768

struct group_frames {
    struct group_frames *next;
    uint32_t interface;
    uint64_t received;
};

static struct group_frames *find(const ps_engine *self, uint32_t index)
{
    struct group_frames *each = self->group_frames;
    while (each != NULL && each->interface != index)
        each = each->next;
    return each;
}

int frame_count_groups(ps_engine *self, uint32_t index)
{
    void *memory;
    int result = self->host.memory_allocate(self->host.user, sizeof(struct group_frames), &memory);
    if (result < 0)
        return result;
    struct group_frames *counted = memory;
    *counted = (struct group_frames){.next = self->group_frames, .interface = index};
    self->group_frames = counted;
    return 0;
}

void frame_forget_groups(ps_engine *self, uint32_t index)
{
    struct group_frames **link = &self->group_frames, *counted = find(self, index);
    if (counted == NULL)
        return;
    while (*link != counted)
        link = &(*link)->next;
    *link = counted->next;
    self->host.memory_free(self->host.user, counted);
}

uint64_t frame_groups(const ps_engine *self, uint32_t index)
{
    const struct group_frames *counted = find(self, index);
    return counted == NULL ? 0 : counted->received;
}

static void count(ps_engine *self, uint32_t index)
{
    struct group_frames *counted = find(self, index);
    if (counted != NULL)
        counted->received++;
}

/* After a frame, that it was taken in or why not. */
static int taken_in(ps_engine *self, uint32_t index, size_t size, bool of_group, int result)
{
    if (result == 0 && of_group)
        count(self, index);
    if (size >= LEAST_TOLD)
        readiness_tell(self);
    return result;
}

int engine_frame_in(ps_engine *self, uint32_t index, const uint8_t *frame, size_t size)
{
    int result = anyk_frame_in(index, frame, size, NULL);
    return taken_in(self, index, size, frame[0] & GROUP_BIT, result);
}

static unsigned char checksum_of(const struct ps_offload *o)
{
    return o->checksum == PS_CHECKSUM_PARTIAL   ? ANYK_CHECKSUM_PARTIAL
           : o->checksum == PS_CHECKSUM_TRUSTED ? ANYK_CHECKSUM_TRUSTED
                                                : ANYK_CHECKSUM_WHOLE;
}

static unsigned char segmentation_of(const struct ps_offload *o)
{
    return o->segmentation == PS_OFFLOAD_TCP4   ? ANYK_SEGMENT_TCP4
           : o->segmentation == PS_OFFLOAD_TCP6 ? ANYK_SEGMENT_TCP6
           : o->segmentation == PS_OFFLOAD_UDP  ? ANYK_SEGMENT_UDP
                                                : ANYK_SEGMENT_NONE;
}

static struct anyk_frame undone(const struct ps_offload *o)
{
    return (struct anyk_frame){
        .partial = checksum_of(o),
        .segmentation = segmentation_of(o),
        .segment_size = o->segment_size,
        .checksum_start = o->checksum_start,
        .checksum_offset = o->checksum_offset,
    };
}

int engine_frame_in_offload(ps_engine *self, uint32_t index, uint8_t *frame, size_t size,
                            const struct ps_offload *o, bool given)
{
    const struct anyk_frame left = undone(o);
    int result = anyk_frame_in(index, frame, size, &left);
    bool of_group = frame[0] & GROUP_BIT;
    if (given)
        self->host.memory_free(self->host.user, frame - PS_FRAME_HEADROOM);
    return taken_in(self, index, size, of_group, result);
}

int engine_frame_room(ps_engine *self, struct ps_piece pieces[PS_ROOM_PIECES])
{
    struct anyk_piece theirs[ANYK_PIECES_MAXIMUM];
    int count = anyk_frame_room(theirs);
    _Static_assert(ANYK_PIECES_MAXIMUM <= PS_ROOM_PIECES, "all of them fit");
    for (int i = 0; i < count; i++)
        pieces[i] = (struct ps_piece){theirs[i].base, theirs[i].size};
    self->room_first = count > 0 ? theirs[0].base : NULL;
    return count;
}

int engine_frame_in_room(ps_engine *self, uint32_t index, size_t size, const struct ps_offload *o)
{
    const struct anyk_frame left = undone(o);
    if (self->room_first == NULL)
        return -EINVAL;
    bool of_group = *self->room_first & GROUP_BIT;
    self->room_first = NULL;
    int result = anyk_frame_in_room(index, size, &left);
    return taken_in(self, index, size, of_group, result);
}
