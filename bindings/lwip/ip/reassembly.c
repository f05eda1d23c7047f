/*
 * Fragments that wait for the others of their datagram (RFC 791 3.2, RFC 8200 4.5).
 *
 * lwIP keeps the fragments themselves in a list of lists: many are cheap to send, dear to search.
 * Here the data are copied to where they belong, into pages of 1024 octets with a bit for each
 * eight of them. So a fragment costs the same whatever came before it, and holds no more than its
 * own pages: neither a frame's large buffer, nor one of 8 octets its own buffer. A datagram is
 * found by a keyed hash; the one that has waited longest for its next fragment makes room.
 */
#include "ip/reassembly.h"

#include "base/keyed_hash.h"
#include "base/memory.h"
#include "base/port.h"
#include "base/timeouts.h"
#include "lwip/mem.h"
#include "lwip/pbuf.h"

#define UNIT 8 /* octets: what fragments' offsets count in */
#define PAGE 1024
#define PAGES (((size_t)REASSEMBLY_LONGEST + PAGE) / PAGE)
#define PAGE_UNITS (PAGE / UNIT)
#define WORD_BITS 64
#define ROOM_KEPT (2 * PAGES * sizeof(struct page)) /* however short memory is */
#define USUAL_HEADER 60 /* octets that IPv4's has at most, and IPv6's with few extensions */

struct page {
    uint64_t have[PAGE_UNITS / WORD_BITS];
    uint64_t starts[PAGE_UNITS / WORD_BITS]; /* a fragment begins here */
    uint8_t data[PAGE];
};

struct datagram {
    struct datagram **bucket, *next_in_bucket;
    struct datagram *used_before, *used_after;
    struct datagram *born_before, *born_after;
    uint64_t key[REASSEMBLY_KEY_WORDS];
    uint64_t born_us;
    size_t bytes;       /* its memory */
    uint32_t fragments; /* how many came */
    uint32_t received;  /* octets of data */
    uint32_t end;       /* the furthest octet; where the data end, once the last fragment is here */
    uint32_t first_end; /* of the first fragment; 0: it has not come */
    size_t header_size;
    uint8_t *header, usual_header[USUAL_HEADER];
    uint8_t link_flags; /* as a frame's, to many */
    bool last_is_here;
    uint8_t pages_end; /* behind the last one that there is: the rest need not be read */
    struct page *pages[PAGES];
};

/* --- finding ----------------------------------------------------------------------------- */

static struct datagram **bucket(struct reassembly *all, const uint64_t *key)
{
    return &all->buckets[keyed_hash(key, REASSEMBLY_KEY_WORDS) & (REASSEMBLY_BUCKETS - 1)];
}

static struct datagram *find(struct datagram *first, const uint64_t *key)
{
    for (struct datagram *one = first; one != NULL; one = one->next_in_bucket)
        if (memcmp(one->key, key, sizeof one->key) == 0)
            return one;
    return NULL;
}

static void enter_as_used(struct reassembly *all, struct datagram *one)
{
    one->used_after = NULL;
    one->used_before = all->used_last;
    *(all->used_last != NULL ? &all->used_last->used_after : &all->used_first) = one;
    all->used_last = one;
}

static void leave_used(struct reassembly *all, struct datagram *one)
{
    *(one->used_before != NULL ? &one->used_before->used_after : &all->used_first) =
        one->used_after;
    *(one->used_after != NULL ? &one->used_after->used_before : &all->used_last) = one->used_before;
}

static struct datagram *create(struct reassembly *all, struct datagram **head, const uint64_t *key)
{
    struct datagram *one = port_allocate(sizeof *one);
    if (one == NULL)
        return NULL;
    memcpy(one->key, key, sizeof one->key);
    one->born_us = port.now_us;
    one->bytes = sizeof *one;
    all->bytes += one->bytes;
    one->bucket = head;
    one->next_in_bucket = *head;
    *head = one;
    enter_as_used(all, one);
    one->born_before = all->born_last;
    *(all->born_last != NULL ? &all->born_last->born_after : &all->born_first) = one;
    all->born_last = one;
    return one;
}

void reassembly_drop(struct reassembly *all, struct datagram *one)
{
    struct datagram **link = one->bucket;
    while (*link != one)
        link = &(*link)->next_in_bucket;
    *link = one->next_in_bucket;
    leave_used(all, one);
    *(one->born_before != NULL ? &one->born_before->born_after : &all->born_first) =
        one->born_after;
    *(one->born_after != NULL ? &one->born_after->born_before : &all->born_last) = one->born_before;
    all->bytes -= one->bytes;
    all->fragments -= one->fragments;
    for (size_t i = 0; i < one->pages_end; i++)
        port_free(one->pages[i]);
    if (one->header != one->usual_header)
        port_free(one->header);
    port_free(one);
}

/* --- memory ------------------------------------------------------------------------------ */

/* Whether there may be a fragment more, of so much memory, others than `keep` making room. */
static bool make_room(struct reassembly *all, const struct datagram *keep, size_t bytes)
{
    while (all->bytes + bytes > (size_t)*all->limit_bytes ||
           all->fragments >= (uint32_t)*all->limit_fragments) {
        struct datagram *oldest = all->used_first;
        if (oldest == NULL || oldest == keep) /* which is the newest */
            return false;
        reassembly_drop(all, oldest);
    }
    return true;
}

static void *allocate_for(struct reassembly *all, struct datagram *one, size_t size)
{
    void *memory = mem_malloc(size);
    if (memory != NULL) {
        one->bytes += size;
        all->bytes += size;
    }
    return memory;
}

static bool has_pages(struct reassembly *all, struct datagram *one, const struct fragment *fragment)
{
    size_t first = fragment->start / PAGE, last = (fragment->end - 1) / PAGE, missing = 0;
    for (size_t i = first; i <= last; i++)
        missing += one->pages[i] == NULL;
    if (!make_room(all, one, missing * sizeof(struct page)))
        return false;
    for (size_t i = first; i <= last; i++) {
        if (one->pages[i] != NULL)
            continue;
        struct page *page = allocate_for(all, one, sizeof *page);
        if (page == NULL)
            return false;
        memset(page->have, 0, sizeof page->have);
        memset(page->starts, 0, sizeof page->starts);
        one->pages[i] = page;
        if (one->pages_end <= i)
            one->pages_end = (uint8_t)(i + 1);
    }
    return true;
}

/* --- bits -------------------------------------------------------------------------------- */

/* One word of a page's bits, and those of them that a range of units covers. */
struct part {
    struct page *page;
    size_t word;
    uint64_t mask;
};

/* The part at *unit, which moves past it. */
static struct part next_part(const struct datagram *one, size_t *unit, size_t end)
{
    size_t bit = *unit % WORD_BITS, count = WORD_BITS - bit;
    if (count > end - *unit)
        count = end - *unit;
    struct part part = {one->pages[*unit / PAGE_UNITS], *unit % PAGE_UNITS / WORD_BITS,
                        (UINT64_MAX >> (WORD_BITS - count)) << bit};
    *unit += count;
    return part;
}

static size_t unit_of_end(const struct fragment *fragment)
{
    return (fragment->end + UNIT - 1) / UNIT;
}

static bool overlaps(const struct datagram *one, const struct fragment *fragment)
{
    size_t unit = fragment->start / UNIT, end = unit_of_end(fragment);
    while (unit < end) {
        struct part part = next_part(one, &unit, end);
        if (part.page != NULL && (part.page->have[part.word] & part.mask) != 0)
            return true;
    }
    return false;
}

/* Whether a bit of a unit is set: of `have`, or of `starts`. */
static bool has(const struct datagram *one, size_t unit, bool start)
{
    const struct page *page = unit / PAGE_UNITS < PAGES ? one->pages[unit / PAGE_UNITS] : NULL;
    size_t word = unit % PAGE_UNITS / WORD_BITS;
    return page != NULL && ((start ? page->starts : page->have)[word] >> unit % WORD_BITS & 1) != 0;
}

/* How much of a fragment is in the page of one of its octets, from that on. */
static uint32_t stretch(const struct fragment *fragment, uint32_t at)
{
    uint32_t size = PAGE - at % PAGE;
    return size < fragment->end - at ? size : fragment->end - at;
}

static void copy_from(const struct fragment *fragment, uint32_t at, uint8_t *out, uint32_t size)
{
    pbuf_copy_partial(fragment->packet, out, (u16_t)size,
                      (u16_t)(fragment->data + at - fragment->start));
}

/* Whether the very same fragment is here: neither a part of one, nor several, nor other data. */
static bool is_copy(const struct datagram *one, const struct fragment *fragment)
{
    size_t first = fragment->start / UNIT, unit = first, end = unit_of_end(fragment);
    if (!has(one, first, true) || (has(one, end, false) && !has(one, end, true)))
        return false;
    if (!fragment->more && !(one->last_is_here && one->end == fragment->end))
        return false;
    if (fragment->more && one->last_is_here && one->end == fragment->end)
        return false;
    while (unit < end) {
        bool at_start = unit == first;
        struct part part = next_part(one, &unit, end);
        uint64_t starts = part.page != NULL ? part.page->starts[part.word] & part.mask : 0;
        if (part.page == NULL || (part.page->have[part.word] & part.mask) != part.mask ||
            starts != (at_start ? UINT64_C(1) << first % WORD_BITS : 0))
            return false;
    }
    uint8_t theirs[PAGE];
    for (uint32_t at = fragment->start, size; at < fragment->end; at += size) {
        size = stretch(fragment, at);
        copy_from(fragment, at, theirs, size);
        if (memcmp(theirs, one->pages[at / PAGE]->data + at % PAGE, size) != 0)
            return false;
    }
    return true;
}

static void write_data(struct datagram *one, const struct fragment *fragment)
{
    size_t first = fragment->start / UNIT, unit = first, end = unit_of_end(fragment);
    one->pages[fragment->start / PAGE]->starts[first % PAGE_UNITS / WORD_BITS] |=
        UINT64_C(1) << first % WORD_BITS;
    while (unit < end) {
        struct part part = next_part(one, &unit, end);
        part.page->have[part.word] |= part.mask;
    }
    for (uint32_t at = fragment->start, size; at < fragment->end; at += size) {
        size = stretch(fragment, at);
        copy_from(fragment, at, one->pages[at / PAGE]->data + at % PAGE, size);
    }
}

/* --- a fragment -------------------------------------------------------------------------- */

/* Whether it lies behind the end, or would set another one. */
static bool is_beyond(const struct datagram *one, const struct fragment *fragment)
{
    if (one->last_is_here)
        return fragment->end > one->end || (!fragment->more && fragment->end != one->end);
    return !fragment->more && fragment->end < one->end;
}

static enum fragment_result put(struct reassembly *all, struct datagram *one,
                                const struct fragment *fragment, const void *header,
                                size_t header_size)
{
    if (is_beyond(one, fragment))
        return FRAGMENT_CONTRADICTS;
    if (overlaps(one, fragment))
        return is_copy(one, fragment) ? FRAGMENT_IS_COPY : FRAGMENT_CONTRADICTS;
    if (!has_pages(all, one, fragment))
        return FRAGMENT_WITHOUT_ROOM;
    if (fragment->start == 0) {
        one->header = header_size <= sizeof one->usual_header ? one->usual_header
                                                              : allocate_for(all, one, header_size);
        if (one->header == NULL)
            return FRAGMENT_WITHOUT_ROOM;
        memcpy(one->header, header, header_size);
        one->header_size = header_size;
        one->first_end = fragment->end;
    }
    write_data(one, fragment);
    one->link_flags |= fragment->packet->flags & (PBUF_FLAG_LLBCAST | PBUF_FLAG_LLMCAST);
    one->fragments++;
    all->fragments++;
    one->received += fragment->end - fragment->start;
    if (one->end < fragment->end)
        one->end = fragment->end;
    one->last_is_here |= !fragment->more;
    return one->last_is_here && one->received == one->end ? FRAGMENT_COMPLETES : FRAGMENT_TAKEN;
}

enum fragment_result reassembly_add(struct reassembly *all, const struct fragment *fragment,
                                    const void *header, size_t header_size,
                                    struct datagram **datagram)
{
    struct datagram **head = bucket(all, fragment->key), *one = find(*head, fragment->key);
    if (one != NULL) {
        leave_used(all, one);
        enter_as_used(all, one);
    } else {
        if (!make_room(all, NULL, sizeof *one) || (one = create(all, head, fragment->key)) == NULL)
            return FRAGMENT_WITHOUT_ROOM;
    }
    enum fragment_result result = put(all, one, fragment, header, header_size);
    if (one->fragments == 0) {
        reassembly_drop(all, one);
        one = NULL;
    }
    *datagram = one;
    return result;
}

void reassembly_expire(struct reassembly *all)
{
    uint64_t time_us = (uint64_t)*all->time_s * 1000000;
    while (all->born_first != NULL && port.now_us - all->born_first->born_us >= time_us) {
        struct datagram *oldest = all->born_first;
        all->timed_out(oldest);
        reassembly_drop(all, oldest);
    }
}

uint64_t reassembly_expires_ms(const struct reassembly *all)
{
    if (all->born_first == NULL)
        return NEVER_MS;
    return (all->born_first->born_us + (uint64_t)*all->time_s * 1000000 + 999) / 1000;
}

void reassembly_shed(struct reassembly *all)
{
    size_t rest = LWIP_MAX(all->bytes / 2, ROOM_KEPT);
    while (all->bytes > rest)
        reassembly_drop(all, all->used_first);
}

/* --- what came of it --------------------------------------------------------------------- */

static void copy_data(const struct datagram *one, uint8_t *out, size_t size)
{
    for (size_t at = 0; at < size; at += PAGE)
        memcpy(out + at, one->pages[at / PAGE]->data, size - at < PAGE ? size - at : PAGE);
}

static struct pbuf *with_header(const struct datagram *one, size_t header_size, size_t size)
{
    if (header_size + size > REASSEMBLY_LONGEST)
        return NULL;
    struct pbuf *p = pbuf_alloc(PBUF_LINK, (u16_t)(header_size + size), PBUF_RAM);
    if (p == NULL)
        return NULL;
    memcpy(p->payload, one->header, header_size);
    copy_data(one, (uint8_t *)p->payload + header_size, size);
    p->flags |= one->link_flags;
    return p;
}

struct pbuf *reassembly_take(struct reassembly *all, struct datagram *datagram, size_t header_size)
{
    struct pbuf *p = with_header(datagram, header_size, datagram->end);
    reassembly_drop(all, datagram);
    return p;
}

struct pbuf *datagram_first(const struct datagram *datagram, size_t most)
{
    size_t size = datagram->first_end < most ? datagram->first_end : most;
    return size != 0 ? with_header(datagram, datagram->header_size, size) : NULL;
}

const void *datagram_header(const struct datagram *datagram, size_t *size)
{
    *size = datagram->header_size;
    return datagram->header;
}

const uint64_t *datagram_key(const struct datagram *datagram)
{
    return datagram->key;
}
