/*
 * What Python may call. bindings/build_cffi.py reads this header and those that it includes, and
 * tells cffi: what they declare is in pystack._native.lib.
 *
 * Every call takes the Stack's lock, and so is made with the GIL released (cffi does that).
 * Each returns >= 0 or a negative errno, among them:
 *   -EBADF       the Stack is closed, or the handle stale
 *   -ENOTRECOVERABLE  the Stack is poisoned: ps_stack_panic_text says why
 *   -EOWNERDEAD  the Stack was inherited over fork()
 *   -EDEADLK     called from inside one of its own hypercalls, or one that it waits for
 *   -ECANCELED   a Python hypercall raised; the exception waits on the Python side
 *   -EINTR       a signal came while waiting
 *   -EAGAIN      not now (timeout_us 0), or not within timeout_us
 * timeout_us < 0 waits for ever.
 */
#ifndef PYSTACK_HOST_API_H
#define PYSTACK_HOST_API_H

#include "api/confine.h"
#include "engine.h"
#include "api/nic_api.h"
#include "api/world_api.h"

typedef struct ps_stack ps_stack;

/* Hypercalls that Python answers; NULL: the native one. 0 or -errno; after an exception
 * -ECANCELED. `python` comes back as the first argument. */
struct ps_python_hypercalls {
    void *python;
    int (*clock)(void *python, uint64_t *now_us);
    /* For a clock that only Python's threads move: whether none of them can, as `waiting` of them
     * wait for Stacks with such a clock; without the lock. 1, 0. */
    int (*stalled)(void *python, unsigned waiting);
    int (*memory_allocate)(void *python, size_t size, void **out);
    int (*memory_free)(void *python, void *memory);
    int (*random)(void *python, void *out, size_t size);
    /* Sees each outgoing frame, flat. 1: go on to the NIC; 0: it was taken. */
    int (*frame_out)(void *python, uint32_t interface, const uint8_t *frame, size_t size);
    int (*log)(void *python, int level, const char *text);
    int (*panic)(void *python, const char *text);
    /* Runs the services (ps_serving_begin); without the lock. */
    int (*serve)(void *python, uint64_t now_us);
};

struct ps_stack_options {
    const char *engine_path;
    uint64_t memory_limit_bytes;
    bool seeded; /* false: randomness from the operating system */
    uint64_t seed;
    bool threaded;   /* false: driven by ps_stack_run and waiting calls only */
    ps_world *world; /* whose clock it has and who drives it, or NULL; `threaded` is false then */
    struct ps_python_hypercalls python;
};

struct ps_arena_statistics {
    uint64_t limit_bytes, used_bytes, peak_bytes, allocations, frees, failures, live_blocks;
};

/* Whether this thread carries frames of a NIC of its (nic_api.h), so that it can't wait for them.
 */
bool ps_stack_is_carried_here(ps_stack *stack);

/* --- life (stack.c) --- */
int ps_stack_open(const struct ps_stack_options *options, ps_stack **out, char *error,
                  size_t error_size);
/* Which it is of all Stacks, switches and NATs that its World has had, from 1; 0: it is in none. */
uint64_t ps_stack_place(const ps_stack *stack);
/* Accepted for sending, and not acknowledged yet. */
struct ps_undelivered {
    uint64_t bytes;
    uint32_t peers;   /* connections: some may lack no more than their end */
    uint32_t closing; /* connections that have delivered all, and whose peer has not ended yet */
    uint32_t waiting; /* neighbours of whom packets wait, and wires that hold frames back */
};
/* The first part of an orderly end. Wakes and fails all waiters, lets no call in any more, and
 * closes all sockets as the end of a process does; then moves the Stack until all that they had
 * accepted is delivered: 0, also of a Stack that is closed; -EAGAIN, not within timeout_us;
 * -ETIMEDOUT, nobody has taken any for linger_us, or the clock stands still; -ENETUNREACH, nobody
 * is there to take it; -EINTR. By several threads at once, and again. */
int ps_stack_finish(ps_stack *stack, int64_t linger_us, int64_t timeout_us,
                    struct ps_undelivered *left);
/* One of several that end together. `done` is set as soon as it has delivered all, or gives up;
 * `error`: 0, -EDEADLK or -ECANCELED. */
struct ps_ending {
    ps_stack *stack;
    int64_t linger_us;
    bool done;
    int error;
};
/* Finishes several at once: 0, all are done; -EAGAIN, not within timeout_us; -EINTR. */
int ps_stacks_finish(struct ps_ending *endings, size_t count, int64_t timeout_us,
                     struct ps_undelivered *left);
/* Whether a wait for the end is reported on stderr after a second. */
void ps_tell_of_ends(bool on);
/* How long a signal lets the Stack wait, as the argument of ps_stack_finish. */
void ps_stack_linger(ps_stack *stack, int64_t linger_us);
/* Delays a signal's default action, if the signal has it, until all Stacks have delivered what they
 * accepted; a second signal acts at once (signals.c). `hold` stops Python (ps_hold);
 * `soon` is Py_AddPendingCall. */
int ps_deliver_before(int number, int (*hold)(void),
                      int (*soon)(int (*call)(void *), void *argument));
/* Never comes back. */
void ps_hold(void);
/* Ends the process by a signal. */
void ps_die_by(int number);
/* Wakes and fails all waiters, stops the driver, detaches the NICs, gives back the memory.
 * May be called again. */
int ps_stack_close(ps_stack *stack, bool abrupt);
/* After close; the last use of the pointer. */
void ps_stack_destroy(ps_stack *stack);
/* Moves what is due once, waiting up to timeout_us for something to be due; *next_us is
 * how long until the next timer (UINT64_MAX: none). */
int ps_stack_run(ps_stack *stack, int64_t timeout_us, uint64_t *next_us);
int ps_stack_fail(ps_stack *stack, const char *text);
int ps_stack_panic_text(ps_stack *stack, char *text, size_t size);
void ps_stack_engine(ps_stack *stack, const char **name, const char **release);
int ps_stack_arena(ps_stack *stack, struct ps_arena_statistics *out);
int ps_stack_arena_limit(ps_stack *stack, uint64_t limit_bytes);
/* Fails `count` allocations after letting `after` succeed; count 0 ends it. */
int ps_stack_arena_fail(ps_stack *stack, uint64_t after, uint64_t count);
/* Counts changes of addresses, links, leases; waits until it differs from `seen`. */
int ps_stack_changes(ps_stack *stack, uint64_t seen, int64_t timeout_us, uint64_t *now);

/* --- snapshots (snapshot.c) --- */
typedef struct ps_snapshot ps_snapshot;
/* Copies what the engine is: its memory and its image's data. -EOPNOTSUPP: a shared image's data
 * is not one Stack's. -ENOSPC: too many snapshots have the same memory. -EBUSY: other processes
 * use the Stack, and hold sockets of it. */
int ps_snapshot_create(ps_stack *stack, ps_snapshot **out);
/* Bytes copied; the Stack's moment. */
uint64_t ps_snapshot_bytes(const ps_snapshot *snapshot);
uint64_t ps_snapshot_moment_us(const ps_snapshot *snapshot);
/* Puts it back. -EXDEV: it is another Stack's; -ENODEV: other NICs are attached; -EBUSY: a thread
 * waits in a call, or other processes use the Stack. */
int ps_snapshot_restore(ps_stack *stack, ps_snapshot *snapshot);
/* 0, or -EDEADLK from inside one of the Stack's hypercalls. */
int ps_snapshot_destroy(ps_snapshot *snapshot);

/* --- interfaces (attach.c) --- */
int ps_attach(ps_stack *stack, ps_nic *nic, const struct ps_interface *spec);
int ps_detach(ps_stack *stack, uint32_t index);
int ps_interface_at(ps_stack *stack, size_t position, struct ps_interface *out);
int ps_interface_set_up(ps_stack *stack, uint32_t index, bool up);
int ps_interface_set_mtu(ps_stack *stack, uint32_t index, uint32_t mtu);
int ps_interface_set_mac(ps_stack *stack, uint32_t index, const uint8_t *mac);
/* How packets wait for it. -ENOSYS: the engine has no queueing disciplines. */
int ps_qdisc_set(ps_stack *stack, uint32_t index, const struct ps_qdisc *qdisc);
int ps_qdisc_get(ps_stack *stack, uint32_t index, struct ps_qdisc *out);
int ps_address_add(ps_stack *stack, uint32_t index, const struct ps_address *address, bool detect);
int ps_address_remove(ps_stack *stack, uint32_t index, const struct ps_address *address);
/* -EOPNOTSUPP: the engine can't. */
int ps_address_prefer(ps_stack *stack, uint32_t index, const struct ps_address *address,
                      bool preferred);

/* --- tables (tables.c): each fills up to `room` entries and returns how many there are --- */
int64_t ps_interfaces(ps_stack *stack, struct ps_interface *out, size_t room);
int64_t ps_addresses(ps_stack *stack, struct ps_interface_address *out, size_t room);
int64_t ps_neighbours(ps_stack *stack, struct ps_neighbour *out, size_t room);
int64_t ps_routes(ps_stack *stack, struct ps_route *out, size_t room);
int64_t ps_connections(ps_stack *stack, struct ps_connection *out, size_t room);
int64_t ps_counters(ps_stack *stack, uint32_t index, struct ps_counter *out, size_t room);
int64_t ps_tunables(ps_stack *stack, struct ps_tunable *out, size_t room);
int64_t ps_nameservers(ps_stack *stack, struct ps_nameserver *out, size_t room);
int ps_neighbour_add(ps_stack *stack, const struct ps_neighbour *neighbour);
int ps_neighbour_remove(ps_stack *stack, uint32_t index, const struct ps_address *address);
int ps_neighbour_flush(ps_stack *stack, uint32_t index, int family, bool all);
int ps_route_add(ps_stack *stack, const struct ps_route *route);
int ps_route_remove(ps_stack *stack, const struct ps_route *route);
int ps_route_lookup(ps_stack *stack, const struct ps_address *destination, struct ps_route *out);
/* engine.h says what these return; -EOPNOTSUPP: all of the engine's are numbers. */
int ps_tunable_get(ps_stack *stack, const char *name, struct ps_tunable *out);
int ps_tunable_set(ps_stack *stack, const char *name, int64_t value);
int64_t ps_tunable_text(ps_stack *stack, const char *name, bool initial, char *out, size_t room);
int ps_tunable_set_text(ps_stack *stack, const char *name, const char *text);

/* --- services (tables.c) --- */
int ps_service_set(ps_stack *stack, uint32_t index, int service, bool on, const char *name);
int ps_lease_get(ps_stack *stack, uint32_t index, struct ps_lease *out);
int ps_nameserver_set(ps_stack *stack, size_t position, const struct ps_address *address);
/* engine.h says what these return; a request that was not waited for to its end is cancelled. */
int64_t ps_resolve_start(ps_stack *stack, const char *name, int family);
int64_t ps_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                        int64_t timeout_us);
int ps_resolve_cancel(ps_stack *stack, int64_t request);

/* --- services in Python, where the engine has none (serving.c, taps.c) --- */

/* Frames that are shown to them: whole packets in Ethernet. Those for the ports of DHCP's clients
 * are theirs alone. */
enum ps_tap {
    PS_TAP_ARP = 1,
    PS_TAP_DHCP = 2,      /* UDP over IPv4 to port 68 */
    PS_TAP_DHCP6 = 4,     /* UDP over IPv6 to port 546 */
    PS_TAP_MDNS = 8,      /* UDP to port 5353 */
    PS_TAP_ROUTERS = 16,  /* router advertisements */
    PS_TAP_FRAGMENTS = 32 /* of UDP over IPv4, whatever its port */
};

#define PS_SERVED_NAMESERVERS 8
#define PS_SERVED_ADDRESSES 8

/* A leased IPv6 address. By the Stack's clock; UINT64_MAX: for ever. */
struct ps_leased {
    struct ps_address address;
    uint64_t preferred_us, valid_us;
};

/* What they have to do with an interface. */
struct ps_serving {
    uint32_t taps;             /* enum ps_tap */
    uint32_t flags;            /* enum ps_interface_flag, besides the engine's */
    uint8_t origin;            /* of the address: enum ps_address_origin */
    uint8_t nameserver_count;  /* learnt ones */
    uint8_t leased_count;      /* of IPv6 */
    struct ps_address address; /* of IPv4 that they gave it; family 0: none */
    struct ps_address gateway; /* of a default route; family 0: none */
    struct ps_address nameservers[PS_SERVED_NAMESERVERS];
    struct ps_leased leased[PS_SERVED_ADDRESSES];
};

/* From now on whoever drives the Stack calls `serve`, with the Stack's time: when frames for them
 * have come, interfaces have changed, or the moment of ps_serving_wake_at is there. */
int ps_serving_begin(ps_stack *stack, int (*serve)(void *python, uint64_t now_us));
/* NULL: nothing, any more. Counts as a change (ps_stack_changes). */
int ps_serving_show(ps_stack *stack, uint32_t index, const struct ps_serving *serving);
int ps_serving_wake_at(ps_stack *stack, uint64_t deadline_us);
/* The frames that wait, one by one: the bytes written; 0: there is none. !is_whole: its checksums
 * need not be right. */
int64_t ps_serving_frame(ps_stack *stack, uint32_t *index, bool *is_whole, uint8_t *out,
                         size_t room);
/* A frame past the engine, as it is. */
int ps_serving_transmit(ps_stack *stack, uint32_t index, const uint8_t *frame, size_t size);
/* What the Stack's clock says. */
int ps_serving_now(ps_stack *stack, uint64_t *now_us);
/* Of the Stack's random numbers. */
int ps_serving_random(ps_stack *stack, uint8_t *out, size_t size);

/* --- sockets (socket.c) --- */
int64_t ps_socket(ps_stack *stack, int family, int type, int protocol);
int ps_close(ps_stack *stack, int64_t handle);
/* 1: nothing was done, for SO_LINGER asks to wait first. */
int ps_close_unless_lingering(ps_stack *stack, int64_t handle);
int ps_bind(ps_stack *stack, int64_t handle, const struct ps_address *address);
int ps_listen(ps_stack *stack, int64_t handle, int backlog);
int64_t ps_accept(ps_stack *stack, int64_t handle, struct ps_address *remote, int64_t timeout_us);
/* With timeout_us 0, or where the descriptor has O_NONBLOCK, -EINPROGRESS. After that, -EINTR or
 * -EAGAIN the connection goes on coming about: ps_wait for PS_READY_WRITE, then PS_OPT_ERROR. */
int ps_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
               int64_t timeout_us);
int64_t ps_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                uint32_t flags, const struct ps_address *to, const struct ps_send_control *control,
                int64_t timeout_us);
/* 0 when all went; else -errno. *sent counts the bytes taken either way. */
int ps_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size, uint32_t flags,
                int64_t timeout_us, size_t *sent);
int64_t ps_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                   uint32_t flags, struct ps_message *message, int64_t timeout_us);
/* An error of the socket's queue: engine.h's socket_receive_error. */
int64_t ps_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                         size_t count, struct ps_message *message, struct ps_socket_error *error,
                         int64_t timeout_us);
/* The common case of both, in one piece and with no more than its bytes; `to` may be NULL. */
int64_t ps_send_plain(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size,
                      const struct ps_address *to, int64_t timeout_us);
int64_t ps_receive_plain(ps_stack *stack, int64_t handle, uint8_t *data, size_t size,
                         int64_t timeout_us);
/* Carries datagrams of a connected socket to one of the kernel's, or back, without waiting, until
 * there are none left or `most` have gone; what there is no room for is lost. The result is how
 * many were taken, or the error of the Stack's socket; *error is that of the kernel's, 0: none. */
int64_t ps_datagrams_out(ps_stack *stack, int64_t handle, int descriptor, uint32_t most,
                         int *error);
int64_t ps_datagrams_in(ps_stack *stack, int64_t handle, int descriptor, uint32_t most, int *error);
int ps_shutdown(ps_stack *stack, int64_t handle, uint32_t how);
int ps_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out);
/* Waits until one of `mask` (or an error or hang-up) holds: the readiness, or -EAGAIN. */
int ps_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us);
int ps_ready(ps_stack *stack, int64_t handle);
int ps_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value);
int ps_option_set(ps_stack *stack, int64_t handle, int option, int64_t value);
/* engine.h's option_set_raw and option_get_raw: 0, and the option's bytes, at most `room`. -ENOSYS:
 * the engine has none. */
int ps_option_set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                      size_t size);
int ps_option_get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value,
                      size_t room);
int ps_membership(ps_stack *stack, int64_t handle, bool join,
                  const struct ps_membership *membership);
int ps_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out);

/* --- flows to other hosts (intercept.c): engine.h says what these return. -ENOSYS: the engine
 * can't; -EREMOTE: only the process that owns the Stack. The intercept is closed as a socket is.
 * --- */
int64_t ps_intercept_open(ps_stack *stack, const struct ps_intercept *spec);
int ps_intercept_next(ps_stack *stack, int64_t handle, struct ps_intercepted *out, uint8_t *data,
                      size_t room, int64_t timeout_us);
int64_t ps_intercept_accept(ps_stack *stack, int64_t handle, uint64_t id);
int ps_intercept_refuse(ps_stack *stack, int64_t handle, uint64_t id, int error);
int ps_intercept_figures(ps_stack *stack, int64_t handle, struct ps_intercept_figures *out);

/* --- descriptors (descriptor_calls.c, descriptor_files.c, descriptor_end.c) --- */
/* One whose readiness for select, poll and epoll follows the socket's: a new number, which is the
 * caller's to close. */
int ps_descriptor(ps_stack *stack, int64_t handle, bool nonblocking);
/* The same of the connection that waits first; without a descriptor nothing is accepted. */
int64_t ps_accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number);
/* 1: the number is one of a socket's, of whichever Stack; else 0. The pointers may be
 * NULL. */
int ps_descriptor_owner(int number, ps_stack **stack, int64_t *handle);
/* One of the socket's numbers, that are the user's; -1: it has none. */
int ps_descriptor_number(ps_stack *stack, int64_t handle);
/* A number made elsewhere, or one whose closing won't be reported (`loose`). */
int ps_descriptor_use(ps_stack *stack, int64_t handle, int number, bool loose);
/* Closes a number. 1: it was the last, and the socket is the caller's to close; 0: there are
 * others, in this process or another; -EBADF: it is not the socket's. */
int ps_descriptor_close(ps_stack *stack, int64_t handle, int number);
/* Of a Stack that has ended: its socket's numbers show nothing any more. The caller was told of the
 * end, and would be woken by it for ever. */
void ps_descriptor_silence(ps_stack *stack, int64_t handle);

/* --- notifiers (notifier_calls.c): the readiness of any number of sockets by one descriptor --- */
typedef struct ps_notifier ps_notifier;
struct ps_readiness {
    int64_t handle;
    uint32_t mask; /* PS_READY_* */
};
/* The descriptor, which is the notifier's: readable as long as a watched socket is ready, and for
 * good once the Stack has ended. -EREMOTE: another process's Stack; -EOPNOTSUPP: one in a World. */
int ps_notifier_open(ps_stack *stack, ps_notifier **out);
/* Watches a socket until it is closed or forgotten, for reading, writing, both or, for now,
 * neither (PS_READY_READ, PS_READY_WRITE). Errors and the end count as either. */
int ps_notifier_watch(ps_notifier *notifier, int64_t handle, uint32_t interest);
int ps_notifier_forget(ps_notifier *notifier, int64_t handle);
/* The sockets that are ready, those first that were not given for the longest time; how many. */
int ps_notifier_take(ps_notifier *notifier, struct ps_readiness *out, size_t room);
/* The same for a caller that asks before each of its waits, and so need not be rung for while it is
 * at work: until the next call the descriptor tells only if nothing was given and `waits`, which
 * says that the caller waits for it next. */
int ps_notifier_look(ps_notifier *notifier, struct ps_readiness *out, size_t room, bool waits);
/* The last call; 0, or -EDEADLK: nothing was done. */
int ps_notifier_close(ps_notifier *notifier);

/* --- other processes (channel_server.c, channel_client.c) ---
 *
 * In a process that has joined, the calls for sockets, listings and names are made by the owner,
 * and all others are refused with -EREMOTE; -EOWNERDEAD when the owner has ended. */

/* Before a fork: the child's end of a pair to the owner, for which the child holds `handles` too.
 * -EOPNOTSUPP: not this Stack, or not on this system. */
int ps_channel_fork(ps_stack *stack, const int64_t *handles, size_t count);
/* In the child: with that end, and with the descriptors that it has for those sockets (-1: none
 * yet). `descriptor` < 0: it can't use the Stack. */
int ps_channel_join(ps_stack *stack, int descriptor, const int64_t *handles, const int *shown,
                    size_t count);
/* The name under which processes of the same user may join; always the same. */
int ps_channel_listen(ps_stack *stack, char *name, size_t size);
/* Another process's Stack, by that name. Where there is none any more it opens, and whatever it is
 * asked is refused with -EOWNERDEAD. -EPROTONOSUPPORT: it is another version's. */
int ps_channel_open(const char *name, ps_stack **out);
/* A ticket of 16 bytes for a socket, which lives until it is taken, by whatever process. */
int ps_channel_give(ps_stack *stack, int64_t handle, uint8_t *ticket);
/* The socket of a ticket, which is this process's now. -ENOENT: taken already. */
int64_t ps_channel_take(ps_stack *stack, const uint8_t *ticket);
/* The socket that a descriptor shows which came from another process, and is held by this one now.
 * -ENOENT: it shows none. */
int64_t ps_channel_identify(ps_stack *stack, int descriptor);

#endif
