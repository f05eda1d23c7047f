/*
 * One step of a Stack: the NICs' frames go to the engine, and its timers run. The driver's thread
 * takes it (driver.c), or a thread that waits (wait.c), or one that leaves the Stack while the gate
 * is shut (lock.c).
 */
#include <errno.h>

#include "stack/move.h"
#include "nic/gso.h"
#include "nic/queues.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/hypercalls.h"
#include "stack/stack.h"
#include "stack/taps.h"
#include "stack/waiters.h"
#include "stack/wake.h"
#include "world/world.h"

/* Frames taken from each NIC before the lock is given up for others. */
#define BATCH 64
/* So often, and so long, timers that are due wait for more frames to be taken. */
#define MOST_BATCHES_AHEAD 64
#define MOST_AHEAD_US 10000
/* A waiter that has what it waits for takes in no more than this first. */
#define LEADERS_FRAMES 32
#define LEADERS_HELPING 262144

/* From this size on the engine gets a frame with its block; a block that is mostly empty would
 * cost more of the arena than the copy costs time. */
#define LEAST_GIVEN 32768

/* Takes the link down: the wire is gone. Its descriptor is watched no more. */
static void lose_link(ps_stack *stack, uint32_t index)
{
    stack->nic_gone[index] = true;
    stack->table->interface_set_link(stack->engine, index, false);
    gate_forget(stack);
    if (stack->world != NULL)
        world_unwatch(stack->world, stack->nics[index]);
    stack_wake(stack);
}

/* The frame that the engine wants in ordinary ones. */
static void feed_segments(ps_stack *stack, uint32_t index)
{
    struct gso *gso = &stack->gso;
    struct nic_frame whole = stack->frame;
    size_t size;
    stack->frame = gso->frame;
    gso->frame = whole;
    gso_begin(gso, (enum ps_layer)stack->nics[index]->layer);
    while ((size = gso_next(gso, stack->frame.bytes, PS_FRAME_SIZE)) > 0)
        stack->table->frame_in(stack->engine, index, stack->frame.bytes, size);
}

/* Whether the frame's block is the arena's now, and another in its place. */
static bool give_frame(ps_stack *stack)
{
    uint8_t *other = stack->frame.size >= LEAST_GIVEN ? frame_block_create() : NULL;
    if (other == NULL)
        return false;
    if (!arena_adopt(&stack->arena, stack->frame.bytes)) {
        frame_block_destroy(other);
        return false;
    }
    stack->frame.bytes = other;
    return true;
}

static void feed(ps_stack *stack, uint32_t index)
{
    struct nic_frame *frame = &stack->frame;
    if (taps_take(stack, index))
        return;
    const struct ps_offload *offload = &frame->offload;
    bool ordinary = offload->checksum == PS_CHECKSUM_WHOLE && offload->segmentation == 0;
    if (stack->table->frame_in_offload == NULL || (ordinary && frame->size < LEAST_GIVEN)) {
        if (ordinary)
            stack->table->frame_in(stack->engine, index, frame->bytes, frame->size);
        else
            feed_segments(stack, index);
        return;
    }
    uint8_t *bytes = frame->bytes;
    bool given = give_frame(stack);
    int result =
        stack->table->frame_in_offload(stack->engine, index, bytes, frame->size, offload, given);
    if (result != -EOPNOTSUPP)
        return;
    if (given) {
        arena_disown(&stack->arena, bytes);
        frame_block_destroy(frame->bytes);
        frame->bytes = bytes;
    }
    feed_segments(stack, index);
}

struct asking {
    ps_stack *stack;
    uint32_t index;
};

static bool is_wanted(void *user, const struct ps_flow *flow)
{
    const struct asking *asking = user;
    const struct ps_engine_table *table = asking->stack->table;
    return table->flow_is_wanted == NULL ||
           table->flow_is_wanted(asking->stack->engine, asking->index, flow);
}

/* Frames passed on by others that share the NIC's device. */
static void receive_passed_on(ps_stack *stack, uint32_t index, const struct queues_wants *wants)
{
    const ps_nic *nic = stack->nics[index];
    for (int i = 0; i < BATCH; i++) {
        if (queues_receive(nic->queues, &stack->frame, (enum ps_layer)nic->layer, wants) < 0)
            return;
        feed(stack, index);
    }
}

/* Whether frames of a NIC may go straight into the engine's memory: nobody looks at them before. */
static bool goes_straight(const ps_stack *stack, uint32_t index)
{
    const ps_nic *nic = stack->nics[index];
    return stack->table->frame_room != NULL && nic->kind->receive_pieces != NULL &&
           nic->queues == NULL && taps_of(stack, index) == NULL;
}

/* The next frame of such a NIC; -ENOMEM: the engine has no room, and the frame stays there. */
static ssize_t receive_straight(ps_stack *stack, uint32_t index)
{
    struct ps_piece pieces[PS_ROOM_PIECES];
    struct nic_frame *frame = &stack->frame;
    int count = stack->table->frame_room(stack->engine, pieces);
    if (count < 0)
        return count;
    ssize_t size = nic_receive_pieces(stack->nics[index], pieces, (size_t)count, frame);
    if (size > 0)
        stack->table->frame_in_room(stack->engine, index, frame->size, &frame->offload);
    return size;
}

/* The next frame, taken in. As nic_receive_frame. */
static ssize_t receive_frame(ps_stack *stack, uint32_t index, const struct queues_wants *wants)
{
    ps_nic *nic = stack->nics[index];
    ssize_t size = -ENOMEM;
    if (goes_straight(stack, index))
        size = receive_straight(stack, index);
    if (size != -ENOMEM)
        return size;
    size = nic_receive_frame(nic, &stack->frame, stack->now_us);
    if (size > 0 && (nic->queues == NULL ||
                     queues_keep(nic->queues, &stack->frame, (enum ps_layer)nic->layer, wants)))
        feed(stack, index);
    return size;
}

/* What a NIC may still have: nothing; frames of which its descriptor tells; frames. */
enum rest { REST_NONE, REST_TOLD, REST_UNTOLD };

static enum rest receive_batch(ps_stack *stack, uint32_t index)
{
    ps_nic *nic = stack->nics[index];
    struct asking asking = {stack, index};
    const struct queues_wants wants = {is_wanted, &asking};
    size_t bytes = 0;
    if (nic->queues != NULL)
        receive_passed_on(stack, index, &wants);
    for (int i = 0; i < BATCH; i++) {
        ssize_t size = receive_frame(stack, index, &wants);
        if (size == -EAGAIN || stack_note(stack, (int)size) == -ECANCELED)
            return REST_NONE;
        if (size < 0) {
            lose_link(stack, index);
            return REST_NONE;
        }
        bytes += (size_t)size;
        /* More than stays in the processor's cache isn't wanted before it is read. */
        if (stack_leader_is_done(stack) && (i >= LEADERS_FRAMES || bytes >= LEADERS_HELPING))
            return nic_descriptor(nic) >= 0 ? REST_TOLD : REST_UNTOLD;
    }
    return REST_UNTOLD;
}

/* 1 when a NIC may have more frames, of which nothing tells. */
static int move(ps_stack *stack)
{
    enum rest most = REST_NONE;
    if (stack->watched_count > 0 || stack->deaths)
        descriptors_reap(stack);
    for (uint32_t index = 0; index <= stack->nic_last; index++) {
        if (stack->nics[index] == NULL || stack->nic_gone[index])
            continue;
        enum rest rest = receive_batch(stack, index);
        if (rest > most)
            most = rest;
    }
    /* Timers run after the frames, which may answer them; but a flood never ends. */
    if (stack->batches_ahead++ == 0)
        stack->ahead_since_us = stack->now_us;
    if (most == REST_NONE || stack->batches_ahead >= MOST_BATCHES_AHEAD ||
        stack->now_us - stack->ahead_since_us >= MOST_AHEAD_US) {
        stack->batches_ahead = 0;
        stack->table->run(stack->engine);
    }
    return most == REST_UNTOLD;
}

bool stack_move(ps_stack *stack)
{
    int result;
    if (stack->poisoned)
        return true;
    ENGINE_GUARD(stack, result, move(stack));
    descriptors_show_later(stack);
    stack->unfinished = result > 0;
    return result <= 0;
}
