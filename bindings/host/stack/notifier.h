/*
 * Notifiers, from inside the host. All under the Stack's lock.
 */
#ifndef PYSTACK_HOST_NOTIFIER_H
#define PYSTACK_HOST_NOTIFIER_H

#include "base/handle_map.h"
#include "stack/stack.h"

/* Given so often, and not touched: whoever takes has passed it by. */
#define PASSED_BY 2

struct watch {
    int64_t handle;
    uint32_t interest, mask;     /* PS_READY_*: wanted, and the socket's */
    struct watch *next, *before; /* among those that are ready */
    bool is_ready;
    uint8_t given; /* how often to who takes, up to PASSED_BY, since the last call on the socket */
    struct attention attention;
};

struct ps_notifier {
    ps_stack *stack;
    struct handle_map watches;  /* of the sockets, to their struct watch */
    struct watch *first, *last; /* of those that are ready */
    struct doorbell bell;       /* none: this is a child */
    bool rings;
    bool is_quiet; /* whoever takes asks by itself before it waits: ps_notifier_look */
    bool is_over;  /* there will be nothing but the Stack's end */
    struct ps_notifier *next;
};

/* --- notifier.c, for the socket's calls and events ------------------------------------------ */

/* The socket's readiness is this now. */
void notifiers_show(ps_stack *stack, int64_t handle, uint32_t mask);
/* Whether one watches the socket. */
bool notifiers_watch(ps_stack *stack, int64_t handle);
/* Whether one tells of these bits of PS_READY_* whenever the socket has them. */
bool notifiers_tell(ps_stack *stack, int64_t handle, uint32_t bits);
/* The gate's record of a socket that is told of by one; NULL: by none. */
struct attention *notifiers_attention(ps_stack *stack, int64_t handle);
/* Inside the engine: asks again for all of them. */
void notifiers_refresh(ps_stack *stack);
void notifiers_have_sent(ps_stack *stack, int64_t handle);
/* The socket is closed. */
void notifiers_drop(ps_stack *stack, int64_t handle);
/* Rings where something has become ready, and stops where nothing is. */
void notifiers_settle(ps_stack *stack);
/* Has all ring for good from the next settling on: the Stack is lost or at its end. */
void notifiers_fail(ps_stack *stack);
/* The Stack is closed; then, the last reference is gone; in a child. */
void notifiers_abandon(ps_stack *stack);
void notifiers_free(ps_stack *stack);
void notifiers_forget(ps_stack *stack);

/* --- notifier.c, for its own calls ----------------------------------------------------------- */

struct watch *notifier_find(const ps_notifier *notifier, int64_t handle);
/* A new one that wants nothing; NULL: out of memory. */
struct watch *notifier_add(ps_notifier *notifier, int64_t handle, uint32_t mask);
void notifier_want(ps_notifier *notifier, struct watch *watch, uint32_t interest);
void notifier_remove(ps_notifier *notifier, struct watch *watch);
/* `passed_by`: whether some of them were. */
size_t notifier_take(ps_notifier *notifier, struct ps_readiness *out, size_t room, bool *passed_by);
void notifier_set_quiet(ps_notifier *notifier, bool is_quiet);
/* Also takes it from its Stack. */
void notifier_free(ps_notifier *notifier);

#endif
