/*
 * A World from inside the host: its clock, its events, the Stacks in it that are ready, and whose
 * turn it is.
 *
 * A thread that holds a Stack's lock may take the World's; never the other way round.
 */
#ifndef PYSTACK_HOST_WORLD_H
#define PYSTACK_HOST_WORLD_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/host_api.h"
#include "api/world_api.h"
#include "world/tape.h"
#include "world/trace.h"

#define NOT_DUE UINT64_MAX

/* Frames on their way; what a member does by itself, from which alone nothing may ever come; the
 * end of a thread's wait. */
enum event_kind { EVENT_WIRE, EVENT_MEMBER, EVENT_ALARM, EVENT_KINDS };

/* Something that happens at a moment. Events of the same moment happen in the order in which they
 * were set. */
struct world_event {
    uint64_t due_us, order;
    size_t place; /* in the heap, from 1; 0: it is not set */
    enum event_kind kind;
    /* Without the World's lock. */
    void (*happen)(struct world_event *event);
};

/* Whether a timer of a member may send a frame or end a wait. */
enum acts { ACTS_NOT, ACTS, ACTS_UNKNOWN };

/* Something with work of its own, which is a Stack. */
struct world_member {
    struct world_event event; /* when it is due by itself */
    ps_world *world;
    uint64_t number; /* from 1, of all that this World has had */
    bool ready;      /* it is in the list of those that have something to do now */
    struct world_member *next_ready;
    /* Both without the World's lock. */
    void (*move)(void *argument);
    enum acts (*acts)(void *argument); /* NULL: it can't say */
    void *argument;
};

/* A turn that was taken from a thread which didn't give it up: until the first thread has looked
 * for signals; or until the thread calls the World again, and waits for another. */
enum taken { NOT_TAKEN, TAKEN_FOR_A_LOOK, TAKEN_FOR_GOOD };

struct ps_turn {
    ps_world *world;
    uint64_t number; /* from 0, in the order of their making */
    uint64_t waits;  /* how often it has begun to */
    struct world_event alarm;
    _Atomic uint32_t word; /* its turn has come */
    pthread_t thread;      /* whose it is, once that has begun, */
    clockid_t processor;   /* and the clock of what it computes; 0: there is none */
    bool waiting, polls;
    bool ready;        /* in the list of those that may go on; */
    int result;        /* with this, */
    bool woken;        /* or will be at its next wait */
    bool woken_here;   /* by its own thread: since the last look by a signal's handler */
    bool moves;        /* it has its turn only to go on moving the World */
    _Atomic int taken; /* enum taken */
    bool stands_by;    /* the thread has noticed, */
    bool ends;         /* and wants no other turn */
    ps_turn *next_ready;
    ps_turn *next; /* of all */
};

struct ps_world {
    uint64_t number; /* from 1, of all that this process has made */
    pthread_mutex_t lock;
    _Atomic int references;
    _Atomic uint64_t now_us;
    _Atomic uint64_t frames;
    _Atomic uint64_t busy_us; /* when a frame was sent, or a thread became ready, last */
    uint64_t woken_us;        /* the latter alone, */
    uint64_t woken_events;    /* and how many events there had been */
    uint64_t flight_us;       /* the longest that a frame was, or is, on its way */
    uint64_t events, order;
    struct world_event **heap; /* from 1 */
    size_t heap_count, heap_room;
    size_t counts[EVENT_KINDS]; /* of what is in it */
    struct world_member *ready_first, *ready_last;
    struct world_event *_Atomic busy; /* what happens now, or whose member moves or is asked, */
    pthread_t mover;                  /* in this thread; */
    _Atomic int awaiting;             /* so many others wait for its end */
    pthread_cond_t rested;
    ps_turn *turn_first, *turn_last; /* those that may go on */
    ps_turn *turns;                  /* all */
    ps_turn *first, *current;        /* the first thread's; the one that runs */
    uint64_t waits;                  /* how often a thread began to wait */
    uint64_t turn_count;             /* that there have been */
    uint64_t member_count;           /* the same of members */
    pthread_mutex_t store_lock;      /* the last to be taken: what store.c has */
    struct block *blocks;
    struct region *regions;
    uint64_t region_changes;
    bool moves;                /* the one that runs is in turn_wait */
    bool wanted;               /* the first thread is to have a look for signals */
    int (*look)(void *python); /* its look; NULL: no signals come to it */
    void *python;
    ps_turn *closer; /* which waits for the others to end */
    bool closed, over;
    struct tape tape;
    struct trace trace;
    struct pace *pace; /* NULL: it doesn't wait for the machine's clock (pace.h) */
};

/* Its clock. Inline, as it is asked several times a frame. */
static inline uint64_t world_now_us(ps_world *world)
{
    return world->pace == NULL ? atomic_load(&world->now_us) : ps_world_now_us(world);
}

ps_world *world_hold(ps_world *world);
/* Sets an event, or sets it again; NOT_DUE: takes it out. -ENOMEM. */
int world_set(ps_world *world, struct world_event *event, uint64_t due_us);
/* The same of one that is to be freed, by any thread: takes it out once it isn't under way. Without
 * a lock that it takes as it happens. */
void world_end(ps_world *world, struct world_event *event);
/* Under the lock: the two halves of it. */
void world_await(ps_world *world, const struct world_event *event);
void world_take_out(ps_world *world, struct world_event *event);
/* Something has happened that may lead to more. */
void world_note_progress(ps_world *world);
/* Lets one thing happen: what is ready now, else what is due next. false: there is nothing. By the
 * thread whose turn it is. */
bool world_step(ps_world *world);

/* --- members (members.c) --- */
struct world_member *world_enlist(ps_world *world, void (*move)(void *argument),
                                  enum acts (*acts)(void *argument), void *argument);
/* By any thread, without a lock that its `move` or `acts` takes. */
void world_dismiss(struct world_member *member);
/* It has something to do now. From under any Stack's lock. */
void world_ready(struct world_member *member);
/* ready.c: the same under the lock. */
void world_append(struct world_member *member);
/* When it is due by itself. */
void world_due(struct world_member *member, uint64_t due_us);

/* --- what comes from outside (outside.c) --- */
/* The member gets frames of this NIC; if they come from outside, the World waits for them.
 * -EOPNOTSUPP: nobody does, for its time isn't real; -EMFILE: too many. */
int world_watch(struct world_member *member, ps_nic *nic);
/* It gets no more; NULL: of none. Before the NIC is given back. */
void world_unwatch(struct world_member *member, const ps_nic *nic);

/* --- turns (turns.c, ready.c) --- */
/* Under the lock: puts it behind those that may go on; takes it out. */
void turn_append(ps_world *world, ps_turn *turn, int result);
void turn_withdraw(ps_world *world, ps_turn *turn);
/* The thread's, if it is its turn; the first thread to ask becomes the World's first. NULL: it
 * takes no part. */
ps_turn *turn_here(ps_world *world);
/* What is to end the next wait; then turn_wait, without a lock. */
void turn_prepare(ps_turn *turn, uint64_t until_us, bool polls);
int turn_wait(ps_turn *turn);
void turn_ready(ps_turn *turn, int result);
/* A descriptor shows something else. */
void world_shown(ps_world *world);

/* --- signals, and threads that don't give up their turn (looks.c) --- */
/* Until its turn has come. false: it has been taken from another. */
bool turn_sleep(ps_turn *turn);
/* Whether the wait is over, and its result, after a turn was handed on or taken; false: it goes on
 * moving the World. */
bool turn_await(ps_turn *turn, int *result);
/* In the first thread, with its turn: whether its wait is over, for a handler has raised, or done
 * something. */
bool turn_look(ps_turn *turn, int *result);
/* If its turn was taken, it waits for the next one. */
void turn_stand_by(ps_turn *turn);
/* In a thread that ends: whether it has its turn, to be handed on. */
bool turn_ends(ps_turn *turn);

#endif
