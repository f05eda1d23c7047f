// SPDX-License-Identifier: GPL-2.0
/* What the kernel asks of its host, as hypercalls.h has it. */
#include "engine/hypercalls.h"

#include <string.h>

#include "engine/readiness.h"

#define LOG_LINE 1024

/* printk's levels: 0 to 3 are errors, 4 a warning, 5 and 6 news. */
static enum ps_log_level log_level(int level)
{
    return level <= 3   ? PS_LOG_ERROR
           : level == 4 ? PS_LOG_WARNING
           : level <= 6 ? PS_LOG_INFO
                        : PS_LOG_DEBUG;
}

/* One line at a time; a longer one is truncated. */
static void on_log(void *user, int level, const char *text, unsigned long size)
{
    ps_engine *self = user;
    char line[LOG_LINE];
    for (const char *end = text + size; text < end;) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        size_t length = (size_t)((newline == NULL ? end : newline) - text);
        size_t copied = length < sizeof line ? length : sizeof line - 1;
        memcpy(line, text, copied);
        line[copied] = 0;
        if (copied > 0)
            self->host.log(self->host.user, log_level(level), line);
        text += length + 1;
    }
}

static void on_panic(void *user, const char *text)
{
    ps_engine *self = user;
    self->host.panic(self->host.user, text);
}

static void on_random(void *user, void *out, unsigned long size)
{
    ps_engine *self = user;
    self->host.random(self->host.user, out, size);
}

static void on_event(void *user, long fd, unsigned mask)
{
    ps_engine *self = user;
    if (fd == self->monitor)
        self->news = true;
    else if (fd == self->conflict_socket)
        self->conflict_news = true;
    else
        readiness_note(self, (int)fd, mask);
}

static uint8_t segmentation_of(const struct anyk_frame *frame)
{
    switch (frame->segmentation) {
    case ANYK_SEGMENT_TCP4:
        return PS_OFFLOAD_TCP4;
    case ANYK_SEGMENT_TCP6:
        return PS_OFFLOAD_TCP6;
    case ANYK_SEGMENT_UDP:
        return PS_OFFLOAD_UDP;
    default:
        return 0;
    }
}

static void on_frame_out(void *user, struct anyk_frame *frame)
{
    const ps_engine *self = user;
    struct ps_piece pieces[ANYK_PIECES_MAXIMUM];
    for (unsigned i = 0; i < frame->count; i++)
        pieces[i] = (struct ps_piece){frame->pieces[i].base, frame->pieces[i].size};
    const struct ps_offload offload = {
        .checksum =
            frame->partial == ANYK_CHECKSUM_PARTIAL ? PS_CHECKSUM_PARTIAL : PS_CHECKSUM_WHOLE,
        .segmentation = segmentation_of(frame),
        .segment_size = frame->segment_size,
        .checksum_start = frame->checksum_start,
        .checksum_offset = frame->checksum_offset,
    };
    if (offload.checksum != PS_CHECKSUM_WHOLE || offload.segmentation != 0)
        frame->result = self->host.frame_out_offload(self->host.user, frame->interface, pieces,
                                                     frame->count, frame->total, &offload);
    else
        frame->result = self->host.frame_out(self->host.user, frame->interface, pieces,
                                             frame->count, frame->total);
}

void hypercalls_answer(ps_engine *self)
{
    self->up = (struct anyk_host){.user = self,
                                  .log = on_log,
                                  .panic = on_panic,
                                  .random = on_random,
                                  .frame_out = on_frame_out,
                                  .event = on_event};
}
