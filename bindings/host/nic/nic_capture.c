/*
 * A wrapper that writes every frame to a file: pcap with nanoseconds, or pcapng
 * (draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng).
 *
 * Times are the Stack's own clock, set off from the wall clock at the first frame: exact to each
 * other in virtual time, and true in real time; or set off by a given epoch, so that two runs alike
 * give the same file.
 */
#include <errno.h>
#include <time.h>

#include "api/nic_api.h"
#include "nic/capture_file.h"
#include "nic/nic.h"
#include "nic/nic_wrapper.h"

enum { LINKTYPE_ETHERNET = 1, LINKTYPE_RAW = 101 };
enum { INBOUND = 1, OUTBOUND = 2 };
enum { FLUSH_US = 1000000 }; /* frames reach the file this late while others follow them */

struct capture {
    struct nic_wrapper wrapper;
    struct capture_file *file;
    enum ps_capture_format format;
    uint32_t snap_length;
    bool started;
    uint64_t offset_us;  /* from the Stack's clock to the wall's */
    uint64_t flushed_us; /* when frames were last written out */
};

static void put(struct capture *self, const void *data, size_t size)
{
    capture_file_put(self->file, data, size);
}

static void put32(struct capture *self, uint32_t value)
{
    put(self, &value, sizeof value);
}

static void put16(struct capture *self, uint16_t value)
{
    put(self, &value, sizeof value);
}

static uint16_t link_type(const struct capture *self)
{
    return self->wrapper.nic.layer == PS_LAYER_ETHERNET ? LINKTYPE_ETHERNET : LINKTYPE_RAW;
}

static void write_pcap_header(struct capture *self)
{
    put32(self, 0xa1b23c4d); /* times in nanoseconds */
    put16(self, 2);
    put16(self, 4);
    put32(self, 0);
    put32(self, 0);
    put32(self, self->snap_length);
    put32(self, link_type(self));
}

static void write_pcapng_header(struct capture *self)
{
    /* Section header block */
    put32(self, 0x0a0d0d0a);
    put32(self, 28);
    put32(self, 0x1a2b3c4d);
    put16(self, 1);
    put16(self, 0);
    put32(self, UINT32_MAX); /* the section's length, 64 bits: not said */
    put32(self, UINT32_MAX);
    put32(self, 28);
    /* Interface description block, with if_tsresol: nanoseconds */
    put32(self, 1);
    put32(self, 32);
    put16(self, link_type(self));
    put16(self, 0);
    put32(self, self->snap_length);
    put16(self, 9);
    put16(self, 1);
    put32(self, 9);
    put32(self, 0); /* end of options */
    put32(self, 32);
}

static void put_pieces(struct capture *self, const struct ps_piece *pieces, size_t count,
                       size_t size)
{
    for (size_t i = 0; i < count && size > 0; i++) {
        size_t part = pieces[i].size < size ? pieces[i].size : size;
        put(self, pieces[i].base, part);
        size -= part;
    }
}

static uint64_t wall_ns(struct capture *self, uint64_t now_us)
{
    if (!self->started) {
        struct timespec wall;
        clock_gettime(CLOCK_REALTIME, &wall);
        self->offset_us = (uint64_t)wall.tv_sec * 1000000 + (uint64_t)wall.tv_nsec / 1000 - now_us;
        self->started = true;
    }
    return (self->offset_us + now_us) * 1000;
}

static void record(struct capture *self, const struct ps_piece *pieces, size_t count, size_t total,
                   uint64_t now_us, uint32_t direction)
{
    static const uint8_t padding[4];
    capture_file_lock(self->file);
    uint64_t when = wall_ns(self, now_us);
    uint32_t kept = total < self->snap_length ? (uint32_t)total : self->snap_length;
    if (self->format == PS_CAPTURE_PCAP) {
        put32(self, (uint32_t)(when / 1000000000));
        put32(self, (uint32_t)(when % 1000000000));
        put32(self, kept);
        put32(self, (uint32_t)total);
        put_pieces(self, pieces, count, kept);
    } else {
        /* Enhanced packet block, with epb_flags: the direction */
        uint32_t padded = (kept + 3) & ~3u, size = 32 + padded + 12;
        put32(self, 6);
        put32(self, size);
        put32(self, 0);
        put32(self, (uint32_t)(when >> 32));
        put32(self, (uint32_t)when);
        put32(self, kept);
        put32(self, (uint32_t)total);
        put_pieces(self, pieces, count, kept);
        put(self, padding, padded - kept);
        put16(self, 2);
        put16(self, 4);
        put32(self, direction);
        put32(self, 0);
        put32(self, size);
    }
    if (now_us - self->flushed_us >= FLUSH_US) { /* also where the clock was turned back */
        capture_file_flush(self->file);
        self->flushed_us = now_us;
    }
    capture_file_unlock(self->file);
}

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    struct capture *self = (struct capture *)nic;
    int result = nic_transmit(self->wrapper.inner, pieces, count, total, now_us);
    if (result == 0)
        record(self, pieces, count, total, now_us, OUTBOUND);
    return result;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    struct capture *self = (struct capture *)nic;
    ssize_t size = nic_receive(self->wrapper.inner, frame, room, now_us);
    if (size > 0) {
        const struct ps_piece piece = {frame, (size_t)size};
        record(self, &piece, 1, (size_t)size, now_us, INBOUND);
    }
    return size;
}

static void destroy(ps_nic *nic)
{
    struct capture *self = (struct capture *)nic;
    if (self->file != NULL)
        capture_file_close(self->file);
    nic_wrapper_free(&self->wrapper);
}

static const struct ps_nic_kind kind = {
    .name = "capture",
    .transmit = transmit,
    .receive = receive,
    .deadline = nic_wrapper_deadline,
    .descriptor = nic_wrapper_descriptor,
    .set_wake = nic_wrapper_set_wake,
    .ear = nic_wrapper_ear,
    .is_carried_here = nic_wrapper_is_carried_here,
    .is_outside = nic_wrapper_is_outside,
    .forget = nic_wrapper_forget,
    .destroy = destroy,
};

ps_nic *ps_nic_capture(ps_nic *inner, const char *path, enum ps_capture_format format,
                       uint32_t snap_length, int64_t epoch_us, int *error)
{
    struct capture *self = nic_wrapper_create(sizeof *self, &kind, inner, error);
    if (self == NULL)
        return NULL;
    self->file = capture_file_open(path, error);
    if (self->file == NULL) {
        nic_release(&self->wrapper.nic);
        return NULL;
    }
    self->format = format;
    self->snap_length = snap_length;
    self->started = epoch_us >= 0;
    self->offset_us = epoch_us >= 0 ? (uint64_t)epoch_us : 0;
    if (format == PS_CAPTURE_PCAP)
        write_pcap_header(self);
    else
        write_pcapng_header(self);
    return &self->wrapper.nic;
}

int ps_nic_capture_flush(ps_nic *nic)
{
    struct capture *self = (struct capture *)nic;
    if (nic->kind != &kind)
        return -EINVAL;
    capture_file_lock(self->file);
    int result = capture_file_flush(self->file);
    capture_file_unlock(self->file);
    return result;
}
