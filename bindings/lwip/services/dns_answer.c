/*
 * DNS responses (RFC 1035 4.1), from anybody: what is not whole is not believed.
 *
 * An address counts whose record belongs to the name that was asked for, or to the one that a
 * CNAME before it leads to. Names are compared as they stand in a message, uncompressed and in
 * lower case.
 */
#include "services/dns_answer.h"

#include <ctype.h>
#include <string.h>

#include "lwip/pbuf.h"
#include "lwip/prot/dns.h"

#define MOST_BYTES 9000 /* RFC 6762 17; without EDNS a unicast response has 512 */
#define MOST_ALIASES 16
#define LONGEST_NAME 255 /* with the lengths of its labels */
#define POINTER 0xc0

struct name {
    size_t size;
    uint8_t wire[LONGEST_NAME];
};

struct record {
    struct name owner;
    unsigned type, class;
    size_t data, data_size;
};

static struct {
    size_t size;
    uint8_t bytes[MOST_BYTES];
} message;

static unsigned read16(size_t offset)
{
    return (unsigned)message.bytes[offset] << 8 | message.bytes[offset + 1];
}

static bool add_label(struct name *name, const uint8_t *label, size_t size)
{
    if (name->size + 1 + size > sizeof name->wire)
        return false;
    name->wire[name->size++] = (uint8_t)size;
    for (size_t i = 0; i < size; i++)
        name->wire[name->size++] = (uint8_t)tolower(label[i]);
    return true;
}

/* The offset behind the name there, or 0. A pointer leads to what stands before this part of the
 * name, so that each name ends. */
static size_t read_name(size_t offset, struct name *out)
{
    size_t behind = 0, part = offset;
    out->size = 0;
    while (offset < message.size) {
        size_t label = message.bytes[offset];
        if (label >= POINTER) {
            if (offset + 2 > message.size)
                return 0;
            if (behind == 0)
                behind = offset + 2;
            offset = read16(offset) & 0x3fff;
            if (offset >= part)
                return 0;
            part = offset;
            continue;
        }
        /* The root's label, of no bytes, ends a name. */
        if (label > 63 || offset + 1 + label > message.size ||
            !add_label(out, message.bytes + offset + 1, label))
            return 0;
        offset += 1 + label;
        if (label == 0)
            return behind != 0 ? behind : offset;
    }
    return 0;
}

static bool from_text(const char *text, struct name *out)
{
    out->size = 0;
    while (*text != '\0') {
        size_t label = strcspn(text, ".");
        if (!add_label(out, (const uint8_t *)text, label))
            return false;
        text += label;
        text += *text == '.';
    }
    return add_label(out, NULL, 0);
}

static bool is_same(const struct name *a, const struct name *b)
{
    return a->size == b->size && memcmp(a->wire, b->wire, a->size) == 0;
}

/* The offset behind the question, or 0: it is another. */
static size_t read_question(const struct name *name, unsigned type)
{
    struct name asked;
    size_t offset = read_name(SIZEOF_DNS_HDR, &asked);
    if (offset == 0 || offset + 4 > message.size || !is_same(&asked, name))
        return 0;
    bool same = read16(offset) == type && read16(offset + 2) == DNS_RRCLASS_IN;
    return same ? offset + 4 : 0;
}

/* The offset behind the record, or 0. */
static size_t read_record(size_t offset, struct record *out)
{
    enum { TYPE = 0, CLASS = 2, SIZE = 8, DATA = 10 };
    offset = read_name(offset, &out->owner);
    if (offset == 0 || offset + DATA > message.size)
        return 0;
    out->type = read16(offset + TYPE);
    out->class = read16(offset + CLASS);
    out->data = offset + DATA;
    out->data_size = read16(offset + SIZE);
    offset = out->data + out->data_size;
    return offset <= message.size ? offset : 0;
}

static void take_address(const struct record *record, enum ps_family family, struct dns_answer *out)
{
    if (out->count == MOST_ADDRESSES)
        return;
    struct ps_address *address = &out->addresses[out->count++];
    memset(address, 0, sizeof *address);
    address->family = (uint8_t)family;
    memcpy(address->bytes, message.bytes + record->data, record->data_size);
}

bool dns_answer_read(const struct pbuf *p, const char *text, bool mdns, enum ps_family family,
                     struct dns_answer *out)
{
    enum { FLAGS = 2, QUESTIONS = 4, ANSWERS = 6, OPCODE = 0x78 };
    unsigned type = family == PS_INET6 ? DNS_RRTYPE_AAAA : DNS_RRTYPE_A;
    size_t address_size = family == PS_INET6 ? 16 : 4;
    unsigned class_bits = mdns ? 0x7fff : 0xffff; /* the top bit flushes caches (RFC 6762 10.2) */
    struct name name;
    if (p->tot_len < SIZEOF_DNS_HDR || p->tot_len > sizeof message.bytes || !from_text(text, &name))
        return false;
    message.size = pbuf_copy_partial(p, message.bytes, p->tot_len, 0);
    uint8_t flags = message.bytes[FLAGS];
    if (!(flags & DNS_FLAG1_RESPONSE) || (flags & OPCODE) != 0 || read16(QUESTIONS) != 1)
        return false;
    out->code = message.bytes[FLAGS + 1] & DNS_FLAG2_ERR_MASK;
    out->truncated = (flags & DNS_FLAG1_TRUNC) != 0;
    out->count = 0;
    size_t offset = read_question(&name, type);
    if (offset == 0)
        return false;
    int aliases = 0;
    for (unsigned answers = read16(ANSWERS); answers > 0; answers--) {
        struct record record;
        struct name target;
        offset = read_record(offset, &record);
        if (offset == 0)
            return out->truncated; /* what was whole counts */
        if ((record.class & class_bits) != DNS_RRCLASS_IN || !is_same(&record.owner, &name))
            continue;
        if (record.type == type && record.data_size == address_size) {
            take_address(&record, family, out);
        } else if (record.type == DNS_RRTYPE_CNAME) {
            if (read_name(record.data, &target) != offset || ++aliases > MOST_ALIASES)
                return false;
            name = target;
        }
    }
    return true;
}
