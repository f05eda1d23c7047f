/*
 * What the owner of a Stack does for another process's request.
 *
 * The requests are another process's: nothing in them is trusted unchecked, and
 * one that no client of ours makes is -EPROTO, which ends that client.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "channel/channel.h"
#include "stack/descriptors.h"
#include "stack/local_calls.h"
#include "stack/lock.h"

/* A name's end would be anywhere else. */
#define NAME_ENDS(data, size) ((size) > 0 && (data)[(size)-1] == '\0')

static bool is_address(const struct ps_address *address)
{
    return address->family == PS_UNSPECIFIED || address->family == PS_INET ||
           address->family == PS_INET6;
}

/* The data as a structure; NULL: it is of another size. Aligned, as the buffer is. */
static const void *whole(const struct channel_call *call, size_t size)
{
    return call->size == size ? call->data : NULL;
}

static const struct ps_address *address_of(const struct channel_call *call)
{
    const struct ps_address *address = whole(call, sizeof *address);
    return address != NULL && is_address(address) ? address : NULL;
}

/* Makes room for a structure in the answer; NULL: there is none. */
static void *answer_with(struct channel_call *call, size_t size)
{
    if (call->room < size)
        return NULL;
    memset(call->answer, 0, size);
    call->answered = size;
    return call->answer;
}

/* Whether so many descriptors are available: a connection that is taken for a process that can't
 * have it would be lost. */
static bool descriptors_are_left(int any, int count)
{
    int taken[4], got = 0;
    while (got < count && (taken[got] = fcntl(any, F_DUPFD_CLOEXEC, 0)) >= 0)
        got++;
    for (int i = 0; i < got; i++)
        close(taken[i]);
    return got == count;
}

static int64_t release(struct channel_call *call, int64_t handle)
{
    if (channel_release(call->holds, call->client, handle))
        return stack_close_unheld(call->stack, handle);
    const uint64_t *left = handle_map_find(&call->client->held, handle);
    return left == NULL ? 0 : (int64_t)*left;
}

/* The descriptor that shows a socket goes with the answer. */
static int lend_descriptor(struct channel_call *call, int64_t handle)
{
    int result = descriptor_lend(call->stack, handle);
    if (result < 0)
        return result;
    call->passed = result;
    call->closes = true;
    return 0;
}

/* A socket that the client holds since a moment; without its descriptor it lets go of it. */
static int64_t lend(struct channel_call *call, int64_t handle)
{
    int result = lend_descriptor(call, handle);
    if (result < 0)
        release(call, handle);
    return result < 0 ? result : handle;
}

/* A new socket becomes the client's, with the descriptor that shows it. */
static int64_t hand_over(struct channel_call *call, int64_t handle)
{
    if (handle < 0)
        return handle;
    int result = channel_hold(call->holds, call->client, handle, false);
    if (result < 0) {
        local_close(call->stack, handle);
        return result;
    }
    return lend(call, handle);
}

static int64_t serve_hello(struct channel_call *call)
{
    bool same = call->request->numbers[0] == CHANNEL_VERSION &&
                call->request->numbers[1] == PS_ENGINE_VERSION;
    return same ? 0 : -EPROTONOSUPPORT;
}

static int64_t serve_fork(struct channel_call *call)
{
    int result = call->fork(call);
    if (result < 0)
        return result;
    call->passed = result;
    call->closes = true;
    return 0;
}

static int64_t serve_socket(struct channel_call *call)
{
    const int64_t *numbers = call->request->numbers;
    bool known = (numbers[0] == PS_INET || numbers[0] == PS_INET6) &&
                 ((numbers[1] >= PS_STREAM && numbers[1] <= PS_RAW) || numbers[1] == PS_SEQPACKET);
    if (!known)
        return -EPROTO;
    return hand_over(call,
                     local_socket(call->stack, (int)numbers[0], (int)numbers[1], (int)numbers[2]));
}

static bool is_last_hold(const struct channel_call *call)
{
    const uint64_t *all = handle_map_find(&call->holds->shared, call->request->handle);
    return all != NULL && *all == 1;
}

/* Whether another process has a descriptor of the socket, or it is under way to one, can't be seen
 * before the last holder has closed its own. */
static bool must_close_descriptor(const struct channel_call *call)
{
    return call->request->numbers[0] != 0 && is_last_hold(call) &&
           descriptor_tells_death(call->stack, call->request->handle);
}

static int64_t serve_close(struct channel_call *call)
{
    return must_close_descriptor(call) ? -EBUSY : release(call, call->request->handle);
}

static int64_t serve_close_unless_lingering(struct channel_call *call)
{
    if (is_last_hold(call) && local_lingers(call->stack, call->request->handle) > 0)
        return -EINPROGRESS; /* nothing was done */
    return serve_close(call);
}

static int64_t serve_bind(struct channel_call *call)
{
    const struct ps_address *address = address_of(call);
    return address == NULL ? -EPROTO : local_bind(call->stack, call->request->handle, address);
}

static int64_t serve_listen(struct channel_call *call)
{
    return local_listen(call->stack, call->request->handle, (int)call->request->numbers[0]);
}

static int64_t serve_accept(struct channel_call *call)
{
    if (!descriptors_are_left(call->client->descriptor, 3))
        return -EMFILE;
    struct ps_address *remote = answer_with(call, sizeof *remote);
    if (remote == NULL)
        return -EPROTO;
    return hand_over(call, local_accept(call->stack, call->request->handle, remote, 0));
}

static int64_t serve_connect(struct channel_call *call)
{
    const struct ps_address *address = address_of(call);
    return address == NULL ? -EPROTO
                           : local_connect(call->stack, call->request->handle, address, 0);
}

static int64_t serve_send(struct channel_call *call)
{
    struct channel_send how;
    const int64_t *numbers = call->request->numbers;
    if (call->size < sizeof how)
        return -EPROTO;
    memcpy(&how, call->data, sizeof how);
    if (!is_address(&how.to) || !is_address(&how.control.source) ||
        how.control.ancillary_bytes > PS_ANCILLARY_SIZE)
        return -EPROTO;
    size_t size = call->size - sizeof how;
    const struct ps_piece piece = {(uint8_t *)(uintptr_t)(call->data + sizeof how), size};
    int64_t handle = call->request->handle, type;
    if (numbers[1] > (int64_t)size) { /* what didn't fit may go later, if it is a stream's */
        int result = local_option_get(call->stack, handle, PS_OPT_TYPE, &type);
        if (result < 0 || type != PS_STREAM)
            return result < 0 ? result : -EMSGSIZE;
    }
    return local_send(call->stack, handle, &piece, 1, (uint32_t)numbers[0],
                      numbers[2] & CHANNEL_HAS_TO ? &how.to : NULL,
                      numbers[2] & CHANNEL_HAS_CONTROL ? &how.control : NULL, 0);
}

static int64_t serve_receive(struct channel_call *call)
{
    struct channel_received *head = answer_with(call, sizeof *head);
    if (head == NULL)
        return -EPROTO;
    size_t room = call->room - sizeof *head;
    const struct ps_piece piece = {call->answer + sizeof *head, room};
    int64_t result = call->request->operation == CHANNEL_RECEIVE
                         ? local_receive(call->stack, call->request->handle, &piece, 1,
                                         (uint32_t)call->request->numbers[0], &head->message, 0)
                         : local_receive_error(call->stack, call->request->handle, &piece, 1,
                                               &head->message, &head->error, 0);
    if (result > 0) /* with MSG_TRUNC it may be more than there is */
        call->answered += (size_t)result < room ? (size_t)result : room;
    return result;
}

static int64_t serve_shutdown(struct channel_call *call)
{
    int64_t how = call->request->numbers[0];
    if (how < PS_SHUT_READ || how > (PS_SHUT_READ | PS_SHUT_WRITE))
        return -EPROTO;
    return local_shutdown(call->stack, call->request->handle, (uint32_t)how);
}

static int64_t serve_name(struct channel_call *call)
{
    int64_t which = call->request->numbers[0];
    struct ps_address *out = answer_with(call, sizeof *out);
    if (out == NULL || (which != PS_NAME_LOCAL && which != PS_NAME_REMOTE))
        return -EPROTO;
    return local_name(call->stack, call->request->handle, (int)which, out);
}

static int64_t serve_ready(struct channel_call *call)
{
    return local_ready(call->stack, call->request->handle);
}

static int64_t serve_option_get(struct channel_call *call)
{
    int64_t option = call->request->numbers[0];
    int64_t *value = answer_with(call, sizeof *value);
    if (value == NULL || option < 0 || option >= PS_OPT_COUNT)
        return -EPROTO;
    return local_option_get(call->stack, call->request->handle, (int)option, value);
}

static int64_t serve_option_set(struct channel_call *call)
{
    const int64_t *numbers = call->request->numbers;
    if (numbers[0] < 0 || numbers[0] >= PS_OPT_COUNT)
        return -EPROTO;
    return local_option_set(call->stack, call->request->handle, (int)numbers[0], numbers[1]);
}

static int64_t serve_option_get_raw(struct channel_call *call)
{
    const int64_t *numbers = call->request->numbers;
    int64_t result = local_option_get_raw(call->stack, call->request->handle, (int)numbers[0],
                                          (int)numbers[1], call->answer, call->room);
    call->answered = result > 0 ? (size_t)result : 0;
    return result;
}

static int64_t serve_option_set_raw(struct channel_call *call)
{
    const int64_t *numbers = call->request->numbers;
    return local_option_set_raw(call->stack, call->request->handle, (int)numbers[0],
                                (int)numbers[1], call->data, call->size);
}

static int64_t serve_membership(struct channel_call *call)
{
    const struct ps_membership *membership = whole(call, sizeof *membership);
    if (membership == NULL || !is_address(&membership->group) || !is_address(&membership->source))
        return -EPROTO;
    return local_membership(call->stack, call->request->handle, call->request->numbers[0] != 0,
                            membership);
}

static int64_t serve_tcp_info(struct channel_call *call)
{
    struct ps_tcp_info *out = answer_with(call, sizeof *out);
    return out == NULL ? -EPROTO : local_tcp_info(call->stack, call->request->handle, out);
}

static int64_t serve_descriptor(struct channel_call *call)
{
    return lend_descriptor(call, call->request->handle);
}

/* Reads `count` of a table's entries; the answer has those that fit. */
#define READ_TABLE(type, read) \
    do { \
        size_t room = call->room / sizeof(type); \
        type *out = (type *)(void *)call->answer; \
        int64_t count = (read); \
        if (count > 0) \
            call->answered = ((size_t)count < room ? (size_t)count : room) * sizeof(type); \
        return count; \
    } while (0)

static int64_t serve_tunables(struct channel_call *call)
{
    int64_t first = call->request->numbers[1];
    size_t room = call->room / sizeof(struct ps_tunable);
    if (first < 0)
        return -EPROTO;
    int64_t count =
        local_tunables(call->stack, (size_t)first, (struct ps_tunable *)(void *)call->answer, room);
    if (count > first) {
        size_t rest = (size_t)(count - first);
        call->answered = (rest < room ? rest : room) * sizeof(struct ps_tunable);
    }
    return count;
}

static int64_t serve_tunable_get(struct channel_call *call)
{
    struct ps_tunable *out = answer_with(call, sizeof *out);
    if (!NAME_ENDS(call->data, call->size) || out == NULL)
        return -EPROTO;
    return local_tunable_get(call->stack, (const char *)call->data, out);
}

static int64_t serve_tunable_text(struct channel_call *call)
{
    if (!NAME_ENDS(call->data, call->size))
        return -EPROTO;
    int64_t length =
        local_tunable_text(call->stack, (const char *)call->data, call->request->numbers[0] != 0,
                           (char *)call->answer, call->room);
    if (length >= 0)
        call->answered = (size_t)length < call->room ? (size_t)length + 1 : call->room;
    return length;
}

static int64_t serve_list(struct channel_call *call)
{
    ps_stack *stack = call->stack;
    switch (call->request->numbers[0]) {
    case CHANNEL_INTERFACES:
        READ_TABLE(struct ps_interface, local_interfaces(stack, out, room));
    case CHANNEL_ADDRESSES:
        READ_TABLE(struct ps_interface_address, local_addresses(stack, out, room));
    case CHANNEL_NEIGHBOURS:
        READ_TABLE(struct ps_neighbour, local_neighbours(stack, out, room));
    case CHANNEL_ROUTES:
        READ_TABLE(struct ps_route, local_routes(stack, out, room));
    case CHANNEL_CONNECTIONS:
        READ_TABLE(struct ps_connection, local_connections(stack, out, room));
    case CHANNEL_TUNABLES:
        return serve_tunables(call);
    case CHANNEL_NAMESERVERS:
        READ_TABLE(struct ps_nameserver, local_nameservers(stack, out, room));
    case CHANNEL_COUNTERS:
        READ_TABLE(struct ps_counter,
                   local_counters(stack, (uint32_t)call->request->numbers[1], out, room));
    default:
        return -EPROTO;
    }
}

static int64_t serve_route_lookup(struct channel_call *call)
{
    const struct ps_address *destination = address_of(call);
    struct ps_route *out = answer_with(call, sizeof *out);
    if (destination == NULL || out == NULL)
        return -EPROTO;
    return local_route_lookup(call->stack, destination, out);
}

static int64_t serve_resolve_start(struct channel_call *call)
{
    int64_t family = call->request->numbers[0];
    bool known = family == PS_UNSPECIFIED || family == PS_INET || family == PS_INET6;
    if (!NAME_ENDS(call->data, call->size) || !known)
        return -EPROTO;
    return local_resolve_start(call->stack, (const char *)call->data, (int)family);
}

static int64_t serve_resolve_result(struct channel_call *call)
{
    READ_TABLE(struct ps_address,
               local_resolve_wait(call->stack, call->request->numbers[0], out, room, 0));
}

static int64_t serve_resolve_cancel(struct channel_call *call)
{
    return local_resolve_cancel(call->stack, call->request->numbers[0]);
}

static int64_t serve_panic_text(struct channel_call *call)
{
    char *text = answer_with(call, 256);
    return text == NULL ? -EPROTO : local_panic_text(call->stack, text, 256);
}

static int64_t serve_listen_for(struct channel_call *call)
{
    return call->listen_for(call);
}

static int64_t serve_give(struct channel_call *call)
{
    return call->give(call);
}

static int64_t serve_take(struct channel_call *call)
{
    if (call->size != CHANNEL_TICKET_BYTES)
        return -EPROTO;
    int64_t handle = call->take(call);
    return handle < 0 ? handle : lend(call, handle);
}

static int64_t serve_identify(struct channel_call *call)
{
    if (call->given < 0)
        return -EPROTO;
    int64_t handle = files_socket(call->stack, call->given);
    if (handle < 0)
        return handle;
    bool owned = descriptor_keep(call->stack, handle, call->given);
    int result = channel_hold(call->holds, call->client, handle, owned);
    return result < 0 ? result : handle;
}

static const struct {
    int64_t (*serve)(struct channel_call *call);
    bool of_a_socket; /* which the client has to hold */
} services[CHANNEL_OPERATIONS] = {
    [CHANNEL_HELLO] = {serve_hello, false},
    [CHANNEL_FORK] = {serve_fork, false},
    [CHANNEL_SOCKET] = {serve_socket, false},
    [CHANNEL_CLOSE] = {serve_close, true},
    [CHANNEL_CLOSE_UNLESS_LINGERING] = {serve_close_unless_lingering, true},
    [CHANNEL_BIND] = {serve_bind, true},
    [CHANNEL_LISTEN] = {serve_listen, true},
    [CHANNEL_ACCEPT] = {serve_accept, true},
    [CHANNEL_CONNECT] = {serve_connect, true},
    [CHANNEL_SEND] = {serve_send, true},
    [CHANNEL_RECEIVE] = {serve_receive, true},
    [CHANNEL_RECEIVE_ERROR] = {serve_receive, true},
    [CHANNEL_SHUTDOWN] = {serve_shutdown, true},
    [CHANNEL_NAME] = {serve_name, true},
    [CHANNEL_READY] = {serve_ready, true},
    [CHANNEL_OPTION_GET] = {serve_option_get, true},
    [CHANNEL_OPTION_SET] = {serve_option_set, true},
    [CHANNEL_OPTION_GET_RAW] = {serve_option_get_raw, true},
    [CHANNEL_OPTION_SET_RAW] = {serve_option_set_raw, true},
    [CHANNEL_MEMBERSHIP] = {serve_membership, true},
    [CHANNEL_TCP_INFO] = {serve_tcp_info, true},
    [CHANNEL_DESCRIPTOR] = {serve_descriptor, true},
    [CHANNEL_LIST] = {serve_list, false},
    [CHANNEL_TUNABLE_GET] = {serve_tunable_get, false},
    [CHANNEL_TUNABLE_TEXT] = {serve_tunable_text, false},
    [CHANNEL_ROUTE_LOOKUP] = {serve_route_lookup, false},
    [CHANNEL_RESOLVE_START] = {serve_resolve_start, false},
    [CHANNEL_RESOLVE_RESULT] = {serve_resolve_result, false},
    [CHANNEL_RESOLVE_CANCEL] = {serve_resolve_cancel, false},
    [CHANNEL_PANIC_TEXT] = {serve_panic_text, false},
    [CHANNEL_LISTEN_FOR] = {serve_listen_for, false},
    [CHANNEL_GIVE] = {serve_give, true},
    [CHANNEL_TAKE] = {serve_take, false},
    [CHANNEL_IDENTIFY] = {serve_identify, false},
};

int64_t channel_serve(struct channel_call *call)
{
    const struct channel_request *request = call->request;
    if (request->operation >= CHANNEL_OPERATIONS)
        return -EPROTO;
    if (services[request->operation].of_a_socket &&
        !channel_holds_it(call->client, request->handle))
        return -EBADF;
    int64_t result = services[request->operation].serve(call);
    if (result < 0)
        call->answered = 0;
    return result == -EBADF && stack_has_ended(call->stack) ? -EOWNERDEAD : result;
}
