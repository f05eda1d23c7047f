/*
 * Who moves a Stack forward in real time: a thread that takes frames from the NICs, runs
 * the engine's timers, and sleeps until there is more of either. It never needs the GIL
 * for itself; only a hypercall that Python answers does.
 *
 * A thread that waits for an event does the same itself (wait.c), and the driver's thread then
 * stays away: when that one has gone, the next is often not far, and so the thread takes over
 * only when nobody has come for a while.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/eventfd.h>
#endif

#include "queues.h"
#include "stack.h"

/* Frames taken from each NIC before the lock is given up for others. */
#define BATCH 64
/* So often, and so long, timers that are due wait for more frames to be taken. */
#define MOST_BATCHES_AHEAD 64
#define MOST_AHEAD_US 10000
/* As long as this nobody may drive after a waiter has. */
#define PARK_US 1000
/* A waiter that has what it waits for takes in no more than this first. */
#define LEADERS_FRAMES 32
#define LEADERS_HELPING 262144

/* A clock of Python's own may run faster than ours: look at it often. */
#define FOREIGN_CLOCK_SLEEP_US 10000

/* From this size on the engine gets a frame with its block; a block that is mostly empty would
 * cost more of the arena than the copy costs time. */
#define LEAST_GIVEN 32768

/* A waiter looks for so long before it sleeps: to wake a processor takes about as much, and in
 * an exchange the answer often comes sooner. It gives way to every thread that could run; and
 * where it was in vain, the next waits, up to so many, do without. */
#define SPIN_US 50
#define MOST_SKIPPED 64

/* So long frames may wait for a program that is busy. */
#define LEAVE_US 500

#define DRIVER_STACK_BYTES (512 * 1024)

/* --- waking ------------------------------------------------------------------------------- */

int wake_open(ps_stack *stack)
{
#ifdef __linux__
    stack->wake_descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stack->wake_descriptor < 0)
        return -errno;
    stack->wake_writer = stack->wake_descriptor;
#else
    int ends[2];
    if (pipe(ends) != 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    stack->wake_descriptor = ends[0];
    stack->wake_writer = ends[1];
#endif
    return 0;
}

void wake_close(ps_stack *stack)
{
    if (stack->wake_writer >= 0 && stack->wake_writer != stack->wake_descriptor)
        close(stack->wake_writer);
    if (stack->wake_descriptor >= 0)
        close(stack->wake_descriptor);
    stack->wake_descriptor = stack->wake_writer = -1;
}

void stack_wake(void *argument)
{
    ps_stack *stack = argument;
    if (atomic_exchange(&stack->wake_pending, true))
        return;
    if (atomic_load(&stack->spinning))
        return; /* it looks at wake_pending again when it has stopped */
    uint64_t one = 1;
    /* It can only fail for being full, and then the sleeper is awake. */
    ssize_t wrote = write(stack->wake_writer, &one, sizeof one);
    (void)wrote;
}

static void take_wake(ps_stack *stack)
{
    uint64_t scratch[8];
    while (read(stack->wake_descriptor, scratch, sizeof scratch) == sizeof scratch) {}
    atomic_store(&stack->wake_pending, false);
}

/* --- moving ------------------------------------------------------------------------------- */

/* Takes the link down: the wire is gone. Its descriptor is watched no more. */
static void lose_link(ps_stack *stack, uint32_t index)
{
    stack->nic_gone[index] = true;
    stack->table->interface_set_link(stack->engine, index, false);
    gate_forget(stack);
    stack_wake(stack);
}

/* The frame that the engine wants in ordinary ones. */
static void feed_segments(ps_stack *stack, uint32_t index)
{
    struct segments *segments = &stack->segments;
    struct nic_frame whole = stack->frame;
    size_t size;
    stack->frame = segments->frame;
    segments->frame = whole;
    segments_begin(segments, (enum ps_layer)stack->nics[index]->layer);
    while ((size = segments_next(segments, stack->frame.bytes, PS_FRAME_SIZE)) > 0)
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

/* What others who share the NIC's device have passed on. */
static void receive_passed_on(ps_stack *stack, uint32_t index, const struct queues_wants *wants)
{
    const ps_nic *nic = stack->nics[index];
    for (int i = 0; i < BATCH; i++) {
        if (queues_receive(nic->queues, &stack->frame, (enum ps_layer)nic->layer, wants) < 0)
            return;
        feed(stack, index);
    }
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
        ssize_t size = nic_receive_frame(nic, &stack->frame, stack->now_us);
        if (size == -EAGAIN)
            return REST_NONE;
        if (size < 0) {
            lose_link(stack, index);
            return REST_NONE;
        }
        bytes += (size_t)size;
        if (nic->queues == NULL ||
            queues_keep(nic->queues, &stack->frame, (enum ps_layer)nic->layer, &wants))
            feed(stack, index);
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
    /* What a timer that is late would miss may be among them; a flood never ends. */
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
    stack->unfinished = result > 0;
    return result <= 0;
}

void stack_catch_up(ps_stack *stack)
{
    if (stack_lock(stack) < 0)
        return;
    if (stack->threaded && !stack->driving && (stack->led || stack->parking))
        stack_move(stack);
    stack_unlock(stack);
}

/* When something is due by itself, in terms of the Stack's clock. */
static uint64_t next_due(const ps_stack *stack)
{
    uint64_t due = stack->deadline_us;
    for (uint32_t index = 0; index <= stack->nic_last; index++) {
        ps_nic *nic = stack->nics[index];
        uint64_t wanted = nic != NULL ? nic_deadline(nic) : UINT64_MAX;
        if (wanted < due)
            due = wanted;
    }
    return due;
}

size_t nic_watched(const ps_stack *stack, uint32_t index, int descriptors[2])
{
    ps_nic *nic = stack->nics[index];
    int descriptor = nic == NULL || stack->nic_gone[index] ? -1 : nic_descriptor(nic);
    size_t count = 0;
    if (descriptor >= 0)
        descriptors[count++] = descriptor;
    if (descriptor >= 0 && nic->queues != NULL)
        descriptors[count++] = queues_descriptor(nic->queues);
    return count;
}

/* What to watch while asleep. The NICs' descriptors don't change while they are attached. */
static nfds_t watched(ps_stack *stack, struct pollfd *descriptors)
{
    nfds_t count = 0;
    descriptors[count++] = (struct pollfd){stack->wake_descriptor, POLLIN, 0};
    if (stack->watched_count > 0)
        descriptors[count++] = (struct pollfd){stack->watcher, POLLIN, 0};
    int gate = stack->leader == NULL ? gate_descriptor(stack) : -1, each[2];
    if (gate >= 0) {
        descriptors[count++] = (struct pollfd){gate, POLLIN, 0};
        return count;
    }
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        for (size_t i = 0, of_nic = nic_watched(stack, index, each); i < of_nic; i++)
            descriptors[count++] = (struct pollfd){each[i], POLLIN, 0};
    return count;
}

static int poll_now(struct pollfd *descriptors, nfds_t count)
{
    return poll(descriptors, count, 0);
}

/* Without the lock: whether there was something before the spinning was over. */
static bool spin(ps_stack *stack, struct pollfd *descriptors, nfds_t count, uint64_t until_us)
{
    bool found;
    atomic_store(&stack->spinning, true);
    do {
        found = atomic_load(&stack->wake_pending) ||
                (count > 1 && poll_now(descriptors + 1, count - 1) != 0);
        if (!found)
            sched_yield();
    } while (!found && monotonic_us() < until_us);
    atomic_store(&stack->spinning, false);
    return found || atomic_load(&stack->wake_pending);
}

/* Under the lock: whether this sleep is worth a try without sleeping. */
static bool may_spin(ps_stack *stack)
{
    if (stack->leader == NULL || stack->python.clock != NULL || !stack->has_processors)
        return false;
    if (stack->spin_skip == 0)
        return true;
    stack->spin_skip--;
    return false;
}

static void learn_from_spin(ps_stack *stack, bool found)
{
    stack->spin_penalty = found ? 0 : stack->spin_penalty == 0 ? 1 : stack->spin_penalty * 2;
    if (stack->spin_penalty > MOST_SKIPPED)
        stack->spin_penalty = MOST_SKIPPED;
    stack->spin_skip = stack->spin_penalty;
}

int stack_sleep(ps_stack *stack, uint64_t until_us)
{
    struct pollfd descriptors[2 * MOST_INTERFACES + 2];
    nfds_t count = watched(stack, descriptors);
    uint64_t due = stack->poisoned ? UINT64_MAX : next_due(stack);
    uint64_t wait_us = due == UINT64_MAX     ? UINT64_MAX
                       : due > stack->now_us ? due - stack->now_us
                                             : 0;
    uint64_t now_us = monotonic_us();
    if (stack->python.clock != NULL && wait_us > FOREIGN_CLOCK_SLEEP_US)
        wait_us = FOREIGN_CLOCK_SLEEP_US;
    else if (stack->python.clock == NULL && due != UINT64_MAX)
        wait_us = due > now_us ? due - now_us : 0;
    if (until_us != NO_DEADLINE) {
        uint64_t most = until_us > now_us ? until_us - now_us : 0;
        if (most < wait_us)
            wait_us = most;
    }
    struct timespec timeout = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
    stack->sleep_until_us = due;
    uint64_t ticket = ++stack->sleep_ticket;
    bool spins = may_spin(stack), found = false;
    stack_unlock(stack);
    if (spins)
        found = spin(stack, descriptors, count, now_us + (wait_us < SPIN_US ? wait_us : SPIN_US));
    if (spins && wait_us <= SPIN_US)
        timeout = (struct timespec){0, 0}; /* it is over */
#ifdef __linux__
    int ready =
        found ? 0 : ppoll(descriptors, count, wait_us == UINT64_MAX ? NULL : &timeout, NULL);
#else
    int milliseconds = wait_us == UINT64_MAX
                           ? -1
                           : (int)(timeout.tv_sec * 1000 + (timeout.tv_nsec + 999999) / 1000000);
    int ready = found ? 0 : poll(descriptors, count, milliseconds);
#endif
    int result = ready < 0 ? -errno : 0;
    pthread_mutex_lock(&stack->lock);
    if (spins)
        learn_from_spin(stack, found);
    /* The wake is the last sleeper's: another one that took it would leave that one asleep. */
    if (stack->sleep_ticket == ticket) {
        if (ready > 0 && descriptors[0].revents != 0)
            take_wake(stack);
        else if (found)
            atomic_store(&stack->wake_pending, false); /* what was written wakes once in vain */
        stack->sleep_until_us = 0;
    }
    return result;
}

/* Under the lock, given up meanwhile: a moment; or, when the same waiter has been driving for a
 * whole one already, until it doesn't: where many come and go none should have to wake us. */
static void park(ps_stack *stack)
{
    stack->driver_parked = stack->driving && !stack->led;
    uint64_t until_us = stack->driver_parked ? NO_DEADLINE : monotonic_us() + PARK_US;
    stack->led = false;
    stack->parking = true;
    atomic_store(&stack->driver_word, 0);
    stack_unlock(stack);
    sleep_on(&stack->driver_word, until_us);
    pthread_mutex_lock(&stack->lock);
    stack->parking = stack->driver_parked = false;
}

void driver_unpark(ps_stack *stack)
{
    /* Those who poll a descriptor are waiting, too, and not for a moment. */
    bool now = stack->descriptor_count > 0;
    if (!stack->threaded || (!stack->driver_parked && !now))
        return;
    if (now)
        stack->led = false;
    stack->driver_parked = false;
    atomic_store(&stack->driver_word, 1);
    stack_wake_later(stack, &stack->driver_word);
}

/* A program that polls descriptors, and hasn't looked at all that it was told of, is busy: it
 * takes in the frames that come meanwhile itself, when it has. To be woken for each would take the
 * processor from it. After a moment frames wake us again. */
static void sleep_for_frames(ps_stack *stack)
{
    if (stack->waiting > 0 || !gate_shut(stack)) {
        gate_open(stack);
        stack_sleep(stack, NO_DEADLINE);
        return;
    }
    uint64_t until_us = monotonic_us() + LEAVE_US;
    stack_sleep(stack, until_us);
    if (monotonic_us() >= until_us)
        gate_neglect(stack);
}

static void *drive_for_ever(void *argument)
{
    ps_stack *stack = argument;
    pthread_mutex_lock(&stack->lock);
    while (stack->state < STACK_CLOSING) {
        if (stack->driving || stack->led) {
            park(stack);
        } else if (stack_move(stack)) {
            sleep_for_frames(stack);
        } else {
            /* A mutex is not fair: let those in who wait for it. */
            stack_unlock(stack);
            sched_yield();
            pthread_mutex_lock(&stack->lock);
        }
    }
    stack_unlock(stack);
    return NULL;
}

int driver_start(ps_stack *stack)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, DRIVER_STACK_BYTES);
    /* Signals are for Python's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&stack->driver, &attributes, drive_for_ever, stack);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -result;
}

void driver_stop(ps_stack *stack)
{
    stack_wake(stack);
    pthread_mutex_lock(&stack->lock);
    stack->driver_parked = true;
    driver_unpark(stack);
    stack_unlock(stack);
    pthread_join(stack->driver, NULL);
}

int ps_stack_run(ps_stack *stack, int64_t timeout_us, uint64_t *next_us)
{
    uint64_t deadline_us = deadline_after(timeout_us);
    int result = stack_lock(stack);
    if (result < 0)
        return result;
    if (stack->threaded || stack->driving) {
        stack_unlock(stack);
        return -EBUSY;
    }
    stack->driving = true;
    stack->waiting++; /* close() waits for us */
    bool idle = stack_move(stack);
    if (idle && timeout_us != 0) {
        result = stack_sleep(stack, deadline_us);
        if (stack->state == STACK_OPEN)
            stack_move(stack);
    }
    uint64_t due = stack->unfinished ? 0 : next_due(stack);
    *next_us = due == UINT64_MAX ? UINT64_MAX : due > stack->now_us ? due - stack->now_us : 0;
    stack->driving = false;
    if (--stack->waiting == 0 && stack->state == STACK_CLOSING)
        pthread_cond_broadcast(&stack->idle);
    if (stack->state != STACK_OPEN)
        result = -EBADF;
    else if (stack->poisoned)
        result = -ENOTRECOVERABLE;
    result = (int)stack_outcome(stack, stack->raised ? -ECANCELED : result);
    stack_unlock(stack);
    return result;
}
