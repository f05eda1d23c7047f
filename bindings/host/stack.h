/*
 * A Stack from inside the host: the engine's instance, its lock, who waits and who drives.
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

#include "arena.h"
#include "host_api.h"
#include "loader.h"
#include "nic.h"

#define WAIT_BUCKETS 256 /* a power of two */
#define MOST_INTERFACES 256
#define MOST_WAKES 16

/* A thread that waits for an event; lives on that thread's stack. */
struct waiter {
    enum ps_event_kind kind;
    int64_t id;
    uint32_t mask;
    _Atomic uint32_t signalled;
    bool promoted; /* it shall drive, if nobody else does by now */
    struct waiter *next, **link;
    struct waiter *asleep_next, **asleep_link; /* among those who sleep while another drives */
};

struct descriptor;     /* readiness.c */
struct channel_server; /* channel_server.c */
struct channel_remote; /* channel_client.c */

/* What the driver's thread watches for frames, and may leave to a busy program: gate.c. */
struct gate {
    int fd;         /* an epoll instance with the NICs' descriptors; -1: none yet */
    size_t count;   /* how many those are */
    bool open;      /* a frame wakes the thread */
    bool due;       /* the program has just looked at the last that it was told of */
    uint64_t round; /* counts the moments that were left to it, from 1 */
    size_t unread;  /* descriptors that it was told of in this one, and hasn't looked at */
};

/* Finishing: no call gets in any more, and what was accepted for sending is delivered (finish.c). */
enum stack_state { STACK_OPEN, STACK_FINISHING, STACK_CLOSING, STACK_CLOSED };

/* Whether somebody takes what a NIC is given, when that was so last, and frames taken so far. */
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

struct ps_stack {
    pthread_mutex_t lock;
    pthread_cond_t idle; /* signalled when the last waiter of a closing Stack has left */
    enum stack_state state;
    struct finish finish;
    _Atomic int64_t linger_us; /* when a signal ends the process */
    struct ps_stack *list_next;
    bool poisoned;
    char panic_text[256];
    jmp_buf unwind;         /* where `panic` lands: the entry that is under way */
    struct ps_stack *outer; /* the Stack whose hypercall this thread came from, if any */
    unsigned fork_generation;

    struct engine_image image;
    const struct ps_engine_table *table;
    ps_engine *engine;
    struct arena arena;
    struct ps_python_hypercalls python;
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
    struct segments segments;       /* one that the engine wants in ordinary frames */

    bool threaded, driving; /* driving: a thread that waits does, or one in step() */
    pthread_t driver;
    struct waiter *leader;            /* the waiter that drives, if one does */
    bool led;                         /* a waiter has driven since the thread looked last */
    bool unfinished;                  /* a NIC may have more, of which nothing tells */
    unsigned batches_ahead;           /* taken since the timers ran last, */
    uint64_t ahead_since_us;          /* and since when */
    bool parking;                     /* the thread stays away from the NICs */
    bool driver_parked;               /* the thread waits for a leader's end */
    _Atomic uint32_t driver_word;     /* what it sleeps on meanwhile */
    uint64_t sleep_ticket;            /* who sleeps for frames: the last one who began to */
    int wake_descriptor, wake_writer; /* an eventfd, or both ends of a pipe */
    atomic_bool wake_pending, spinning;
    bool has_processors;              /* more than one */
    unsigned spin_penalty, spin_skip; /* how long spinning was in vain; sleeps without it */
    uint64_t deadline_us;             /* when the engine wants to run */
    uint64_t sleep_until_us;          /* when who drives looks again by itself; 0: it is awake */

    struct waiter *waiters[WAIT_BUCKETS];
    struct waiter *asleep;
    unsigned waiting;                    /* threads inside stack_wait */
    _Atomic uint32_t *wakes[MOST_WAKES]; /* signalled, to be woken after the unlock */
    size_t wake_count;
    uint64_t changes; /* of addresses, links and leases */
    struct descriptor *descriptors[WAIT_BUCKETS];
    size_t descriptor_count;
    struct gate gate;
    struct descriptor *pending;     /* whose shown readiness is to follow before the lock is left */
    bool deaths;                    /* a descriptor's last number was closed */
    int watcher;                    /* an epoll that tells of that; -1: none was needed */
    size_t watched_count;           /* descriptors it watches */
    int joiner;                     /* listens for ends of ours; -1: none was needed */
    struct sockaddr_un joiner_name; /* which the kernel chose */
    socklen_t joiner_name_size;

    _Atomic(struct channel_server *) server; /* answers the other processes that use it, or NULL */
    struct channel_remote *remote;           /* the Stack is another process's; or NULL */
};

/* --- stack.c: going in and out ----------------------------------------------------------- */

/* Counts the forks that this process comes from. */
unsigned stack_fork_generation(void);
void stack_watch_forks(void);
/* In a child: closes what would keep the parent's Stack looking alive. */
void stack_forget(ps_stack *stack);
/* Whether the Stack was there before a fork() that this process is the child of. */
bool stack_is_inherited(const ps_stack *stack);
/* Whether this thread comes from one of the Stack's hypercalls. */
bool stack_is_inside(const ps_stack *stack);
/* Takes the lock. 0, or why the Stack can't be used (host_api.h), without the lock. */
int stack_lock(ps_stack *stack);
/* Gives it back, and wakes whom the calls in between have signalled. */
void stack_unlock(ps_stack *stack);
/* Before and after calls into the engine, under the lock and inside an ENGINE_GUARD. */
void stack_begin(ps_stack *stack);
void stack_end(ps_stack *stack);
/* The result of an entry that ended in a panic. */
int stack_poison(ps_stack *stack);
/* -ECANCELED once if a Python hypercall raised meanwhile, else `result`. */
int64_t stack_outcome(ps_stack *stack, int64_t result);

/* Evaluates `call` inside the engine and stores what it gives, or -ENOTRECOVERABLE when it
 * panicked. setjmp has to be called from a frame that outlives the call: hence a macro. */
#define ENGINE_GUARD(stack, result, call) \
    do { \
        if (setjmp((stack)->unwind) == 0) { \
            stack_begin(stack); \
            (result) = (call); \
            stack_end(stack); \
        } else { \
            (result) = stack_poison(stack); \
        } \
    } while (0)

/* The body of a function that is one call into the engine. */
#define ENGINE_CALL(stack, call) \
    do { \
        int64_t result_ = stack_lock(stack); \
        if (result_ < 0) \
            return result_; \
        ENGINE_GUARD(stack, result_, call); \
        result_ = stack_outcome(stack, result_); \
        stack_unlock(stack); \
        return result_; \
    } while (0)

/* The body of a function that makes one call into the engine until it says something else than
 * -EAGAIN, and waits for the event in between. */
#define WAITING_CALL(stack, kind, id, mask, timeout_us, call) \
    do { \
        uint64_t until_ = deadline_after(timeout_us); \
        int64_t result_ = stack_lock(stack); \
        if (result_ < 0) \
            return result_; \
        do { \
            ENGINE_GUARD(stack, result_, call); \
            if (result_ != -EAGAIN || (timeout_us) == 0 || \
                ((kind) == PS_EVENT_SOCKET && (timeout_us) < 0 && \
                 descriptor_waits_not(stack, id))) \
                break; \
            result_ = stack_wait(stack, kind, id, mask, until_); \
        } while (result_ == 0); \
        result_ = stack_outcome(stack, result_); \
        stack_unlock(stack); \
        return result_; \
    } while (0)

/* --- finish.c ----------------------------------------------------------------------------- */

/* All Stacks of this process, which a signal ends. */
void stacks_enter(ps_stack *stack);
void stacks_leave(ps_stack *stack);
void stacks_forget(void); /* in a child */
/* Whether one may ask Python for something. */
bool stacks_need_python(void);
void stacks_end(void);

/* --- hypercalls.c ------------------------------------------------------------------------- */

void stack_hypercalls(ps_stack *stack, struct ps_hypercalls *out);
/* Under the lock: a line for who reads the Stack's log. */
void stack_log(void *stack, enum ps_log_level level, const char *text);
uint64_t monotonic_us(void);

/* --- driver.c ----------------------------------------------------------------------------- */

int driver_start(ps_stack *stack);
void driver_stop(ps_stack *stack);
int wake_open(ps_stack *stack);
void wake_close(ps_stack *stack);
/* Under the lock: nobody drives any more, and the thread looks whether it should. */
void driver_unpark(ps_stack *stack);
/* Makes whoever drives look again. From any thread, without the lock. */
void stack_wake(void *stack);
/* Under the lock: moves frames and timers; false when more is waiting already. */
bool stack_move(ps_stack *stack);
/* Without the lock: takes what has come since a waiter drove last, if nobody has driven since:
 * who asks how things stand is to see it. */
void stack_catch_up(ps_stack *stack);
/* What a NIC has to be polled for; false: nothing. */
size_t nic_watched(const ps_stack *stack, uint32_t index, int descriptors[2]);
/* Under the lock, given up meanwhile: sleeps until something is due or `until_us`. */
int stack_sleep(ps_stack *stack, uint64_t until_us);

/* --- gate.c ------------------------------------------------------------------------------- */

/* Under the lock: what to poll for frames; -1: the NICs themselves. */
int gate_descriptor(ps_stack *stack);
/* Under the lock: frames need not wake the thread for now; false: they must. */
bool gate_shut(ps_stack *stack);
void gate_open(ps_stack *stack);
/* Under the lock: a descriptor says "readable" now; *round keeps when it was told. */
void gate_note_told(ps_stack *stack, uint64_t *round);
/* Under the lock: it doesn't any more: the program has looked. */
void gate_note_look(ps_stack *stack, uint64_t *round);
/* Under the lock: the moment is over. What the program hasn't looked at, a reader that pauses or a
 * stream that is at its end, may stay so for long, and keeps nobody waiting from now on. */
void gate_neglect(ps_stack *stack);
/* Under the lock: takes the frames that have come, in the thread's place. */
void gate_attend(ps_stack *stack);
/* The NICs are others now, or there will be none. */
void gate_forget(ps_stack *stack);

/* --- attach.c ----------------------------------------------------------------------------- */

void detach_all(ps_stack *stack);

/* --- wait.c ------------------------------------------------------------------------------- */

#define NO_DEADLINE UINT64_MAX

/* timeout_us as in host_api.h to a moment of monotonic_us(). */
uint64_t deadline_after(int64_t timeout_us);
/* Under the lock, given up meanwhile: until the event, the moment, a signal or the end.
 * 0: look again; -EAGAIN: the time is over; -EINTR, -EBADF, -ENOTRECOVERABLE, -ECANCELED. */
int stack_wait(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask,
               uint64_t deadline_us);
/* Under the lock: signals those who wait for this. */
void stack_signal(ps_stack *stack, enum ps_event_kind kind, int64_t id, uint32_t mask);
void stack_signal_all(ps_stack *stack);
/* Whether the waiter that drives has what it waits for. */
bool stack_leader_is_done(const ps_stack *stack);
/* Without the lock: sleeps until the word isn't 0 or the moment comes (NO_DEADLINE: never). */
int sleep_on(_Atomic uint32_t *word, uint64_t until_us);
void wake_sleeper(_Atomic uint32_t *word);
/* Under the lock: wakes who sleeps on the word as soon as the lock is given back. */
void stack_wake_later(ps_stack *stack, _Atomic uint32_t *word);
/* Without the lock: wakes those whom a signal has marked. */
void stack_wake_signalled(_Atomic uint32_t **words, size_t count);

/* --- socket.c ------------------------------------------------------------------------------ */

/* Closes a socket, whoever holds it. */
int stack_close_socket(ps_stack *stack, int64_t handle);

/* --- descriptor.c -------------------------------------------------------------------------- */

/* Under the lock: the socket's descriptor, if it has one, will show `mask` when the engine is left. */
void descriptor_show(ps_stack *stack, int64_t handle, uint32_t mask);
/* Asks the engine anew; inside an ENGINE_GUARD. For calls that change readiness silently. */
void descriptor_refresh(ps_stack *stack, int64_t handle);
/* A reader has found nothing. */
void descriptor_found_nothing(ps_stack *stack, int64_t handle);
/* Whether somebody has made a descriptor one that doesn't wait (fcntl(2), O_NONBLOCK). */
bool descriptor_waits_not(ps_stack *stack, int64_t handle);
/* Shows what has come about meanwhile. */
void descriptors_settle(ps_stack *stack);
/* All show an error: the Stack is lost. */
void descriptors_fail(ps_stack *stack);
/* Inside the engine: closes the sockets whose last descriptor has been closed. */
void descriptors_reap(ps_stack *stack);
void descriptor_close(ps_stack *stack, int64_t handle);
void descriptor_close_all(ps_stack *stack);
/* descriptor_files.c */
void files_before_fork(void);
/* The Stack's socket that a number shows; -ENOENT: none. */
int64_t files_socket(const ps_stack *stack, int number);
void files_after_fork(bool is_child);
/* A number to pass to another process and then close; -errno. What it is a copy of is ours. */
int descriptor_lend(ps_stack *stack, int64_t handle);
/* A descriptor that shows the socket came from another process. Whether this one has the socket as
 * well; if not, it takes a number of its own, by which readiness goes on being shown. */
bool descriptor_keep(ps_stack *stack, int64_t handle, int number);
/* In a child: closes our ends of the parent's. */
void descriptor_forget_all(ps_stack *stack);
/* In a process that doesn't own the Stack: what a socket's number is. */
int descriptor_note(ps_stack *stack, int64_t handle, int number);

#endif
