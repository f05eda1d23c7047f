/*
 * A Stack from inside the host: the engine's instance, its lock, its waiters and its driver.
 *
 * Everything below `lock` is guarded by it. A thread inside the engine holds the lock; the
 * engine's hypercalls run on that thread, and so under it too.
 */
#ifndef PYSTACK_HOST_STACK_H
#define PYSTACK_HOST_STACK_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/arena.h"
#include "base/doorbell.h"
#include "base/generator.h"
#include "api/host_api.h"
#include "base/loader.h"
#include "nic/gso.h"
#include "nic/nic.h"
#include "stack/gate.h"
#include "stack/waiters.h"

#define MOST_INTERFACES 256
#define MOST_WAKES 16

struct descriptor;     /* descriptor.h */
struct channel_server; /* channel_server.c */
struct channel_remote; /* channel_client.c */
struct world_member;   /* world.h */
struct witness;        /* witness.h */

/* Finishing: no call gets in any more, and what was accepted is delivered (finish.c). */
enum stack_state { STACK_OPEN, STACK_FINISHING, STACK_CLOSING, STACK_CLOSED };

/* Whether a NIC's far end takes frames, when it last did, and how many so far. */
struct hearing {
    bool is_heard;
    uint64_t last_us, taken;
};

/* How far a Stack is that finishes. */
struct finish {
    struct ps_undelivered left;
    uint64_t began_us;
    uint64_t progress_us;           /* when what is left last became less */
    uint64_t clock_us;              /* what the Stack's clock was then */
    uint64_t delivered_us;          /* since when nothing is; 0: not yet */
    uint64_t look_us, look_took_us; /* at what is left: when next, and for how long last time */
    struct hearing hearing[MOST_INTERFACES];
};

/* A frame that waits for the services in Python. */
struct tapped_frame {
    struct tapped_frame *next;
    uint32_t interface;
    bool is_whole;
    size_t size;
    uint8_t bytes[];
};

/* The services in Python (serving.c). */
struct serving {
    struct ps_serving *of[MOST_INTERFACES]; /* by the interface's index; NULL: none */
    unsigned interfaces;                    /* how many are not NULL */
    struct tapped_frame *first;
    size_t count;
    bool running, changed; /* changed: an interface has, since they ran last */
    uint64_t deadline_us;
};

struct ps_stack {
    pthread_mutex_t lock;
    pthread_cond_t idle; /* signalled when the last waiter of a closing Stack has left */
    enum stack_state state;
    struct finish finish;
    _Atomic int64_t linger_us; /* when a signal ends the process */
    struct ps_stack *list_next;
    bool poisoned;
    char panic_text[256];
    jmp_buf unwind;           /* where `panic` lands: the entry that is under way */
    struct ps_stack *outer;   /* the Stack whose hypercall this thread came from, if any */
    struct ps_stack *awaited; /* the one whose lock the thread inside this one waits for */
    unsigned fork_generation;

    struct engine_image image;
    const struct ps_engine_table *table;
    ps_engine *engine;
    struct arena arena;
    struct ps_python_hypercalls python;
    struct world_member *world; /* its place in one, or NULL */
    uint64_t place;             /* ps_stack_place */
    struct witness *witness;    /* of its sockets, for the World's trace; or NULL */
    bool seeded;
    struct generator generator;
    uint8_t chance[256]; /* from the system, of which the last so many bytes are unused */
    size_t chance_left;
    bool raised; /* a Python hypercall raised; its exception waits on the Python side */
    uint64_t now_us;

    ps_nic *nics[MOST_INTERFACES];  /* by the interface's index */
    bool nic_gone[MOST_INTERFACES]; /* its wire has ended; the interface stays, without a link */
    uint32_t nic_last;              /* the highest index that was in use */
    struct nic_frame frame;         /* the incoming one */
    struct gso gso;                 /* one that the engine wants in ordinary frames */

    bool threaded, driving; /* driving: a thread that waits does, or one in step() */
    pthread_t driver;
    struct waiter *leader;        /* the waiter that drives, if one does */
    bool led;                     /* a waiter has driven since the thread looked last */
    bool unfinished;              /* a NIC may have more, of which nothing tells */
    unsigned batches_ahead;       /* taken since the timers ran last, */
    uint64_t ahead_since_us;      /* and since when */
    bool parking;                 /* the thread stays away from the NICs */
    bool driver_parked;           /* the thread waits for a leader's end */
    _Atomic uint32_t driver_word; /* what it sleeps on meanwhile */
    uint64_t sleep_ticket;        /* the last thread that began to sleep for frames */
    struct doorbell doorbell;
    atomic_bool wake_pending, spinning;
    bool has_processors;              /* more than one */
    unsigned spin_penalty, spin_skip; /* how long spinning didn't help; sleeps without it */
    uint64_t deadline_us;             /* when the engine wants to run */
    uint64_t sleep_until_us;          /* when the driver wakes by itself; 0: it is awake */

    struct waiter *waiters[WAIT_BUCKETS];
    struct waiter *asleep;
    unsigned waiting;                    /* threads inside stack_wait */
    _Atomic uint32_t *wakes[MOST_WAKES]; /* signalled, to be woken after the unlock */
    size_t wake_count;
    uint64_t changes; /* of addresses, links and leases */
    struct descriptor *descriptors[WAIT_BUCKETS];
    size_t shown_count; /* descriptors, and watches of notifiers */
    struct ps_notifier *notifiers;
    bool unsettled; /* a notifier has become ready, or isn't any more */
    struct gate gate;
    struct serving serving;
    struct descriptor *pending; /* whose shown readiness is to follow before the lock is left */
    struct descriptor *later_first, *later_last; /* who show theirs later */
    bool deaths;                                 /* a descriptor's last number was closed */
    int watcher;                    /* an epoll that tells of that; -1: none was needed */
    size_t watched_count;           /* descriptors it watches */
    int joiner;                     /* listens for ends of ours; -1: none was needed */
    struct sockaddr_un joiner_name; /* which the kernel chose */
    socklen_t joiner_name_size;

    _Atomic(struct channel_server *) server; /* answers the other processes that use it, or NULL */
    struct channel_remote *remote;           /* the Stack is another process's; or NULL */
    /* Why a call that is the owner's alone can't be made; NULL: it can. */
    int (*refuse)(const ps_stack *stack);
};

/* Lets no call in any more. 1: the caller is to close it; 0: it is closed, or another process's;
 * -EDEADLK. */
int stack_begin_to_close(ps_stack *stack);
void stack_close(ps_stack *stack, bool abrupt);
int local_panic_text(ps_stack *stack, char *text, size_t size);
/* From inside one of the Stack's hypercalls nothing of this thread's may enter it: while Python is
 * asked under the lock, without the engine. */
void stack_go_inside(ps_stack *stack);
void stack_go_outside(ps_stack *stack);
/* In a child: closes what would keep the parent's Stack looking alive. */
void stack_forget(ps_stack *stack);

#endif
