/*
 * Frames from an input. Coverage alone does not find a checksum or a sequence number: those are
 * filled in, and what the input says of them is a difference.
 */
#include "fuzz.h"

const uint8_t frames_mac[6] = {2, 0, 0, 0, 0, 2};
static const uint8_t peer_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t ours4[4] = {10, 0, 0, 2}, peer4[4] = {10, 0, 0, 1};
static const uint8_t ours6[16] = {0xfd, [15] = 2}, peer6[16] = {0xfd, [15] = 1};
static const uint8_t link6[16] = {0xfe, 0x80, [15] = 1};
static const uint8_t nodes6[16] = {0xff, 2, [15] = 1}, mdns6[16] = {0xff, 2, [15] = 0xfb};

/* What the engine's last segment of a connection said. */
struct flow {
    uint8_t v6;
    uint16_t stack_port, peer_port;
    uint32_t next, ack;
};
#define FLOWS 8
static struct flow flows[FLOWS];
static unsigned flow_count;

void frames_reset(void)
{
    flow_count = 0;
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)get16(at) << 16 | get16(at + 2);
}

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void put32(uint8_t *at, uint32_t value)
{
    put16(at, value >> 16);
    put16(at + 2, value);
}

static uint32_t sum(const uint8_t *data, size_t size, uint32_t total)
{
    for (size_t i = 0; i + 1 < size; i += 2)
        total += get16(data + i);
    if (size & 1)
        total += (uint32_t)data[size - 1] << 8;
    return total;
}

static uint16_t fold(uint32_t total)
{
    while (total >> 16)
        total = (total & 0xffff) + (total >> 16);
    return (uint16_t)~total;
}

/* Fills in the checksum of what follows an IP header, where it has one. */
static void finish(uint8_t protocol, uint8_t *message, size_t size, const uint8_t *addresses,
                   size_t addresses_size)
{
    size_t at;
    bool pseudo = true;
    switch (protocol) {
    case 6:
        at = 16;
        break;
    case 17:
        at = 6;
        break;
    case 58:
        at = 2;
        break;
    case 1:
    case 2:
        at = 2;
        pseudo = false;
        break;
    default:
        return;
    }
    if (size < at + 2)
        return;
    put16(message + at, 0);
    uint32_t total = sum(message, size, 0);
    if (pseudo)
        total = sum(addresses, addresses_size, total + protocol + (uint32_t)size);
    put16(message + at, fold(total));
}

/* The two headers in front of a payload that is in place; returns the frame's size. */
static size_t wrap(uint8_t *frame, bool v6, uint8_t protocol, const uint8_t *from,
                   const uint8_t *to, uint8_t hops, size_t size)
{
    memcpy(frame, frames_mac, 6);
    memcpy(frame + 6, peer_mac, 6);
    uint8_t *ip = frame + 14;
    if (v6) {
        put16(frame + 12, 0x86dd);
        put32(ip, 0x60000000);
        put16(ip + 4, (uint32_t)size);
        ip[6] = protocol;
        ip[7] = hops;
        memcpy(ip + 8, from, 16);
        memcpy(ip + 24, to, 16);
        finish(protocol, ip + 40, size, ip + 8, 32);
        return 54 + size;
    }
    put16(frame + 12, 0x0800);
    put32(ip, 0x45000000 | (uint32_t)(20 + size));
    put32(ip + 4, 0);
    ip[8] = hops;
    ip[9] = protocol;
    put16(ip + 10, 0);
    memcpy(ip + 12, from, 4);
    memcpy(ip + 16, to, 4);
    put16(ip + 10, fold(sum(ip, 20, 0)));
    finish(protocol, ip + 20, size, ip + 12, 8);
    return 34 + size;
}

size_t frames_raw(struct input *input, uint8_t *frame)
{
    size_t size;
    size_t wanted = input_word(input);
    const uint8_t *bytes = input_bytes(input, wanted < 1514 ? wanted : 1514, &size);
    memcpy(frame, bytes, size);
    return size;
}

size_t frames_packet(struct input *input, uint8_t *frame)
{
    uint8_t shape = input_byte(input), protocol = input_byte(input);
    size_t wanted = input_word(input), size;
    bool v6 = shape & 1;
    const uint8_t *bytes = input_bytes(input, wanted < 1460 ? wanted : 1460, &size);
    memcpy(frame + (v6 ? 54 : 34), bytes, size);
    const uint8_t *from = v6 ? (shape & 2 ? link6 : peer6) : peer4;
    const uint8_t *to = ours4;
    if (v6)
        to = shape & 4 ? nodes6 : shape & 8 ? mdns6 : ours6;
    else if (shape & 12)
        to =
            shape & 4 ? (const uint8_t[4]){255, 255, 255, 255} : (const uint8_t[4]){224, 0, 0, 251};
    uint8_t hops = shape & 16 ? 255 : shape & 32 ? 1 : 64;
    return wrap(frame, v6, protocol, from, to, hops, size);
}

size_t frames_segment(struct input *input, uint8_t *frame)
{
    uint8_t which = input_byte(input), flags = input_byte(input);
    int32_t seq = (int16_t)input_word(input), ack = (int16_t)input_word(input);
    uint16_t window = input_word(input);
    uint8_t shape = input_byte(input);
    size_t options_size, data_size = (shape & 0xf0u) << 3;
    const uint8_t *options = input_bytes(input, (shape & 10u) * 4, &options_size);
    struct flow flow = {.v6 = which >> 7, .stack_port = 80, .peer_port = (uint16_t)(1000 + which)};
    if (flow_count > 0 && !(which & 0x40))
        flow = flows[(flow_count - 1 - which % flow_count) % FLOWS];
    uint8_t *tcp = frame + (flow.v6 ? 54 : 34);
    size_t head = 20 + (options_size + 3) / 4 * 4;
    memset(tcp, 0, head + data_size);
    put16(tcp, flow.peer_port);
    put16(tcp + 2, flow.stack_port);
    put32(tcp + 4, flow.ack + (uint32_t)seq);
    put32(tcp + 8, flow.next + (uint32_t)ack);
    tcp[12] = (uint8_t)(head / 4 << 4);
    tcp[13] = flags;
    put16(tcp + 14, window);
    memcpy(tcp + 20, options, options_size);
    memset(tcp + head, which, data_size);
    return wrap(frame, flow.v6, 6, flow.v6 ? peer6 : peer4, flow.v6 ? ours6 : ours4, 64,
                head + data_size);
}

void frames_sent(const uint8_t *frame, size_t size)
{
    FUZZ_REQUIRE(size >= 14 && size <= 1514);
    bool v6 = get16(frame + 12) == 0x86dd;
    size_t at = v6 ? 54 : 34;
    if (size < at + 20 || frame[v6 ? 20 : 23] != 6 || (!v6 && frame[14] != 0x45))
        return;
    const uint8_t *tcp = frame + at;
    struct flow flow = {.v6 = v6, .stack_port = get16(tcp), .peer_port = get16(tcp + 2)};
    size_t end = v6 ? 54u + get16(frame + 18) : 14u + get16(frame + 16);
    uint8_t flags = tcp[13];
    if (flags & 4)
        return;
    flow.next = get32(tcp + 4) + (uint32_t)(end - at - (tcp[12] >> 4) * 4u) + (flags & 1) +
                (flags >> 1 & 1);
    flow.ack = flags & 16 ? get32(tcp + 8) : 7;
    for (unsigned i = 0; i < FLOWS && i < flow_count; i++) {
        struct flow *known = &flows[i];
        if (known->v6 == flow.v6 && known->stack_port == flow.stack_port &&
            known->peer_port == flow.peer_port) {
            *known = flow;
            return;
        }
    }
    flows[flow_count++ % FLOWS] = flow;
}
