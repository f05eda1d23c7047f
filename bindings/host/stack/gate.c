/*
 * The gate between the wires and the driver's thread.
 *
 * A program with an event loop is told of a frame by its descriptor, so by way of the driver's
 * thread: two wakes, where the kernel's sockets have one. While the program is at work that thread
 * need not be woken for each frame: its finds would go unread. Then the gate is shut, and
 * the program's own thread takes the frames in (lock.c), as soon as it has handled all that it knew
 * of; as NAPI's interrupts are off while a program polls. When there is nothing more, it opens the
 * gate: a frame wakes the driver's thread again.
 *
 * A server that has read its requests is still at work: it answers. The gate learns, descriptor by
 * descriptor, which programs do: after LEAST_ANSWERS reads that were followed by a send it stays
 * shut until the next answer is sent, too. An answer may take several sends (uvicorn sends headers
 * and body separately): as many are expected as the last two answers had at least, and those before
 * the last are held back until it comes (answers.c). If no answer comes, frames have waited for
 * nothing (LEAVE_US); then none is expected for a while, longer each time. A late answer may only
 * mean that another program had the processor, so it costs less trust than a missing one. Any read
 * or send shows that the program is at work, but frames never wait longer than GATE_MOST_SHUT_US.
 */
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "stack/gate.h"
#include "nic/queues.h"
#include "stack/stack.h"
#include "stack/wake.h"

/* Frames wait this long for a busy program, and so does part of an answer. The time doubles after
 * each OFTEN waits that paid off, MOST_TWICE times at most; one that didn't takes OFTEN of them
 * back. */
#define LEAVE_US 500
#define OFTEN 8
#define MOST_TWICE 2
#define LEAST_ANSWERS 8
#define MOST_ANSWERS 16
#define LATE_ANSWERS 4 /* what a late one costs */
#define MOST_PARTS 4
/* Questions without trust after a first failure, and at most. A failure doubles them; an answer in
 * time takes an eighth away, so that a few pauses of the machine's in a second don't add up. */
#define LEAST_DOUBT 16
#define MOST_DOUBT 4096
#define RELIEF 8

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

#ifdef __linux__
static bool set_all(ps_stack *stack, int operation, uint32_t events)
{
    int each[2];
    stack->gate.count = 0;
    for (uint32_t index = 0; index <= stack->nic_last; index++)
        for (size_t i = 0, count = nic_watched(stack, index, each); i < count; i++) {
            struct epoll_event event = {.events = events, .data.fd = each[i]};
            if (epoll_ctl(stack->gate.fd, operation, each[i], &event) != 0)
                return false;
            stack->gate.count++;
        }
    return true;
}

int gate_descriptor(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    if (gate->fd < 0 && stack->threaded && stack->shown_count > 0) {
        gate->fd = epoll_create1(EPOLL_CLOEXEC);
        gate->open = true;
        if (gate->fd >= 0 && !set_all(stack, EPOLL_CTL_ADD, EPOLLIN))
            gate_forget(stack);
    }
    return gate->fd;
}

static bool set_open(ps_stack *stack, bool open)
{
    struct gate *gate = &stack->gate;
    if (gate->open != open && !set_all(stack, EPOLL_CTL_MOD, open ? EPOLLIN : 0)) {
        gate_forget(stack); /* a wire has ended: the thread watches the others itself */
        stack_wake(stack);
        return false;
    }
    gate->open = open;
    return true;
}
#else
int gate_descriptor(ps_stack *stack)
{
    (void)stack;
    return -1;
}

static bool set_open(ps_stack *stack, bool open)
{
    (void)stack, (void)open;
    return false;
}
#endif

bool gate_is_idle(const struct gate *gate)
{
    return gate->unread == 0 && gate->owed == 0;
}

bool gate_shut(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    if (gate_is_idle(gate) || gate->fd < 0 || gate->count == 0 || stack->python.clock != NULL)
        return false;
    return set_open(stack, false);
}

void gate_open(ps_stack *stack)
{
    if (stack->gate.fd >= 0)
        set_open(stack, true);
}

static void progress(ps_stack *stack, bool all_done)
{
    struct gate *gate = &stack->gate;
    gate->progress_us = stack->now_us;
    gate->due = gate->fd >= 0 && !gate->open && all_done;
}

/* It is answered, or an answer is no longer expected. */
static void forgive(struct gate *gate, struct attention *attention)
{
    if (attention->owes && attention->looked == gate->round)
        gate->owed--;
    attention->owes = false;
    attention->looked = 0;
}

static bool trusts(struct gate *gate, const struct attention *attention)
{
    if (attention->answers < LEAST_ANSWERS)
        return false;
    if (gate->skip == 0)
        return true;
    gate->skip--;
    return false;
}

void gate_note_told(ps_stack *stack, struct attention *attention)
{
    attention->told = stack->gate.round;
    stack->gate.unread++;
}

static void note_read(struct gate *gate, struct attention *attention)
{
    if (attention->told == gate->round)
        gate->unread--;
    attention->told = 0;
}

/* How many sends to expect for the next answer. */
static void learn_parts(struct attention *attention)
{
    attention->parts = attention->sent < attention->before ? attention->sent : attention->before;
    attention->before = attention->sent;
    attention->sent = 0;
}

void gate_note_look(ps_stack *stack, struct attention *attention)
{
    struct gate *gate = &stack->gate;
    note_read(gate, attention);
    if (attention->looked != 0 && attention->sent == 0)
        attention->answers = 0; /* the one before has no answer yet */
    learn_parts(attention);
    forgive(gate, attention);
    attention->looked = gate->round;
    attention->failures = gate->failures;
    attention->owes = trusts(gate, attention);
    gate->owed += attention->owes;
    progress(stack, gate->unread == 0);
}

static void score(struct attention *attention, bool in_time)
{
    if (in_time && attention->answers < MOST_ANSWERS)
        attention->answers++;
    else if (!in_time)
        attention->answers -= attention->answers < LATE_ANSWERS ? attention->answers : LATE_ANSWERS;
}

void gate_note_answer(ps_stack *stack, struct attention *attention)
{
    struct gate *gate = &stack->gate;
    gate->progress_us = stack->now_us;
    if (attention->sent < MOST_PARTS)
        attention->sent++;
    if (attention->looked == 0)
        return;
    bool owed = attention->owes && attention->looked == gate->round;
    if (attention->sent == 1)
        score(attention, attention->failures == gate->failures);
    if (owed && attention->sent < attention->parts)
        return;
    forgive(gate, attention);
    if (owed) {
        gate->doubt -= (gate->doubt + RELIEF - 1) / RELIEF;
        progress(stack, gate_is_idle(gate));
    }
}

bool gate_expects_more(const ps_stack *stack, const struct attention *attention)
{
    const struct gate *gate = &stack->gate;
    return gate->timed && !gate->open && stack->waiting == 0 && attention->owes &&
           attention->looked == gate->round && attention->sent + 1 < attention->parts;
}

static void lose_trust(struct gate *gate)
{
    gate->failures++;
    gate->doubt = gate->doubt < LEAST_DOUBT      ? LEAST_DOUBT
                  : gate->doubt < MOST_DOUBT / 2 ? 2 * gate->doubt
                                                 : MOST_DOUBT;
    gate->skip = gate->doubt;
}

void gate_note_end(ps_stack *stack, struct attention *attention)
{
    attention->parts = attention->before = 1;
    lose_trust(&stack->gate);
}

void gate_note_close(ps_stack *stack, struct attention *attention)
{
    struct gate *gate = &stack->gate;
    note_read(gate, attention);
    forgive(gate, attention);
    progress(stack, gate_is_idle(gate));
}

uint64_t gate_patience_us(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    if (gate->kept < OFTEN * MOST_TWICE)
        gate->kept++;
    bool holds = gate->holds;
    gate->holds = false;
    return holds ? LEAVE_US : LEAVE_US << gate->kept / OFTEN;
}

void gate_neglect(ps_stack *stack, bool wasted)
{
    struct gate *gate = &stack->gate;
    if (wasted)
        gate->kept -= gate->kept < OFTEN ? gate->kept : OFTEN;
    if (wasted && gate->owed > 0)
        lose_trust(gate);
    gate->round++;
    gate->unread = gate->owed = 0;
}

void gate_forget(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    if (gate->fd >= 0)
        close(gate->fd);
    gate->fd = -1;
    gate->count = 0;
    gate->open = gate->due = false;
}
