/*
 * A kernel that hands a packet beyond 64 KiB on, to a device that takes no such packet, cuts it
 * into segments of the MTU, each of which then goes its way by itself: a third of the rate or less
 * that parts of 64 KiB have. And it may lack the contiguous memory for one. Such packets leave in
 * parts, which differ from the whole in their headers alone.
 */
#include "nic/longest.h"

#include <errno.h>
#include <string.h>

#include "nic/partial_checksum.h"

enum {
    ETHERNET_HEADER = 14,
    IP4_HEADER = 20,
    IP4_DESTINATION = 16,
    TCP_HEADER = 20,
    TCP_CHECKSUM = 16,
    TCP = 6,
    MOST_HEADER = 134,
    MOST_PIECES = 65
};
enum { FIN = 0x01, PSH = 0x08, CWR = 0x80 };

struct whole {
    const struct ps_piece *pieces;
    size_t network, transport, header; /* where IP, TCP and the payload begin */
    size_t payload;
    const struct ps_offload *offload;
};

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, size_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* The engine keeps the headers in the first piece. False: it is no such packet. */
static bool find_headers(struct whole *whole, const ps_nic *nic, size_t total)
{
    const uint8_t *bytes = whole->pieces[0].base;
    const size_t size = whole->pieces[0].size;
    const struct ps_offload *offload = whole->offload;
    whole->network = nic->layer == PS_LAYER_ETHERNET ? ETHERNET_HEADER : 0;
    whole->transport = offload->checksum_start;
    if (offload->segmentation != PS_OFFLOAD_TCP4 || offload->segment_size == 0 ||
        offload->checksum != PS_CHECKSUM_PARTIAL || offload->checksum_offset != TCP_CHECKSUM ||
        whole->transport < whole->network + IP4_HEADER || size < whole->transport + TCP_HEADER ||
        bytes[whole->network] >> 4 != 4 || bytes[whole->network + 9] != TCP ||
        whole->transport != whole->network + (bytes[whole->network] & 15u) * 4)
        return false;
    whole->header = whole->transport + (size_t)(bytes[whole->transport + 12] >> 4) * 4;
    if (whole->header < whole->transport + TCP_HEADER || whole->header > size ||
        whole->header > MOST_HEADER || whole->header >= total)
        return false;
    whole->payload = total - whole->header;
    return true;
}

/* The headers of the part that begins `done` bytes into the payload. */
static void make_header(const struct whole *whole, uint8_t *out, size_t done, size_t part)
{
    uint8_t *ip = out + whole->network, *tcp = out + whole->transport;
    const size_t ip_header = whole->transport - whole->network;
    const size_t segment = whole->header - whole->transport + part;
    memcpy(out, whole->pieces[0].base, whole->header);
    put16(ip + 2, ip_header + segment);
    put16(ip + 4, get16(ip + 4) + done / whole->offload->segment_size);
    put16(ip + 10, 0);
    put16(ip + 10, (uint16_t)~checksum_fold(checksum_sum(ip, ip_header)));
    uint32_t sequence = ((uint32_t)get16(tcp + 4) << 16 | get16(tcp + 6)) + (uint32_t)done;
    put16(tcp + 4, sequence >> 16);
    put16(tcp + 6, sequence);
    if (done + part < whole->payload)
        tcp[13] &= (uint8_t) ~(FIN | PSH);
    if (done > 0)
        tcp[13] &= (uint8_t)~CWR;
    put16(tcp + TCP_CHECKSUM, checksum_fold((uint64_t)checksum_sum(ip + 12, 8) + TCP + segment));
}

/* `part` bytes of the frame from `from` on: how many pieces they are in. */
static size_t take(const struct ps_piece *pieces, size_t from, size_t part, struct ps_piece *out)
{
    size_t count = 0;
    for (; part > 0; pieces++) {
        if (from >= pieces->size) {
            from -= pieces->size;
            continue;
        }
        size_t size = pieces->size - from < part ? pieces->size - from : part;
        out[count++] = (struct ps_piece){(uint8_t *)pieces->base + from, size};
        part -= size;
        from = 0;
    }
    return count;
}

int longest_in_parts(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                     const struct ps_offload *offload, uint64_t now_us, longest_send *send)
{
    struct whole whole = {.pieces = pieces, .offload = offload};
    if (count >= MOST_PIECES || !find_headers(&whole, nic, total))
        return -EMSGSIZE;
    const size_t segment_size = offload->segment_size;
    const size_t room = PS_MTU_MAXIMUM - (whole.header - whole.network);
    const size_t most = segment_size < room ? room / segment_size * segment_size : segment_size;
    for (size_t done = 0; done < whole.payload; done += most) {
        const size_t part = whole.payload - done < most ? whole.payload - done : most;
        uint8_t header[MOST_HEADER];
        struct ps_piece parts[MOST_PIECES];
        struct ps_offload left = *offload;
        make_header(&whole, header, done, part);
        parts[0] = (struct ps_piece){header, whole.header};
        size_t taken = 1 + take(pieces, whole.header + done, part, parts + 1);
        if (part <= segment_size)
            left.segmentation = left.segment_size = 0;
        int result = send(nic, parts, taken, whole.header + part, &left, now_us);
        if (result < 0)
            return result;
    }
    return 0;
}

bool longest_arrives(ps_nic *nic, const struct ps_piece *pieces, uint64_t now_us)
{
    const size_t at = (nic->layer == PS_LAYER_ETHERNET ? ETHERNET_HEADER : 0) + IP4_DESTINATION;
    return nic->kind->is_far_end != NULL && pieces[0].size >= at + 4 &&
           nic->kind->is_far_end(nic, (const uint8_t *)pieces[0].base + at, now_us);
}
