/*
 * Copies an engine's state, and puts it back.
 *
 * The state is the memory it has allocated and its image's data: between two calls it has nothing
 * on a thread's stack. Blocks keep their addresses, since the arena frees none that a snapshot has.
 * The Stack's own part is small: the clock's reading, the random generator, the deadline.
 */
#include <stdlib.h>
#include <string.h>

#include "stack/snapshot.h"
#include "base/touched.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/lock.h"
#include "stack/stack.h"
#include "stack/waiters.h"
#include "stack/wake.h"
#include "stack/witness.h"

#define MOST_PARTS 8
/* Larger blocks are mostly empty: chunks of zeros are noted without a copy. */
#define CHUNK_BYTES 4096

struct copied {
    struct ps_piece at;
    const uint8_t *bytes; /* NULL: zeros */
};

/* What a block's next piece is at most: up to the end of a page, so that untouched ones are left
 * alone. */
static size_t chunk_at(const uint8_t *at, size_t left)
{
    size_t size = CHUNK_BYTES - ((uintptr_t)at & (CHUNK_BYTES - 1));
    return size < left ? size : left;
}

struct ps_snapshot {
    ps_stack *stack;
    struct arena_moment arena;
    struct copied *pieces;
    size_t count, room;
    uint8_t *bytes;
    size_t used_bytes;
    uint64_t now_us, deadline_us;
    struct generator generator;
    uint8_t chance[sizeof((ps_stack *)0)->chance];
    size_t chance_left;
    bool unfinished;
    unsigned batches_ahead;
    uint64_t ahead_since_us;
    ps_nic *nics[MOST_INTERFACES];
    bool nic_gone[MOST_INTERFACES];
};

/* --- copying ------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__)
/* The image's data has guards between its variables, which only this may touch. */
__attribute__((no_sanitize_address, noinline)) static void copy(uint8_t *to, const uint8_t *from,
                                                                size_t size)
{
    volatile uint8_t *out = to;
    for (size_t i = 0; i < size; i++)
        out[i] = from[i];
}
#else
static void copy(uint8_t *to, const uint8_t *from, size_t size)
{
    memcpy(to, from, size);
}
#endif

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* Of memory that Python gave it isn't known whether it is anonymous. */
static void look_at_pages(const ps_stack *stack, struct touched_pages *pages)
{
    if (stack->arena.python->memory_allocate == NULL)
        touched_open(pages);
    else
        pages->file = -1;
}

static bool is_empty(struct touched_pages *pages, const uint8_t *bytes, size_t size)
{
    return !touched(pages, bytes, size) || is_zero(bytes, size);
}

static bool continues(const struct copied *last, struct ps_piece at, bool empty)
{
    return last->at.base + last->at.size == at.base && (last->bytes == NULL) == empty;
}

static int note(ps_snapshot *snapshot, struct ps_piece at, bool empty)
{
    if (!empty)
        snapshot->used_bytes += at.size;
    if (snapshot->count > 0 && continues(&snapshot->pieces[snapshot->count - 1], at, empty)) {
        snapshot->pieces[snapshot->count - 1].at.size += at.size;
        return 0;
    }
    if (snapshot->count == snapshot->room) {
        size_t room = snapshot->room == 0 ? 256 : 2 * snapshot->room;
        struct copied *more = realloc(snapshot->pieces, room * sizeof *more);
        if (more == NULL)
            return -ENOMEM;
        snapshot->pieces = more;
        snapshot->room = room;
    }
    snapshot->pieces[snapshot->count++] = (struct copied){at, empty ? NULL : at.base};
    return 0;
}

static int note_block(ps_snapshot *snapshot, struct touched_pages *pages, struct ps_piece block)
{
    int result = 0;
    if (block.size <= CHUNK_BYTES)
        return block.size == 0 ? 0 : note(snapshot, block, false);
    for (size_t done = 0, part; done < block.size && result == 0; done += part) {
        uint8_t *at = block.base + done;
        part = chunk_at(at, block.size - done);
        result = note(snapshot, (struct ps_piece){at, part}, is_empty(pages, at, part));
    }
    return result;
}

static int note_all(ps_snapshot *snapshot)
{
    struct ps_piece parts[MOST_PARTS];
    struct touched_pages pages;
    int count = image_data(&snapshot->stack->image, parts, MOST_PARTS), result = count;
    for (int i = 0; i < count && result >= 0; i++)
        result = note(snapshot, parts[i], false);
    look_at_pages(snapshot->stack, &pages);
    for (size_t i = 0; i < snapshot->arena.count && result >= 0; i++)
        result = note_block(snapshot, &pages, arena_block_piece(snapshot->arena.blocks[i]));
    touched_close(&pages);
    return result < 0 ? result : 0;
}

static int take(ps_snapshot *snapshot)
{
    int result = note_all(snapshot);
    snapshot->bytes = result < 0 ? NULL : malloc(snapshot->used_bytes + 1);
    if (result < 0 || snapshot->bytes == NULL)
        return result < 0 ? result : -ENOMEM;
    size_t done = 0;
    for (size_t i = 0; i < snapshot->count; i++) {
        struct copied *piece = &snapshot->pieces[i];
        if (piece->bytes == NULL)
            continue;
        copy(snapshot->bytes + done, piece->at.base, piece->at.size);
        piece->bytes = snapshot->bytes + done;
        done += piece->at.size;
    }
    return 0;
}

static void empty(struct touched_pages *pages, struct ps_piece at)
{
    for (size_t done = 0, part; done < at.size; done += part) {
        part = chunk_at(at.base + done, at.size - done);
        if (!is_empty(pages, at.base + done, part))
            memset(at.base + done, 0, part);
    }
}

static void put_back(const ps_snapshot *snapshot)
{
    struct touched_pages pages;
    look_at_pages(snapshot->stack, &pages);
    for (size_t i = 0; i < snapshot->count; i++) {
        const struct copied *piece = &snapshot->pieces[i];
        if (piece->bytes != NULL)
            copy(piece->at.base, piece->bytes, piece->at.size);
        else
            empty(&pages, piece->at);
    }
    touched_close(&pages);
}

/* --- the calls ----------------------------------------------------------------------------- */

static void release(ps_snapshot *snapshot)
{
    free(snapshot->arena.blocks);
    free(snapshot->pieces);
    free(snapshot->bytes);
    free(snapshot);
}

static int create(ps_stack *stack, ps_snapshot *made)
{
    made->stack = stack;
    made->now_us = stack->now_us;
    made->deadline_us = stack->deadline_us;
    made->generator = stack->generator;
    memcpy(made->chance, stack->chance, sizeof made->chance);
    made->chance_left = stack->chance_left;
    made->unfinished = stack->unfinished;
    made->batches_ahead = stack->batches_ahead;
    made->ahead_since_us = stack->ahead_since_us;
    memcpy(made->nics, stack->nics, sizeof made->nics);
    memcpy(made->nic_gone, stack->nic_gone, sizeof made->nic_gone);
    int result = stack->image.shared ? -EOPNOTSUPP : arena_pin(&stack->arena, &made->arena);
    if (result < 0)
        return result;
    result = take(made);
    if (result < 0)
        arena_unpin(&stack->arena, &made->arena);
    return result;
}

int snapshot_create(ps_stack *stack, ps_snapshot **out)
{
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    ps_snapshot *made = calloc(1, sizeof *made);
    result = made == NULL ? -ENOMEM : create(stack, made);
    stack_unlock(stack);
    if (result == 0)
        *out = made;
    else if (made != NULL)
        release(made);
    return result;
}

uint64_t ps_snapshot_bytes(const ps_snapshot *snapshot)
{
    return snapshot->used_bytes;
}

uint64_t ps_snapshot_moment_us(const ps_snapshot *snapshot)
{
    return snapshot->now_us;
}

static int restore(ps_stack *stack, ps_snapshot *snapshot)
{
    if (stack->waiting > 0 || stack->driving)
        return -EBUSY;
    if (memcmp(snapshot->nics, stack->nics, sizeof stack->nics) != 0 ||
        memcmp(snapshot->nic_gone, stack->nic_gone, sizeof stack->nic_gone) != 0)
        return -ENODEV;
    stack_go_inside(stack); /* the memory may be Python's */
    arena_return(&stack->arena, &snapshot->arena);
    stack_go_outside(stack);
    put_back(snapshot);
    stack->generator = snapshot->generator;
    if (stack->seeded) { /* the system's random bytes are for one use */
        memcpy(stack->chance, snapshot->chance, sizeof stack->chance);
        stack->chance_left = snapshot->chance_left;
    }
    if (stack->python.clock != NULL)
        stack->now_us = snapshot->now_us;
    stack->deadline_us = snapshot->deadline_us;
    /* In a World frames and timers come as they came then. */
    stack->unfinished = stack->world != NULL && snapshot->unfinished;
    stack->batches_ahead = stack->world != NULL ? snapshot->batches_ahead : 0;
    stack->ahead_since_us = snapshot->ahead_since_us;
    return 0;
}

static int show(ps_stack *stack)
{
    witness_reset(stack);
    if (stack->shown_count > 0)
        descriptors_refresh(stack);
    return 0;
}

int snapshot_restore(ps_stack *stack, ps_snapshot *snapshot)
{
    if (snapshot->stack != stack)
        return -EXDEV;
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    result = restore(stack, snapshot);
    if (result == 0 && (stack->shown_count > 0 || stack->witness != NULL))
        ENGINE_GUARD(stack, result, show(stack));
    if (result == 0) {
        stack->changes++;
        stack_signal(stack, PS_EVENT_INTERFACE, 0, UINT32_MAX);
        stack_wake(stack);
    }
    result = (int)stack_outcome(stack, result);
    stack_unlock(stack);
    return result;
}

int ps_snapshot_destroy(ps_snapshot *snapshot)
{
    ps_stack *stack = snapshot->stack;
    if (!stack_is_inherited(stack)) { /* else the blocks are a copy of the parent's */
        if (stack_is_inside(stack))
            return -EDEADLK;
        pthread_mutex_lock(&stack->lock);
        stack_go_inside(stack);
        if (stack->state != STACK_CLOSED)
            arena_unpin(&stack->arena, &snapshot->arena);
        stack_go_outside(stack);
        stack_unlock(stack);
    }
    release(snapshot);
    return 0;
}
