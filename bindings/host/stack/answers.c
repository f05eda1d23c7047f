/*
 * Answers in several sends: the first parts wait for the last.
 *
 * A web server tends to send headers and body by themselves, with Nagle's algorithm off. Each would
 * be a frame, and the client would wake and acknowledge twice. While the gate is shut we know which
 * connections answer in how many sends (gate.c), and so the parts before the last are sent as with
 * MSG_MORE; Linux does likewise while its device is busy (tcp_autocorking). A part waits until the
 * driver's thread looks next, mostly within 500 us (gate.c), or until any thread waits for
 * something. If the next part hasn't come by then, that connection and the gate lose trust. Nor
 * does it wait for what the program itself holds back next, by MSG_MORE or TCP_CORK.
 */
#include "stack/answers.h"
#include "base/clock.h"
#include "stack/descriptor.h"
#include "stack/entry.h"
#include "stack/gate.h"
#include "stack/notifier.h"

/* A part that was held for less time than this has had no chance to be followed. */
#define CHANCE_US 150

static bool has_no_delay(ps_stack *stack, int64_t handle)
{
    int64_t value;
    return stack->table->option_get(stack->engine, handle, PS_OPT_TCP_NODELAY, &value) == 0 &&
           value != 0;
}

/* The record of whoever tells the program of it. */
static struct attention *attention_of(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    struct attention *told =
        stack->notifiers == NULL ? NULL : notifiers_attention(stack, descriptor->handle);
    return told != NULL ? told : &descriptor->attention;
}

/* Setting TCP_NODELAY sends what MSG_MORE holds, but not what the program's TCP_CORK does. The
 * program may have cleared it since: what it sent before would have gone all the same. */
static void release(ps_stack *stack, int64_t handle)
{
    bool delays = !has_no_delay(stack, handle);
    stack->table->option_set(stack->engine, handle, PS_OPT_TCP_NODELAY, 1);
    if (delays)
        stack->table->option_set(stack->engine, handle, PS_OPT_TCP_NODELAY, 0);
}

static void let_go(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    if (!descriptor->is_held)
        return;
    descriptor_unhold(descriptor);
    if (stack->now_us - descriptor->held_us >= CHANCE_US)
        gate_note_end(stack, attention_of(descriptor));
    release(stack, descriptor->handle);
}

uint32_t answer_flags(ps_stack *stack, int64_t handle, uint32_t flags)
{
    bool matters = stack->gate.timed || stack->gate.held != NULL; /* else no send is looked up */
    struct descriptor *descriptor = matters ? descriptor_find(stack, handle) : NULL;
    if (descriptor == NULL)
        return 0;
    if (!(flags & (PS_MSG_OOB | PS_MSG_MORE)) &&
        gate_expects_more(stack, attention_of(descriptor)) && has_no_delay(stack, handle)) {
        descriptor_hold(descriptor);
        return PS_MSG_MORE;
    }
    if (flags & PS_MSG_MORE)
        let_go(descriptor);
    descriptor_unhold(descriptor);
    return 0;
}

void answer_release(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor =
        stack->gate.held != NULL ? descriptor_find(stack, handle) : NULL;
    if (descriptor != NULL)
        let_go(descriptor);
}

static int release_all(ps_stack *stack)
{
    while (stack->gate.held != NULL)
        let_go(stack->gate.held);
    return 0;
}

void answers_release(ps_stack *stack)
{
    int result = 0;
    if (stack->gate.held != NULL && !stack->poisoned)
        ENGINE_GUARD(stack, result, release_all(stack));
    (void)result;
}
