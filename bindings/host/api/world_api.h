/*
 * Worlds: Stacks and links that share one virtual clock, and the threads that take turns in it.
 *
 * Nothing in a World sleeps. A thread that has to wait for a Stack, a moment or another thread
 * moves the World on instead: it lets what is ready run, and then turns the clock to the next
 * event. Of all threads that take part exactly one runs at a time; which one is next depends on the
 * order in which they became ready, never on the machine.
 */
#ifndef PYSTACK_HOST_WORLD_API_H
#define PYSTACK_HOST_WORLD_API_H

#include "api/nic_api.h"

typedef struct ps_world ps_world;
/* Negative, what a wait ends with where nothing can ever happen any more. */
enum { PS_STALLED = 4000 };
typedef struct ps_turn ps_turn;

int ps_world_create(uint64_t start_us, ps_world **out);
/* Stacks and links keep it for as long as they live. */
void ps_world_release(ps_world *world);
/* From now on in real time: its clock doesn't move to an event before the machine's has come there;
 * again: as if it had been on time until now. Before any thread takes part in it. Where only Stacks
 * have timers that can't say what comes of them, it is a stall when no frame was sent for
 * `silence_us`. -errno. */
int ps_world_pace(ps_world *world, uint64_t silence_us);
/* How far the clock is behind the machine's, in real time. */
uint64_t ps_world_behind_us(ps_world *world);
/* A thread from outside is going to wake one of the World's (`more`), or isn't any longer: a wait
 * for it is no stall. -EOPNOTSUPP: its time isn't real. */
int ps_world_expect(ps_world *world, bool more);
uint64_t ps_world_now_us(ps_world *world);
/* How often the clock has moved on, and how many frames have arrived. */
void ps_world_counts(ps_world *world, uint64_t *events, uint64_t *frames);
/* The thread whose turn it is. From any thread. */
struct ps_running {
    uint64_t thread;       /* by pthread_self(); 0: none's */
    uint64_t waits;        /* how often any has begun to wait */
    uint64_t processor_ns; /* what this one has computed so far; UINT64_MAX: nobody can tell */
};
void ps_world_running(ps_world *world, struct ps_running *out);
/* From now on each wait fails with -EBADF. The thread that calls it may take the turn of one that
 * doesn't give it up. */
void ps_world_close(ps_world *world);
/* Behind it: threads that haven't ended go on without turns, and without the World. */
void ps_world_abandon(ps_world *world);
/* Each thread that has lost its turn, and hasn't noticed yet, by pthread_self(): how many, of which
 * `room` at most are written. */
size_t ps_world_taken(ps_world *world, uint64_t *out, size_t room);
/* While its first thread waits, `look` is called there now and then in real time, by the thread
 * itself and with its turn, so that Python runs its signals' handlers: 0; PS_LOOK_RAISED: one has
 * raised, and the wait ends with -ECANCELED; PS_LOOK_WAKES: it ends with 0. A thread that keeps its
 * turn for PS_PATIENCE_US loses it for a look, and for good if that ends the wait, or the World
 * closes. As long as none ends a wait, no look changes what happens. */
enum { PS_LOOK_QUIET, PS_LOOK_RAISED, PS_LOOK_WAKES };
enum { PS_LOOK_US = 50000, PS_PATIENCE_US = 200000 };
void ps_world_look(ps_world *world, int (*look)(void *python), void *python);

/* --- turns ---
 *
 * The thread that waits first in a World has the first turn, and keeps it for good; every other one
 * is made known by the thread whose turn it is before it starts.
 */
/* A thread that is about to start: it is ready, behind those that are already. */
ps_turn *ps_turn_create(ps_world *world);
/* In that thread: returns when its turn has come. */
void ps_turn_begin(ps_turn *turn);
/* In that thread: the next one's turn. The last use of the pointer. */
void ps_turn_end(ps_turn *turn);
/* This thread's; NULL: it takes no part. */
ps_turn *ps_turn_mine(ps_world *world);
#ifndef PYSTACK_FOR_PYTHON
/* Whether this thread takes part in any World, or took part in one that is gone. */
bool ps_turn_in_any(void);
#endif
/* Waits until another thread calls ps_turn_wake: 0; or for timeout_us of the World's clock:
 * -EAGAIN; -PS_STALLED; -ECANCELED: a signal's handler has raised; -EBADF: the World is closed;
 * -EPERM: this thread takes no part, and another does; -EDEADLK: it is inside of a Stack of that
 * World. `polls`: until a descriptor of one
 * of its Stacks shows something else, too. */
int ps_turn_wait(ps_world *world, int64_t timeout_us, bool polls);
/* Whether this thread can't wait there, since it is inside of a Stack of that World. */
bool ps_turn_is_inside(ps_world *world);
/* It need not wait; the next wait of one that doesn't ends at once. */
void ps_turn_wake(ps_turn *turn);

/* --- the tape: what chance decides --- */
/* Which of several that may go on is next: the first (the default); any, drawn by the seed; or the
 * one with the highest of priorities that the seed gives, and changes at some of the first steps
 * (PCT). */
enum ps_schedule { PS_SCHEDULE_FIFO, PS_SCHEDULE_RANDOM, PS_SCHEDULE_PCT };
/* What was chosen: which thread or task is next, counted from 0; that a frame is lost, has a wrong
 * bit (counted from 1), arrives twice, or later by so many microseconds than its link's delay says
 * (its twin: PS_CHOICE_TWIN_LATE); what Python drew. */
enum ps_choice_kind {
    PS_CHOICE_TURN,
    PS_CHOICE_TASK,
    PS_CHOICE_LOST,
    PS_CHOICE_CORRUPT,
    PS_CHOICE_DUPLICATE,
    PS_CHOICE_LATE,
    PS_CHOICE_TWIN_LATE,
    PS_CHOICE_OWN,
};
struct ps_choice {
    uint32_t kind;           /* enum ps_choice_kind */
    uint64_t stream, number; /* of what: a direction of a link; which of it, from 1 */
    int64_t value;           /* 0: the ordinary, which isn't on a tape */
};
enum {
    PS_MOST_CHOICES = 64, /* so many of those that may go on are chosen from */
    PS_MOST_CHANGES = 16, /* of priorities */
};
void ps_world_schedule(ps_world *world, enum ps_schedule schedule, uint64_t seed, uint32_t changes,
                       uint64_t steps);
/* From now on nothing is drawn: what happens is what was put. */
void ps_tape_replay(ps_world *world);
int ps_tape_put(ps_world *world, const struct ps_choice *choice);
/* All that was chosen: how many, of which `room` at most are copied. -ENOMEM: some are missing. */
int64_t ps_tape_read(ps_world *world, struct ps_choice *out, uint64_t room);
/* Which of several tasks, known by their numbers, is next. */
uint32_t ps_tape_next(ps_world *world, const uint64_t *tasks, uint32_t count);
/* The choice's value, noted; or in its place the one that was put. */
int64_t ps_tape_value(ps_world *world, const struct ps_choice *choice);

/* --- moments: its clock, events, links, switches, NATs, and the tape's position --- */
typedef struct ps_moment ps_moment;
/* -EBUSY: other threads take part; -ENOMEM. */
int ps_moment_create(ps_world *world, ps_moment **out);
/* -EBUSY; -ESTALE: Stacks, links, switches or NATs have come or gone since. The Stacks are to be
 * put back behind it, and then all of this again, since their own events have changed. */
int ps_moment_return(ps_moment *moment);
void ps_moment_destroy(ps_moment *moment);

/* --- the trace: what becomes of frames --- */
enum ps_trace_kind {
    PS_TRACE_SENT, /* the only one with the frame's bytes */
    PS_TRACE_ARRIVED,
    PS_TRACE_LOST,
    PS_TRACE_CUT_OFF,
    PS_TRACE_OVERFLOWED,
    PS_TRACE_CORRUPTED,
    PS_TRACE_DUPLICATED,
    PS_TRACE_DROPPED, /* by CoDel; */
    PS_TRACE_MARKED,  /* and by it, too: congestion was experienced */
    PS_TRACE_SOCKET,  /* no frame: a struct ps_trace_socket follows */
};
struct ps_trace {
    /* As in struct ps_choice; of a socket: its Stack's ps_stack_place, and which of its events. */
    uint64_t at_us, stream, number;
    uint32_t kind; /* enum ps_trace_kind */
    uint32_t kept; /* bytes of the frame that follow */
};
/* What a TCP socket does, or what becomes of it. */
enum ps_socket_event {
    PS_SOCKET_LISTENS,
    PS_SOCKET_CONNECTS,
    PS_SOCKET_ASKED, /* a SYN has come */
    PS_SOCKET_ESTABLISHED,
    PS_SOCKET_ACCEPTED,
    PS_SOCKET_PEER_CLOSED,
    PS_SOCKET_CLOSES,
    PS_SOCKET_CLOSED,
    PS_SOCKET_FAILED, /* before it was established */
    PS_SOCKET_RESET,  /* it ended otherwise than by both sides' FIN: by a RST, or a timeout */
    PS_SOCKET_TIMEOUT,
    PS_SOCKET_RETRANSMITS,
};
struct ps_trace_socket {
    struct ps_address local, remote;
    uint32_t event;  /* enum ps_socket_event */
    uint32_t count;  /* of timeouts, of segments */
    uint32_t rto_us; /* with these: the retransmission's next timeout */
};
/* `most_bytes`: of what is older a half is forgotten. */
void ps_trace_on(ps_world *world, bool on, uint64_t most_bytes);
/* The records, each with its bytes: how long they are; they are copied where there is room for all.
 * `forgotten`: how many there were before. */
uint64_t ps_trace_read(ps_world *world, uint8_t *out, uint64_t room, uint64_t *forgotten);

/* --- links --- */
/* The next frames that this end sends are lost, or not, whatever chance says: bit 0 of `lost` is
 * the first one's, of `count` (64 at most). */
void ps_link_plan(ps_nic *end, uint64_t lost, uint32_t count);
/* What has arrived at this end while nobody took it is lost, as where a machine has no power. */
void ps_link_forget(ps_nic *end);
/* The stream of what this end sends. */
uint64_t ps_link_stream(ps_nic *end);
/* How frames wait for the rate: in order; with CoDel (RFC 8289); in fair queues with CoDel (RFC
 * 8290). */
enum ps_queue_kind { PS_QUEUE_FIFO, PS_QUEUE_CODEL, PS_QUEUE_FQ_CODEL };
struct ps_queue {
    uint8_t kind;         /* enum ps_queue_kind */
    bool ecn;             /* CoDel marks what knows ECN instead of dropping it */
    uint32_t most_frames; /* how many may wait, */
    uint64_t most_bytes;  /* and how much; 0: no limit */
    uint64_t target_us, interval_us;
    uint32_t flows, quantum_bytes; /* of FQ-CoDel */
};
/* One direction. Probabilities are 0 to 1; all zeros is a wire that changes nothing. */
struct ps_link {
    double loss, duplicate, corrupt, reorder;
    /* Gilbert and Elliott's model: how likely each frame turns the good state to bad, and the bad
     * one back, and is lost in the bad; `loss` is the good state's. */
    double to_bad, to_good, bad_loss;
    uint64_t delay_us, jitter_us, reorder_delay_us;
    /* More than 0: the delay is normally distributed about delay_us. */
    uint64_t deviation_us;
    double correlation; /* of each frame's delay with the one before */
    /* Delays instead, from the first again behind the last: the next one for each frame, or for
     * each time of so long. Copied; more than 0 of them. */
    const uint64_t *delays_us;
    uint32_t delay_count;
    uint64_t delays_every_us;
    uint64_t rate_bits_per_second; /* 0: no limit */
    /* Moments, not falling, at which 1504 bytes each may leave instead, with the last one's as
     * their period. Copied. */
    const uint32_t *opportunities_ms;
    uint32_t opportunity_count;
    struct ps_queue queue;
    bool down;   /* nothing gets through, neither what is on its way */
    bool unseen; /* no trace is kept of it */
};
struct ps_link_counts { /* frames, of one direction */
    uint64_t sent, lost, overflowed, dropped, marked, corrupted, duplicated, cut_off;
};
/* Two ends of a link in a World; a direction's settings are those of what its end sends. */
int ps_link_create(ps_world *world, uint32_t mtu, uint8_t layer, uint64_t seed,
                   const struct ps_link settings[2], ps_nic *ends[2]);
/* Of what this end sends. */
int ps_link_set(ps_nic *end, const struct ps_link *settings);
int ps_link_counts(ps_nic *end, struct ps_link_counts *out);

/* --- switches ---
 *
 * A learning Ethernet switch among ends of links (IEEE 802.1D).
 */
typedef struct ps_bridge ps_bridge;
int ps_bridge_create(ps_world *world, ps_bridge **out);
/* Its next port: -EBUSY, the NIC is held; -EOPNOTSUPP, its frames come from outside, and the
 * World's time isn't real; -EMFILE, too many such NICs. */
int ps_bridge_plug(ps_bridge *bridge, ps_nic *nic);
struct ps_bridge_counts { /* frames: to one port, to all others, too long for a port */
    uint64_t forwarded, flooded, oversized;
};
void ps_bridge_counts(ps_bridge *bridge, struct ps_bridge_counts *out);
void ps_bridge_release(ps_bridge *bridge);

/* --- NATs ---
 *
 * Between the NICs of a Stack that forwards and their links: IPv4 alone. Addresses and ports are in
 * network byte order.
 */
enum ps_nat_kind { PS_NAT_FULL_CONE, PS_NAT_RESTRICTED, PS_NAT_PORT_RESTRICTED, PS_NAT_SYMMETRIC };
struct ps_nat_settings {
    uint8_t kind; /* enum ps_nat_kind */
    bool preserves_ports, hairpins;
    uint32_t most_sessions;
    uint64_t udp_us, tcp_us, tcp_transitory_us, icmp_us; /* after which a session is over */
};
struct ps_nat_counts { /* packets; `refused`: for the table or the ports were all taken */
    uint64_t outgoing, incoming, hairpinned, filtered, refused, untranslatable;
};
struct ps_nat_mapping {
    uint8_t protocol;
    bool is_fixed;
    uint16_t inside_port, outside_port, remote_port;
    uint32_t inside_address, remote_address; /* remote: 0, but for a symmetric NAT's */
    uint32_t sessions;
};
typedef struct ps_nat ps_nat;
int ps_nat_create(ps_world *world, const struct ps_nat_settings *settings, uint64_t seed,
                  ps_nat **out);
void ps_nat_release(ps_nat *nat);
/* A NIC around one whose far side is the inside, or the outside. NULL: *error. */
ps_nic *ps_nat_nic(ps_nat *nat, ps_nic *inner, bool is_outside, int *error);
/* The address that it gives what leaves. */
void ps_nat_set_address(ps_nat *nat, uint32_t address);
/* Forgets all mappings but for fixed ones. */
void ps_nat_reset(ps_nat *nat);
/* A port that is always open: -EADDRINUSE. */
int ps_nat_forward(ps_nat *nat, uint8_t protocol, uint16_t outside_port, uint32_t inside_address,
                   uint16_t inside_port);
void ps_nat_counts(ps_nat *nat, struct ps_nat_counts *out);
/* Those that live, in no order: how many, of which `room` at most are written. */
size_t ps_nat_mappings(ps_nat *nat, struct ps_nat_mapping *out, size_t room);

#endif
