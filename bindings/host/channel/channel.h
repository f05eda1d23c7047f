/*
 * How another process uses a Stack.
 *
 * Another process sends its calls to the owner over a pair of AF_UNIX sockets: each request is one
 * call of host_api.h, made in the owner by a native thread, and gets one answer. No call waits
 * there: a caller that must wait does so in its own process, on the descriptor that shows the
 * socket's readiness, and handles its own signals and timeouts.
 *
 * A socket lives until every process that holds it has closed it, as an open file description
 * does. A process's end is the end of its pair, and lets go of all that it held.
 */
#ifndef PYSTACK_HOST_CHANNEL_H
#define PYSTACK_HOST_CHANNEL_H

#include <sys/socket.h>
#include <sys/uio.h>

#include "base/handle_map.h"
#include "stack/stack.h"

#define CHANNEL_VERSION 3
/* Most bytes of data in one message; no datagram is longer. */
#define CHANNEL_DATA 131072

enum channel_operation {
    CHANNEL_HELLO, /* numbers: CHANNEL_VERSION, PS_ENGINE_VERSION */
    CHANNEL_FORK,  /* passes a pair's end, whose holds are the caller's */
    CHANNEL_SOCKET,
    /* The first number: whether who asks has a descriptor of it. The answer: how often it holds the
     * socket still; -EBUSY: nothing was done, the descriptor has to be closed before. */
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_UNLESS_LINGERING,
    CHANNEL_BIND,
    CHANNEL_LISTEN,
    CHANNEL_ACCEPT,
    CHANNEL_CONNECT,
    CHANNEL_SEND,
    CHANNEL_RECEIVE,
    CHANNEL_RECEIVE_ERROR,
    CHANNEL_SHUTDOWN,
    CHANNEL_NAME,
    CHANNEL_READY,
    CHANNEL_OPTION_GET,
    CHANNEL_OPTION_SET,
    CHANNEL_OPTION_GET_RAW, /* numbers: level, name */
    CHANNEL_OPTION_SET_RAW,
    CHANNEL_MEMBERSHIP,
    CHANNEL_TCP_INFO,
    CHANNEL_DESCRIPTOR,
    CHANNEL_LIST, /* numbers: enum channel_table, the interface's index for counters, or the first
                   * entry's position of tunables */
    CHANNEL_TUNABLE_GET,  /* the data: its name */
    CHANNEL_TUNABLE_TEXT, /* the data: its name; numbers: whether the initial one */
    CHANNEL_ROUTE_LOOKUP,
    CHANNEL_RESOLVE_START,
    CHANNEL_RESOLVE_RESULT,
    CHANNEL_RESOLVE_CANCEL,
    CHANNEL_PANIC_TEXT,
    CHANNEL_LISTEN_FOR, /* the answer's data: the name to join by */
    CHANNEL_GIVE,       /* the answer's data: a ticket that anybody may take it with, once */
    CHANNEL_TAKE,       /* the data: a ticket */
    CHANNEL_IDENTIFY,   /* with a descriptor that shows a socket */
    CHANNEL_OPERATIONS
};

enum channel_table {
    CHANNEL_INTERFACES,
    CHANNEL_ADDRESSES,
    CHANNEL_NEIGHBOURS,
    CHANNEL_ROUTES,
    CHANNEL_CONNECTIONS,
    CHANNEL_TUNABLES,
    CHANNEL_NAMESERVERS,
    CHANNEL_COUNTERS,
    CHANNEL_TABLES
};

#define CHANNEL_TICKET_BYTES 16

/* Makes room for the largest message on its way. */
void channel_widen(int descriptor);

/* Room for a descriptor beside a message. */
union channel_control {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
};
/* Has a message pass a descriptor; the room is the caller's, until it is sent. */
void channel_attach(struct msghdr *message, union channel_control *control, int descriptor);

/* Data follows both: a structure of engine.h's, bytes, or one after the other. */
struct channel_request {
    uint32_t operation; /* enum channel_operation */
    uint32_t room;      /* most bytes of data that the answer may have */
    int64_t handle;
    int64_t numbers[3];
};
struct channel_answer {
    int64_t result;
};

/* Before the bytes of CHANNEL_SEND; its numbers are the flags, the length of all there is to be
 * sent and enum channel_send_part. */
struct channel_send {
    struct ps_address to;
    struct ps_send_control control;
};
/* Before those of the answers to CHANNEL_RECEIVE, and CHANNEL_RECEIVE_ERROR. */
struct channel_received {
    struct ps_message message;
    struct ps_socket_error error;
};
enum channel_send_part { CHANNEL_HAS_TO = 1, CHANNEL_HAS_CONTROL = 2 };

/* --- channel_server.c: in the process that owns the Stack ---------------------------------- */

struct channel_client; /* a process, or a ticket not taken yet */
struct channel_server;

/* Before the owner closes a socket: whether another process holds it, so it must stay open. */
bool channel_owner_lets_go(ps_stack *stack, int64_t handle);
/* Whether another process holds it. */
bool channel_is_held(ps_stack *stack, int64_t handle);
/* Keeps other processes out until channel_let_in; before the Stack's lock. -EBUSY: one uses the
 * Stack, or has a ticket to come with. */
int channel_keep_out(ps_stack *stack, struct channel_server **kept);
void channel_let_in(struct channel_server *kept);
/* Ends the thread and all pairs; before the Stack is closed. */
void channel_stop(ps_stack *stack);
/* In a child: closes what it inherited of the owner's. */
void channel_forget(ps_stack *stack);

/* --- channel_holds.c: who holds what; under the server's lock ------------------------------- */

struct channel_holds {
    struct handle_map shared; /* all that not the owner alone holds: how often who does */
};

struct channel_client {
    int descriptor; /* our end of the pair; -1: a ticket */
    uint8_t ticket[CHANNEL_TICKET_BYTES];
    struct handle_map held; /* how often */
    struct channel_client *next;
};

bool channel_holds_it(const struct channel_client *client, int64_t handle);
/* `owned`: the owner has it as well. -ENOMEM, and nothing has changed. */
int channel_hold(struct channel_holds *holds, struct channel_client *client, int64_t handle,
                 bool owned);
/* Whether it was the last hold of all. */
bool channel_release(struct channel_holds *holds, struct channel_client *client, int64_t handle);
/* The owner's own. -EBADF: it has none. */
int channel_hold_owner(struct channel_holds *holds, int64_t handle);
enum channel_left { CHANNEL_LEFT_NONE, CHANNEL_LEFT_OTHERS, CHANNEL_LEFT_OWN };
enum channel_left channel_release_owner(struct channel_holds *holds, int64_t handle);

/* --- channel_serve.c: what is done for a request -------------------------------------------- */

struct channel_call {
    struct channel_server *server;
    ps_stack *stack;
    struct channel_holds *holds;
    struct channel_client *client;
    const struct channel_request *request;
    const uint8_t *data; /* that came, and */
    size_t size;
    int given;       /* a descriptor that came; -1 */
    uint8_t *answer; /* that goes back: at most `room` bytes, */
    size_t room, answered;
    int passed;  /* with a descriptor; -1 */
    bool closes; /* which is closed then */
    /* The server's part of the calls that create or need clients. */
    int (*fork)(struct channel_call *call);
    int64_t (*listen_for)(struct channel_call *call);
    int64_t (*give)(struct channel_call *call);
    int64_t (*take)(struct channel_call *call);
};

/* The result of a request that is well formed; -EPROTO: it isn't. */
int64_t channel_serve(struct channel_call *call);

/* --- channel_client.c: in another process ----------------------------------------------------- */

/* The other side of it, of one process. */
struct channel_remote;

/* The part of a call that crosses the channel. */
struct channel_message {
    enum channel_operation operation;
    int64_t handle;
    int64_t numbers[3];
    const struct iovec *data; /* that goes out */
    size_t pieces;
    struct iovec *answer; /* where what comes back belongs */
    size_t answer_pieces;
    bool gives;
    int given; /* a descriptor to pass, if it gives one */
    int taken; /* the one that came back; -1: none did */
};

/* ps_channel_join, but for what a server has inherited. */
int channel_join(ps_stack *stack, int descriptor, const int64_t *handles, const int *shown,
                 size_t count);
int64_t channel_ask(ps_stack *stack, struct channel_message *message);
/* Until the socket's descriptor shows something of `mask`, at most as long as sleeps are. 0: look
 * again; as stack_wait else. */
int channel_wait(ps_stack *stack, int64_t handle, uint32_t mask, uint64_t deadline_us);
/* The descriptor that this process has for a socket; -errno. */
int channel_descriptor(ps_stack *stack, int64_t handle);
/* The same for the user, whose it is from now on. */
int channel_show_descriptor(ps_stack *stack, int64_t handle);
/* Takes note of the descriptor that came with a socket; -1: none did. */
int channel_note_descriptor(ps_stack *stack, int64_t handle, int descriptor);
/* The same of one that came in another way, and stays the user's. */
void channel_know_descriptor(ps_stack *stack, int64_t handle, int descriptor);
void channel_drop_descriptor(ps_stack *stack, int64_t handle);
/* As ps_descriptor_close. */
int channel_close_number(ps_stack *stack, int64_t handle, int number);
/* Ends it: the owner lets go of all that this process holds. */
void channel_leave(ps_stack *stack);

/* --- channel_calls.c: the calls of host_api.h there ------------------------------------------- */

int64_t remote_socket(ps_stack *stack, int family, int type, int protocol);
int remote_close(ps_stack *stack, int64_t handle);
int remote_close_unless_lingering(ps_stack *stack, int64_t handle);
int remote_bind(ps_stack *stack, int64_t handle, const struct ps_address *address);
int remote_listen(ps_stack *stack, int64_t handle, int backlog);
int64_t remote_accept(ps_stack *stack, int64_t handle, struct ps_address *remote,
                      int64_t timeout_us);
int remote_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
                   int64_t timeout_us);
int64_t remote_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                    uint32_t flags, const struct ps_address *to,
                    const struct ps_send_control *control, int64_t timeout_us);
int remote_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size,
                    uint32_t flags, int64_t timeout_us, size_t *sent);
int64_t remote_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                       uint32_t flags, struct ps_message *message, int64_t timeout_us);
int64_t remote_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                             size_t count, struct ps_message *message,
                             struct ps_socket_error *error, int64_t timeout_us);
int remote_shutdown(ps_stack *stack, int64_t handle, uint32_t how);
int remote_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out);
int remote_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us);
int remote_ready(ps_stack *stack, int64_t handle);
int remote_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value);
int remote_option_set(ps_stack *stack, int64_t handle, int option, int64_t value);
int remote_option_set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                          size_t size);
int remote_option_get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value,
                          size_t room);
int remote_membership(ps_stack *stack, int64_t handle, bool join,
                      const struct ps_membership *membership);
int remote_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out);
/* Entries of `size` bytes; -EMSGSIZE: they are more than a message holds. */
int64_t remote_list(ps_stack *stack, enum channel_table table, uint32_t index, void *out,
                    size_t room, size_t size);
int remote_interface_at(ps_stack *stack, size_t position, struct ps_interface *out);
int64_t remote_tunables(ps_stack *stack, struct ps_tunable *out, size_t room);
int remote_tunable_get(ps_stack *stack, const char *name, struct ps_tunable *out);
int64_t remote_tunable_text(ps_stack *stack, const char *name, bool initial, char *out,
                            size_t room);
int remote_route_lookup(ps_stack *stack, const struct ps_address *destination,
                        struct ps_route *out);
int64_t remote_resolve_start(ps_stack *stack, const char *name, int family);
int64_t remote_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                            int64_t timeout_us);
int remote_resolve_cancel(ps_stack *stack, int64_t request);

#endif
