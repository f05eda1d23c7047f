// SPDX-License-Identifier: GPL-2.0
/* Frames that come in, and what their sender has left undone. */
#include "engine/linux.h"

int engine_frame_in(ps_engine *self, uint32_t index, const uint8_t *frame, size_t size)
{
    (void)self;
    return anyk_frame_in(index, frame, size, NULL);
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

int engine_frame_in_offload(ps_engine *self, uint32_t index, uint8_t *frame, size_t size,
                            const struct ps_offload *o, bool given)
{
    const struct anyk_frame left = {
        .partial = checksum_of(o),
        .segmentation = segmentation_of(o),
        .segment_size = o->segment_size,
        .checksum_start = o->checksum_start,
        .checksum_offset = o->checksum_offset,
    };
    int result = anyk_frame_in(index, frame, size, &left);
    if (given)
        self->host.memory_free(self->host.user, frame - PS_FRAME_HEADROOM);
    return result;
}
