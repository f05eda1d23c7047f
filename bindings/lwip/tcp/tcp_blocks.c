/*
 * Bytes of a stream that are there before their turn, by sequence number.
 *
 * A ring of blocks, in which a number has one place, and in each block a bit for each byte.
 */
#include "tcp/tcp_blocks.h"

#include "base/memory.h"
#include "lwip/priv/tcp_priv.h"

/* With its header a block is 1.2 times as much. */
#define BLOCK_SHIFT 10
#define BLOCK_SIZE (1u << BLOCK_SHIFT)
#define BLOCK_MASK (BLOCK_SIZE - 1)
#define LEAST_SLOTS 64u

struct block {
    struct pbuf_custom pbuf; /* first: what the block is once its bytes are in order */
    uint32_t count;          /* of bytes that are there */
    uint64_t present[BLOCK_SIZE / 64];
    uint8_t bytes[BLOCK_SIZE];
};

struct tcp_blocks {
    uint32_t size;  /* of the ring, a power of two */
    uint32_t held;  /* bytes */
    uint32_t reach; /* the end of what was put farthest */
    uint64_t *full; /* a bit for each place: its block has all its bytes */
    struct block *blocks[];
};

static uint32_t place_of(const struct tcp_blocks *table, uint32_t at)
{
    return (at >> BLOCK_SHIFT) & (table->size - 1);
}

static struct block *block_at(const struct tcp_blocks *table, uint32_t at)
{
    return table->blocks[place_of(table, at)];
}

static uint32_t earlier(uint32_t a, uint32_t b)
{
    return TCP_SEQ_LT(a, b) ? a : b;
}

/* The part of a block's word that lies from `from` to before `to`, both numbers in the block. */
static uint64_t bits(uint32_t word, uint32_t from, uint32_t to)
{
    uint32_t low = word * 64, high = low + 64;
    uint64_t mask = UINT64_MAX;
    if (from >= high || to <= low)
        return 0;
    if (from > low)
        mask &= UINT64_MAX << (from - low);
    if (to < high)
        mask &= UINT64_MAX >> (high - to);
    return mask;
}

/* Marks a part of the block that `at` is in. */
static void mark(struct tcp_blocks *table, uint32_t at, uint32_t size, bool present)
{
    struct block *block = block_at(table, at);
    uint32_t from = at & BLOCK_MASK, to = from + size, before = block->count;
    for (uint32_t i = from / 64; i * 64 < to; i++) {
        uint64_t mask = bits(i, from, to), old = block->present[i];
        block->present[i] = present ? old | mask : old & ~mask;
        int changed = __builtin_popcountll(old ^ block->present[i]);
        block->count += (uint32_t)(present ? changed : -changed);
    }
    table->held += block->count - before;
    uint32_t place = place_of(table, at);
    uint64_t bit = UINT64_C(1) << (place % 64);
    if (block->count == BLOCK_SIZE)
        table->full[place / 64] |= bit;
    else
        table->full[place / 64] &= ~bit;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* `at` is where a block begins: the first block from there on that is not full, or `limit`. */
static uint32_t skip_full(const struct tcp_blocks *table, uint32_t at, uint32_t limit)
{
    while (TCP_SEQ_LT(at, limit)) {
        uint32_t place = place_of(table, at), bit = place % 64;
        uint64_t others = ~(table->full[place / 64] >> bit);
        uint32_t count = others != 0 ? (uint32_t)__builtin_ctzll(others) : 64;
        at += count << BLOCK_SHIFT;
        if (bit + count < 64)
            break;
    }
    return at;
}

uint32_t blocks_next(const struct tcp_blocks *table, uint32_t from, uint32_t limit, bool present)
{
    if (table == NULL || TCP_SEQ_GEQ(from, table->reach))
        return present ? limit : from;
    uint32_t at = from, stop = earlier(limit, table->reach);
    while (TCP_SEQ_LT(at, stop)) {
        const struct block *block = block_at(table, at);
        if (block == NULL) {
            if (!present)
                return at;
            at = (at | BLOCK_MASK) + 1;
            continue;
        }
        if (!present && (at & BLOCK_MASK) == 0 && block->count == BLOCK_SIZE) {
            at = skip_full(table, at, stop);
            continue;
        }
        uint64_t word = block->present[(at & BLOCK_MASK) / 64];
        word = (present ? word : ~word) >> (at % 64);
        if (word != 0)
            return earlier(at + (uint32_t)__builtin_ctzll(word), present ? limit : stop);
        at = (at | 63) + 1;
    }
    return present ? limit : stop;
}

uint32_t blocks_run_end(const struct tcp_blocks *table, uint32_t at)
{
    return table == NULL ? at : blocks_next(table, at, table->reach, false);
}

uint32_t blocks_run_begin(const struct tcp_blocks *table, uint32_t at, uint32_t floor)
{
    if (table == NULL || TCP_SEQ_GT(at, table->reach))
        return at;
    while (TCP_SEQ_GT(at, floor)) {
        uint32_t last = at - 1, place = place_of(table, last), bit = last % 64;
        const struct block *block = table->blocks[place];
        if (block == NULL)
            break;
        if ((at & BLOCK_MASK) == 0 && block->count == BLOCK_SIZE) {
            uint64_t others = ~(table->full[place / 64] << (63 - place % 64));
            at -= (others != 0 ? (uint32_t)__builtin_clzll(others) : 64) << BLOCK_SHIFT;
            continue;
        }
        uint64_t others = ~(block->present[(last & BLOCK_MASK) / 64] << (63 - bit));
        uint32_t count = others != 0 ? (uint32_t)__builtin_clzll(others) : 64;
        at -= count;
        if (count <= bit)
            break;
    }
    return TCP_SEQ_LT(at, floor) ? floor : at;
}

bool blocks_reach_past(const struct tcp_blocks *table, uint32_t at)
{
    return table != NULL && TCP_SEQ_GT(table->reach, at);
}

/* --- putting ---------------------------------------------------------------------------------- */

static struct tcp_blocks *make_table(uint32_t size)
{
    size_t blocks = size * sizeof(struct block *);
    struct tcp_blocks *table = port_allocate(sizeof *table + blocks + size / 64 * sizeof(uint64_t));
    if (table != NULL) {
        table->size = size;
        table->full = (uint64_t *)(void *)((uint8_t *)table->blocks + blocks);
    }
    return table;
}

/* A ring in which there is a place for each number from `base` to before `end`; NULL: no memory. */
static struct tcp_blocks *with_room(struct tcp_blocks *old, uint32_t base, uint32_t end)
{
    uint32_t needed = ((end - 1 - (base & ~BLOCK_MASK)) >> BLOCK_SHIFT) + 1;
    uint32_t size = old != NULL ? old->size : LEAST_SLOTS;
    if (old != NULL && size >= needed)
        return old;
    while (size < needed)
        size *= 2;
    struct tcp_blocks *table = make_table(size);
    if (table == NULL || old == NULL)
        return table;
    table->held = old->held;
    table->reach = old->reach;
    for (uint32_t i = 0; i < old->size; i++) {
        uint32_t at = base + (i << BLOCK_SHIFT), place = place_of(table, at);
        table->blocks[place] = block_at(old, at);
        if (table->blocks[place] != NULL && table->blocks[place]->count == BLOCK_SIZE)
            table->full[place / 64] |= UINT64_C(1) << (place % 64);
    }
    port_free(old);
    return table;
}

/* Only the header: what a byte is, is said by its bit. */
static struct block *make_block(void)
{
    struct block *block = port_lwip_malloc(sizeof *block);
    if (block != NULL)
        memset(block, 0, offsetof(struct block, bytes));
    return block;
}

static void drop_if_empty(struct tcp_blocks **table)
{
    if (*table != NULL && (*table)->held == 0)
        blocks_free(table);
}

uint32_t blocks_put(struct tcp_blocks **table, uint32_t base, const struct pbuf *p, uint32_t left,
                    uint32_t right)
{
    struct tcp_blocks *larger = with_room(*table, base, right);
    if (larger == NULL)
        return left;
    if (larger->held == 0)
        larger->reach = left;
    *table = larger;
    uint32_t at = left;
    while (at != right) {
        struct block **block = &larger->blocks[place_of(larger, at)];
        if (*block == NULL)
            *block = make_block();
        if (*block == NULL)
            break;
        uint32_t size = LWIP_MIN(BLOCK_SIZE - (at & BLOCK_MASK), right - at);
        pbuf_copy_partial(p, (*block)->bytes + (at & BLOCK_MASK), (u16_t)size, (u16_t)(at - left));
        mark(larger, at, size, true);
        at += size;
    }
    if (TCP_SEQ_GT(at, larger->reach))
        larger->reach = at;
    drop_if_empty(table);
    return at;
}

/* --- taking ----------------------------------------------------------------------------------- */

static void free_block(struct pbuf *p)
{
    port_free(p);
}

static void remove_block(struct tcp_blocks *table, uint32_t at)
{
    struct block **block = &table->blocks[place_of(table, at)];
    port_free(*block);
    *block = NULL;
}

/* Drops a part of the block that `at` is in. */
static void unmark(struct tcp_blocks *table, uint32_t at, uint32_t size)
{
    mark(table, at, size, false);
    if (block_at(table, at)->count == 0)
        remove_block(table, at);
}

void blocks_discard(struct tcp_blocks **table, uint32_t from, uint32_t to)
{
    if (*table == NULL)
        return;
    uint32_t stop = earlier(to, (*table)->reach);
    while (TCP_SEQ_LT(from, stop)) {
        uint32_t size = LWIP_MIN(BLOCK_SIZE - (from & BLOCK_MASK), stop - from);
        if (block_at(*table, from) != NULL)
            unmark(*table, from, size);
        from += size;
    }
    drop_if_empty(table);
}

/* The block itself becomes the buffer. */
static struct pbuf *give_block(struct tcp_blocks *table, uint32_t at, uint32_t size)
{
    struct block *block = block_at(table, at);
    mark(table, at, size, false);
    table->blocks[place_of(table, at)] = NULL;
    block->pbuf.custom_free_function = free_block;
    return pbuf_alloced_custom(PBUF_RAW, (u16_t)size, PBUF_REF, &block->pbuf,
                               block->bytes + (at & BLOCK_MASK), (u16_t)size);
}

static struct pbuf *copy_out(struct tcp_blocks *table, uint32_t at, uint32_t size)
{
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)size, PBUF_RAM);
    if (p != NULL) {
        memcpy(p->payload, block_at(table, at)->bytes + (at & BLOCK_MASK), size);
        unmark(table, at, size);
    }
    return p;
}

uint32_t blocks_take(struct tcp_blocks **table, uint32_t base, struct pbuf **out)
{
    uint32_t at = base, end = blocks_run_end(*table, base);
    while (at != end) {
        uint32_t size = LWIP_MIN(BLOCK_SIZE - (at & BLOCK_MASK), end - at);
        bool whole = block_at(*table, at)->count == size;
        struct pbuf *p = NULL;
        if (!whole || size < BLOCK_SIZE / 2) /* few bytes are not to keep so much memory */
            p = copy_out(*table, at, size);
        if (p == NULL && whole)
            p = give_block(*table, at, size);
        if (p == NULL)
            break;
        *out = p;
        out = &p->next;
        at += size;
    }
    drop_if_empty(table);
    return at - base;
}

void blocks_free(struct tcp_blocks **table)
{
    if (*table == NULL)
        return;
    for (uint32_t i = 0; (*table)->held > 0 && i < (*table)->size; i++) {
        struct block *block = (*table)->blocks[i];
        if (block != NULL)
            (*table)->held -= block->count;
        port_free(block);
    }
    port_free(*table);
    *table = NULL;
}
