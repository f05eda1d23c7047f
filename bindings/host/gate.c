/*
 * The gate between the wires and the driver's thread.
 *
 * A program with an event loop is told of a frame by its descriptor, so by way of the driver's
 * thread: two wakes, where the kernel's sockets have one. While the program is at work that thread
 * need not be woken for each frame: nobody would look at what it finds. Then the gate is shut, and
 * the program's own thread takes the frames in, as soon as it has looked at all that it knew of;
 * as NAPI's interrupts are off while a program polls. When there is nothing more, it opens the
 * gate: a frame wakes the driver's thread again.
 */
#include "stack.h"

#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>

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
    if (gate->fd < 0 && stack->threaded && stack->descriptor_count > 0) {
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

bool gate_shut(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    if (gate->unread == 0 || gate->fd < 0 || gate->count == 0 || stack->python.clock != NULL)
        return false;
    return set_open(stack, false);
}

void gate_open(ps_stack *stack)
{
    if (stack->gate.fd >= 0)
        set_open(stack, true);
}

void gate_note_told(ps_stack *stack, uint64_t *round)
{
    *round = stack->gate.round;
    stack->gate.unread++;
}

void gate_note_look(ps_stack *stack, uint64_t *round)
{
    struct gate *gate = &stack->gate;
    if (*round == gate->round)
        gate->unread--;
    *round = 0;
    gate->due = gate->fd >= 0 && !gate->open && gate->unread == 0;
}

void gate_neglect(ps_stack *stack)
{
    stack->gate.round++;
    stack->gate.unread = 0;
}

void gate_attend(ps_stack *stack)
{
    struct gate *gate = &stack->gate;
    gate->due = false;
    if (gate->open || stack->state != STACK_OPEN)
        return;
    if (!stack_move(stack))
        stack_wake(stack); /* more than one batch */
    if (gate->unread == 0)
        gate_open(stack);
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
