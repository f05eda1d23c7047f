/*
 * What the engine asks of its host: a clock that moves when told to, memory that is counted, numbers
 * that repeat, a wire that only listens.
 */
#include <errno.h>

#include "fuzz.h"

#define MEMORY_MOST ((size_t)16 << 20)

struct block {
    struct block *previous, *next;
    size_t size, unused; /* a multiple of 16 */
};

static struct block blocks;
static size_t live_blocks, live_bytes;
static uint64_t now_us, chance;

void world_reset(void)
{
    blocks.previous = blocks.next = &blocks;
    live_blocks = live_bytes = 0;
    now_us = 1000000000;
    chance = 88172645463325252;
}

void world_pass_us(uint64_t microseconds)
{
    now_us += microseconds;
}

size_t world_live_blocks(void)
{
    return live_blocks;
}

void world_free_all(void)
{
    while (blocks.next != &blocks) {
        struct block *block = blocks.next;
        blocks.next = block->next;
        free(block);
    }
    world_reset();
}

static int clock_now(void *user, uint64_t *out)
{
    (void)user;
    *out = now_us;
    return 0;
}

static int allocate(void *user, size_t size, void **out)
{
    (void)user;
    *out = NULL;
    if (size > MEMORY_MOST - live_bytes)
        return -ENOMEM;
    struct block *block = malloc(sizeof *block + size);
    FUZZ_REQUIRE(block != NULL);
    block->size = size;
    block->previous = &blocks;
    block->next = blocks.next;
    blocks.next->previous = block;
    blocks.next = block;
    live_blocks++;
    live_bytes += size;
    *out = block + 1;
    return 0;
}

static void release(void *user, void *memory)
{
    (void)user;
    if (memory == NULL)
        return;
    struct block *block = (struct block *)memory - 1;
    block->previous->next = block->next;
    block->next->previous = block->previous;
    live_blocks--;
    live_bytes -= block->size;
    free(block);
}

static int random_bytes(void *user, void *out, size_t size)
{
    (void)user;
    for (size_t i = 0; i < size; i++) {
        chance ^= chance << 13; /* xorshift64; Marsaglia 2003 */
        chance ^= chance >> 7;
        chance ^= chance << 17;
        ((uint8_t *)out)[i] = (uint8_t)(chance >> 24);
    }
    return 0;
}

static int frame_out(void *user, uint32_t interface, const struct ps_piece *pieces, size_t count,
                     size_t total)
{
    (void)user;
    (void)interface;
    uint8_t flat[FRAME_ROOM];
    size_t done = 0;
    for (size_t i = 0; i < count; i++) {
        FUZZ_REQUIRE(pieces[i].size <= sizeof flat - done);
        memcpy(flat + done, pieces[i].base, pieces[i].size);
        done += pieces[i].size;
    }
    FUZZ_REQUIRE(done == total);
    frames_sent(flat, done);
    return 0;
}

static void event(void *user, enum ps_event_kind kind, int64_t id, uint32_t mask)
{
    (void)user;
    (void)kind;
    (void)id;
    (void)mask;
}

static void say(void *user, enum ps_log_level level, const char *text)
{
    (void)user;
    (void)level;
    (void)text;
}

static void panic(void *user, const char *text)
{
    (void)user;
    fprintf(stderr, "panic: %s\n", text);
    abort();
}

const struct ps_hypercalls world_hypercalls = {
    .version = PS_HYPERCALLS_VERSION,
    .size = sizeof(struct ps_hypercalls),
    .clock = clock_now,
    .memory_allocate = allocate,
    .memory_free = release,
    .random = random_bytes,
    .frame_out = frame_out,
    .event = event,
    .log = say,
    .panic = panic,
};
