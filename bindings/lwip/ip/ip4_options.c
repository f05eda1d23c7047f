/*
 * IPv4 options (RFC 791 3.1): malformed ones are refused, and those of an echo request are brought
 * up to date in its reply (RFC 1122 3.2.1.8, 3.2.2.6).
 */
#include "base/hooks.h"
#include "lwip/icmp.h"
#include "lwip/prot/ip4.h"
#include "lwip/sys.h"

enum {
    OPTION_END = 0,
    OPTION_NONE = 1,
    OPTION_RECORD_ROUTE = 7,
    OPTION_TIMESTAMP = 68,
    OPTION_LOOSE_ROUTE = 131,
    OPTION_STRICT_ROUTE = 137,
};

/* Where an option's fields are. Pointers in options count octets from 1. */
enum { TYPE, LENGTH, POINTER, FLAGS, ADDRESS_SIZE = 4, STAMP_SIZE = 4 };
enum { ROUTE_HEADER = 3, STAMP_HEADER = 4 };
enum { STAMPS_ALONE = 0, STAMPS_WITH_ADDRESSES = 1, STAMPS_OF_THE_NAMED = 3 };

struct option {
    uint8_t *bytes;
    size_t size;
};

static bool is_source_route(uint8_t type)
{
    return type == OPTION_LOOSE_ROUTE || type == OPTION_STRICT_ROUTE;
}

/* The option at *offset of the header, which moves past it. 1; 0: no more; -1: malformed, and
 * *offset is the octet that is wrong. */
static int next_option(uint8_t *header, size_t header_size, size_t *offset, struct option *out)
{
    while (*offset < header_size && header[*offset] == OPTION_NONE)
        ++*offset;
    if (*offset >= header_size || header[*offset] == OPTION_END)
        return 0;
    uint8_t *bytes = header + *offset;
    size_t room = header_size - *offset;
    if (room < 2)
        return -1;
    size_t least = bytes[TYPE] == OPTION_TIMESTAMP ? STAMP_HEADER
                   : bytes[TYPE] == OPTION_RECORD_ROUTE || is_source_route(bytes[TYPE])
                       ? ROUTE_HEADER
                       : 2;
    if (bytes[LENGTH] < least || bytes[LENGTH] > room) {
        *offset += LENGTH;
        return -1;
    }
    if (least > 2 && bytes[POINTER] <= least) {
        *offset += POINTER;
        return -1;
    }
    *out = (struct option){bytes, bytes[LENGTH]};
    *offset += bytes[LENGTH];
    return 1;
}

/* How many octets an option still has room for. */
static size_t room(const struct option *option)
{
    size_t used = (size_t)option->bytes[POINTER] - 1;
    return used < option->size ? option->size - used : 0;
}

bool hook_ip4_options(struct pbuf *p)
{
    uint8_t *header = p->payload;
    size_t size = IPH_HL_BYTES((const struct ip_hdr *)p->payload), offset = IP_HLEN;
    struct option option;
    int found;
    while ((found = next_option(header, size, &offset, &option)) > 0)
        if (is_source_route(option.bytes[TYPE]) && room(&option) >= ADDRESS_SIZE) {
            /* We are not its last stop, and forward for no source route. */
            icmp_dest_unreach(p, ICMP_DUR_SR);
            return true;
        }
    if (found == 0)
        return false;
    icmp_parameter_problem(p, (uint8_t)offset);
    return true;
}

/* --- an echo reply's ------------------------------------------------------------------------ */

static void append(struct option *option, const void *octets, size_t size)
{
    memcpy(option->bytes + option->bytes[POINTER] - 1, octets, size);
    option->bytes[POINTER] = (uint8_t)(option->bytes[POINTER] + size);
}

/* Milliseconds of a clock that knows of no midnight: the high bit says so. */
static uint32_t stamp(void)
{
    return lwip_htonl(sys_now() | UINT32_C(1) << 31);
}

static void add_stamp(struct option *option, const ip4_addr_p_t *own)
{
    uint32_t now = stamp();
    uint8_t *flags = option->bytes + FLAGS;
    bool addresses = (*flags & 0xf) != STAMPS_ALONE;
    if (room(option) < STAMP_SIZE + (addresses ? ADDRESS_SIZE : 0)) {
        if (*flags >> 4 < 0xf)
            *flags = (uint8_t)(*flags + 0x10); /* one more that had no room */
        return;
    }
    if ((*flags & 0xf) == STAMPS_OF_THE_NAMED &&
        memcmp(option->bytes + option->bytes[POINTER] - 1, own, ADDRESS_SIZE) != 0)
        return;
    if (addresses)
        append(option, own, ADDRESS_SIZE);
    append(option, &now, sizeof now);
}

/* The way back: the recorded stops in reverse order, the originator last. */
static void turn_round(struct option *option, struct ip_hdr *reply)
{
    size_t count = ((size_t)option->bytes[POINTER] - 1 - ROUTE_HEADER) / ADDRESS_SIZE;
    size_t most = (option->size - ROUTE_HEADER) / ADDRESS_SIZE;
    uint8_t *stops = option->bytes + ROUTE_HEADER;
    uint8_t back[40];
    if (count > most)
        count = most;
    if (count == 0)
        return;
    for (size_t i = 1; i < count; i++)
        memcpy(back + (i - 1) * ADDRESS_SIZE, stops + (count - 1 - i) * ADDRESS_SIZE, ADDRESS_SIZE);
    memcpy(back + (count - 1) * ADDRESS_SIZE, &reply->dest, ADDRESS_SIZE);
    memcpy(&reply->dest, stops + (count - 1) * ADDRESS_SIZE, ADDRESS_SIZE);
    memcpy(stops, back, count * ADDRESS_SIZE);
    option->bytes[POINTER] = ROUTE_HEADER + 1;
}

void hook_icmp4_echo_options(struct ip_hdr *reply)
{
    size_t size = IPH_HL_BYTES(reply), offset = IP_HLEN;
    struct option option;
    while (next_option((uint8_t *)reply, size, &offset, &option) > 0) {
        uint8_t type = option.bytes[TYPE];
        if (type == OPTION_RECORD_ROUTE && room(&option) >= ADDRESS_SIZE)
            append(&option, &reply->src, ADDRESS_SIZE);
        else if (type == OPTION_TIMESTAMP)
            add_stamp(&option, &reply->src);
        else if (is_source_route(type))
            turn_round(&option, reply);
    }
}
