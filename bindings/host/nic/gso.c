/*
 * What the sender of a frame left undone, done here: a long TCP packet cut into segments, or a long
 * UDP packet into datagrams, and checksums finished. For whatever inspects frames, such as wrappers
 * and Python, and for engines that want ordinary ones.
 *
 * The frame's sender may be anybody: every number in it is checked before it is used.
 */
#include <string.h>

#include "nic/gso.h"
#include "nic/nic.h"
#include "nic/partial_checksum.h"

enum {
    ETHERNET_HEADER = 14,
    VLAN_TAG = 4,
    IP4_HEADER = 20,
    IP6_HEADER = 40,
    TCP_HEADER = 20,
    TCP_CHECKSUM = 16,
    UDP_HEADER = 8,
    UDP_CHECKSUM = 6,
    TCP = 6,
    UDP = 17
};
enum { FIN = 0x01, PSH = 0x08, CWR = 0x80 };

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Finishes the checksum over all that follows `start`, whose field holds the pseudo header's. */
static void finish(uint8_t *frame, size_t size, size_t start, size_t field)
{
    uint16_t check = (uint16_t)~checksum_fold(checksum_sum(frame + start, size - start));
    put16(frame + field, check == 0 ? 0xffff : check); /* 0 is UDP's word for none (RFC 768) */
}

static bool is_ip4(const struct gso *self)
{
    return self->frame.bytes[self->network] >> 4 == 4;
}

static bool is_udp(const struct gso *self)
{
    return self->frame.offload.segmentation == PS_OFFLOAD_UDP;
}

static size_t checksum_field(const struct gso *self)
{
    return self->transport + (is_udp(self) ? UDP_CHECKSUM : TCP_CHECKSUM);
}

/* Finds the headers of a packet that is to be cut; false: it isn't one. */
static bool find_headers(struct gso *self, enum ps_layer layer)
{
    const uint8_t *bytes = self->frame.bytes;
    const struct ps_offload *offload = &self->frame.offload;
    size_t size = self->frame.size, at = 0, end;
    if (layer == PS_LAYER_ETHERNET) {
        at = ETHERNET_HEADER;
        while (at + VLAN_TAG < size && get16(bytes + at - 2) == 0x8100)
            at += VLAN_TAG;
    }
    if (at + IP4_HEADER > size)
        return false;
    self->network = at;
    self->transport = offload->checksum_start;
    if (!is_ip4(self) && at + IP6_HEADER > size)
        return false;
    if (is_ip4(self)) {
        size_t header = (bytes[at] & 15u) * 4;
        end = at + get16(bytes + at + 2);
        if (header < IP4_HEADER || self->transport != at + header ||
            bytes[at + 9] != (is_udp(self) ? UDP : TCP) || (get16(bytes + at + 6) & 0x3fff) != 0)
            return false;
    } else {
        /* Extension headers may stand between; the sender says where TCP or UDP begins. */
        end = at + IP6_HEADER + get16(bytes + at + 4);
        if (bytes[at] >> 4 != 6 || self->transport < at + IP6_HEADER)
            return false;
    }
    size_t header = is_udp(self) ? UDP_HEADER : TCP_HEADER;
    if (end > size || self->transport + header > end || offload->segment_size == 0 ||
        offload->checksum != PS_CHECKSUM_PARTIAL ||
        self->transport + offload->checksum_offset != checksum_field(self))
        return false;
    if (!is_udp(self))
        header = (size_t)(bytes[self->transport + 12] >> 4) * 4;
    if (header < (is_udp(self) ? UDP_HEADER : TCP_HEADER) || self->transport + header > end)
        return false;
    self->header = self->transport + header;
    self->payload = end - self->header;
    return true;
}

void gso_begin(struct gso *self, enum ps_layer layer)
{
    struct nic_frame *frame = &self->frame;
    const struct ps_offload *offload = &frame->offload;
    self->is_over = false;
    self->done = 0;
    self->count = 0;
    if (offload->segmentation != 0) {
        self->is_over = !find_headers(self, layer);
    } else if (offload->checksum == PS_CHECKSUM_PARTIAL) {
        size_t start = offload->checksum_start, field = start + offload->checksum_offset;
        if (field + 2 > frame->size)
            self->is_over = true;
        else
            finish(frame->bytes, frame->size, start, field);
    }
}

static void adapt_tcp(const struct gso *self, uint8_t *tcp, size_t part)
{
    uint32_t sequence = ((uint32_t)get16(tcp + 4) << 16 | get16(tcp + 6)) + (uint32_t)self->done;
    put16(tcp + 4, sequence >> 16);
    put16(tcp + 6, sequence);
    if (self->done + part < self->payload)
        tcp[13] &= (uint8_t) ~(FIN | PSH);
    if (self->done > 0)
        tcp[13] &= (uint8_t)~CWR;
}

/* Headers of the segment that begins `done` bytes into the payload, of `part` bytes. */
static void adapt_headers(const struct gso *self, uint8_t *out, size_t part)
{
    uint8_t *ip = out + self->network, *transport = out + self->transport;
    size_t header_size = self->header - self->transport;
    if (is_ip4(self)) {
        size_t header = self->transport - self->network;
        put16(ip + 2, header + header_size + part);
        put16(ip + 4, get16(ip + 4) + self->count);
        put16(ip + 10, 0);
        put16(ip + 10, (uint16_t)~checksum_fold(checksum_sum(ip, header)));
    } else {
        put16(ip + 4, self->header - self->network - IP6_HEADER + part);
    }
    if (is_udp(self))
        put16(transport + 4, header_size + part);
    else
        adapt_tcp(self, transport, part);
    /* The pseudo header's sum is there, with the whole packet's length in it. */
    uint8_t *field = out + checksum_field(self);
    uint32_t pseudo = get16(field) + (uint32_t)(header_size + part) +
                      (uint16_t)~checksum_fold(header_size + self->payload);
    put16(field, checksum_fold(pseudo));
}

size_t gso_next(struct gso *self, uint8_t *out, size_t room)
{
    const struct nic_frame *frame = &self->frame;
    if (self->is_over)
        return 0;
    if (frame->offload.segmentation == 0) {
        self->is_over = true;
        if (frame->size > room)
            return 0;
        memcpy(out, frame->bytes, frame->size);
        return frame->size;
    }
    size_t part = self->payload - self->done;
    if (part > frame->offload.segment_size)
        part = frame->offload.segment_size;
    size_t size = self->header + part;
    if (size > room) {
        self->is_over = true;
        return 0;
    }
    memcpy(out, frame->bytes, self->header);
    memcpy(out + self->header, frame->bytes + self->header + self->done, part);
    adapt_headers(self, out, part);
    finish(out, size, self->transport, checksum_field(self));
    self->done += part;
    self->count++;
    self->is_over = self->done >= self->payload;
    return size;
}
