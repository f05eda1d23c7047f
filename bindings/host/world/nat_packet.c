/*
 * IPv4 packets as a NAT reads and rewrites them. Every length in them is checked before it is used;
 * checksums are updated by what changes (RFC 1624).
 */
#include "world/nat.h"

#include <string.h>

#include "nic/partial_checksum.h"

enum { IP4_HEADER = 20, ICMP_HEADER = 8, TCP_HEADER = 20, UDP_HEADER = 8 };
enum { ECHO_REPLY = 0, UNREACHABLE = 3, QUENCH = 4, REDIRECT = 5, ECHO = 8, TIME_EXCEEDED = 11 };
enum { PARAMETER_PROBLEM = 12 };
enum { UDP_CHECKSUM = 6, TCP_CHECKSUM = 16, ICMP_CHECKSUM = 2, ICMP_IDENTIFIER = 4 };

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* --- reading ------------------------------------------------------------------------------- */

static enum nat_sort sort_of_icmp(const struct nat_packet *packet)
{
    if (packet->data_size < ICMP_HEADER)
        return NAT_MALFORMED;
    switch (packet->data[0]) {
    case ECHO:
        return NAT_QUERY;
    case ECHO_REPLY:
        return NAT_ANSWER;
    case UNREACHABLE:
    case QUENCH:
    case REDIRECT:
    case TIME_EXCEEDED:
    case PARAMETER_PROBLEM:
        return NAT_ERROR;
    default:
        return NAT_OTHER;
    }
}

static enum nat_sort sort_of(struct nat_packet *packet, bool is_quoted)
{
    size_t least = packet->protocol == NAT_TCP ? TCP_HEADER : UDP_HEADER;
    if (packet->protocol == NAT_ICMP)
        return sort_of_icmp(packet);
    if (packet->protocol != NAT_TCP && packet->protocol != NAT_UDP)
        return NAT_OTHER;
    if (packet->data_size < (is_quoted ? UDP_HEADER : least))
        return NAT_MALFORMED;
    if (packet->protocol == NAT_TCP && packet->data_size >= TCP_HEADER)
        packet->flags = packet->data[13];
    return NAT_TRANSPORT;
}

struct nat_packet nat_parse(uint8_t *ip, size_t size, bool is_quoted)
{
    struct nat_packet packet = {.sort = NAT_MALFORMED, .ip = ip};
    if (size < IP4_HEADER || ip[0] >> 4 != 4)
        return packet;
    size_t header = (ip[0] & 15u) * 4, length = get16(ip + 2);
    if (header < IP4_HEADER || header > size || length < header || (length > size && !is_quoted))
        return packet;
    packet.size = length < size ? length : size; /* the rest is Ethernet's padding */
    packet.protocol = ip[9];
    packet.data = ip + header;
    packet.data_size = packet.size - header;
    uint16_t place = get16(ip + 6);
    packet.has_more = (place & 0x2000) != 0;
    packet.sort = (place & 0x1fff) != 0 ? NAT_FRAGMENT : sort_of(&packet, is_quoted);
    return packet;
}

struct nat_packet nat_quoted(const struct nat_packet *error)
{
    return nat_parse(error->data + ICMP_HEADER, error->data_size - ICMP_HEADER, true);
}

static struct nat_end end_at(const struct nat_packet *packet, size_t address, size_t port)
{
    struct nat_end end = {0};
    memcpy(&end.address, packet->ip + address, sizeof end.address);
    if (packet->sort == NAT_TRANSPORT)
        memcpy(&end.port, packet->data + port, sizeof end.port);
    return end;
}

/* The identifier is the asking end's. */
static struct nat_end with_identifier(const struct nat_packet *packet, struct nat_end end,
                                      enum nat_sort asked_by)
{
    if (packet->sort == asked_by)
        memcpy(&end.port, packet->data + ICMP_IDENTIFIER, sizeof end.port);
    return end;
}

struct nat_end nat_source(const struct nat_packet *packet)
{
    return with_identifier(packet, end_at(packet, 12, 0), NAT_QUERY);
}

struct nat_end nat_destination(const struct nat_packet *packet)
{
    return with_identifier(packet, end_at(packet, 16, 2), NAT_ANSWER);
}

/* --- rewriting ----------------------------------------------------------------------------- */

/* The checksum that covers the addresses as well; NULL: there is none here. */
static uint8_t *transport_checksum(const struct nat_packet *packet)
{
    if (packet->sort != NAT_TRANSPORT)
        return NULL;
    size_t at = packet->protocol == NAT_TCP ? TCP_CHECKSUM : UDP_CHECKSUM;
    uint8_t *checksum = packet->data + at;
    if (packet->data_size < at + 2 || (packet->protocol == NAT_UDP && get16(checksum) == 0))
        return NULL;
    return checksum;
}

static void set_end(struct nat_packet *packet, struct nat_end end, uint8_t *address, uint8_t *port)
{
    uint8_t *checksum = transport_checksum(packet);
    const uint8_t *new_address = (const uint8_t *)&end.address;
    const uint8_t *new_port = (const uint8_t *)&end.port;
    checksum_update(packet->ip + 10, address, new_address, sizeof end.address);
    if (checksum != NULL) {
        checksum_update(checksum, address, new_address, sizeof end.address);
        checksum_update(checksum, port, new_port, sizeof end.port);
        if (packet->protocol == NAT_UDP && get16(checksum) == 0)
            put16(checksum, 0xffff); /* 0 would say that there is none */
    }
    memcpy(address, new_address, sizeof end.address);
    if (packet->sort == NAT_TRANSPORT)
        memcpy(port, new_port, sizeof end.port);
}

static void set_identifier(struct nat_packet *packet, uint16_t identifier)
{
    uint8_t *at = packet->data + ICMP_IDENTIFIER;
    checksum_update(packet->data + ICMP_CHECKSUM, at, (const uint8_t *)&identifier,
                    sizeof identifier);
    memcpy(at, &identifier, sizeof identifier);
}

void nat_set_source(struct nat_packet *packet, struct nat_end end)
{
    set_end(packet, end, packet->ip + 12, packet->data);
    if (packet->sort == NAT_QUERY)
        set_identifier(packet, end.port);
}

void nat_set_destination(struct nat_packet *packet, struct nat_end end)
{
    set_end(packet, end, packet->ip + 16, packet->data + 2);
    if (packet->sort == NAT_ANSWER)
        set_identifier(packet, end.port);
}

bool nat_error_is_sound(const struct nat_packet *error)
{
    return checksum_fold(checksum_sum(error->data, error->data_size)) == 0xffff;
}

void nat_seal_error(struct nat_packet *error)
{
    put16(error->data + ICMP_CHECKSUM, 0);
    uint16_t sum = checksum_fold(checksum_sum(error->data, error->data_size));
    put16(error->data + ICMP_CHECKSUM, (uint16_t)~sum);
}

bool nat_take_hop(struct nat_packet *packet)
{
    if (packet->ip[8] <= 1)
        return false;
    const uint8_t after[2] = {(uint8_t)(packet->ip[8] - 1), packet->ip[9]};
    checksum_update(packet->ip + 10, packet->ip + 8, after, sizeof after);
    packet->ip[8] = after[0];
    return true;
}
