/*
 * The calls of host_api.h in a process that doesn't own the Stack.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/pieces.h"
#include "channel/channel.h"

#define MOST_PIECES 64
/* Where no descriptor shows readiness, we poll at intervals that grow from the first to the last.
 */
#define FIRST_LOOK_US 500
#define LAST_LOOK_US 20000

/* A call with numbers alone. */
static int64_t ask(ps_stack *stack, enum channel_operation operation, int64_t handle, int64_t first,
                   int64_t second)
{
    struct channel_message message = {
        .operation = operation, .handle = handle, .numbers = {first, second, 0}};
    return channel_ask(stack, &message);
}

/* One with a structure that goes out, one that comes back, or both. */
static int64_t ask_with(ps_stack *stack, struct channel_message message, const void *data,
                        size_t size, void *answer, size_t room)
{
    struct iovec out = {(void *)(uintptr_t)data, size}, in = {answer, room};
    message.data = &out;
    message.pieces = data != NULL;
    message.answer = &in;
    message.answer_pieces = answer != NULL;
    return channel_ask(stack, &message);
}

/* Until a moment for which no descriptor tells; as stack_wait. */
static int look_again(uint64_t *step_us, uint64_t deadline_us)
{
    uint64_t now_us = monotonic_us();
    if (now_us >= deadline_us)
        return -EAGAIN;
    uint64_t wait_us = deadline_us - now_us < *step_us ? deadline_us - now_us : *step_us;
    *step_us = *step_us == 0 ? FIRST_LOOK_US : *step_us * 2;
    if (*step_us > LAST_LOOK_US)
        *step_us = LAST_LOOK_US;
    if (wait_us == 0)
        return 0;
    struct timespec pause = {0, (long)wait_us * 1000};
    return nanosleep(&pause, NULL) == 0 ? 0 : -EINTR;
}

/* Makes a call until it says something else than -EAGAIN, and waits in between. When it was woken
 * in vain, for another process was faster or what is shown is ahead of what is, it looks again. */
#define WAITING_ASK(stack, handle, mask, timeout_us, call) \
    do { \
        uint64_t until_ = deadline_after(timeout_us), step_us_ = 0; \
        int64_t result_; \
        do { \
            result_ = (call); \
            if (result_ != -EAGAIN || (timeout_us) == 0) \
                return result_; \
            result_ = look_again(&step_us_, until_); \
            if (result_ == 0) \
                result_ = channel_wait(stack, handle, mask, until_); \
        } while (result_ == 0); \
        return result_; \
    } while (0)

/* --- sockets ------------------------------------------------------------------------------ */

/* Takes note of what a new socket came with. */
static int64_t adopt(ps_stack *stack, int64_t handle, int descriptor)
{
    if (handle < 0)
        return handle;
    int result = channel_note_descriptor(stack, handle, descriptor);
    if (result < 0) {
        ask(stack, CHANNEL_CLOSE, handle, 0, 0);
        return result;
    }
    return handle;
}

int64_t remote_socket(ps_stack *stack, int family, int type, int protocol)
{
    struct channel_message message = {.operation = CHANNEL_SOCKET,
                                      .numbers = {family, type, protocol}};
    int64_t handle = channel_ask(stack, &message);
    return adopt(stack, handle, message.taken);
}

static int64_t close_by(ps_stack *stack, enum channel_operation operation, int64_t handle)
{
    int64_t left = ask(stack, operation, handle, true, 0);
    if (left == -EINPROGRESS)
        return left;
    if (left == -EBUSY || left <= 0)
        channel_drop_descriptor(stack, handle);
    return left == -EBUSY ? ask(stack, operation, handle, false, 0) : left;
}

int remote_close(ps_stack *stack, int64_t handle)
{
    int64_t left = close_by(stack, CHANNEL_CLOSE, handle);
    return left < 0 ? (int)left : 0;
}

int remote_close_unless_lingering(ps_stack *stack, int64_t handle)
{
    int64_t left = close_by(stack, CHANNEL_CLOSE_UNLESS_LINGERING, handle);
    if (left == -EINPROGRESS)
        return 1;
    return left < 0 ? (int)left : 0;
}

int remote_bind(ps_stack *stack, int64_t handle, const struct ps_address *address)
{
    struct channel_message message = {.operation = CHANNEL_BIND, .handle = handle};
    return (int)ask_with(stack, message, address, sizeof *address, NULL, 0);
}

int remote_listen(ps_stack *stack, int64_t handle, int backlog)
{
    return (int)ask(stack, CHANNEL_LISTEN, handle, backlog, 0);
}

/* A connection for which there is no descriptor stays in the listener's queue. */
static int64_t accept_one(ps_stack *stack, int64_t handle, struct ps_address *remote)
{
    struct iovec in = {remote, sizeof *remote};
    struct channel_message message = {
        .operation = CHANNEL_ACCEPT, .handle = handle, .answer = &in, .answer_pieces = 1};
    int spare = fcntl(channel_descriptor(stack, handle), F_DUPFD, 0);
    if (spare < 0 && errno == EMFILE)
        return -EMFILE;
    if (spare >= 0)
        close(spare);
    int64_t accepted = channel_ask(stack, &message);
    return adopt(stack, accepted, message.taken);
}

int64_t remote_accept(ps_stack *stack, int64_t handle, struct ps_address *remote,
                      int64_t timeout_us)
{
    WAITING_ASK(stack, handle, PS_READY_READ, timeout_us, accept_one(stack, handle, remote));
}

int remote_connect(ps_stack *stack, int64_t handle, const struct ps_address *address,
                   int64_t timeout_us)
{
    uint64_t deadline_us = deadline_after(timeout_us);
    struct channel_message message = {.operation = CHANNEL_CONNECT, .handle = handle};
    int64_t result = ask_with(stack, message, address, sizeof *address, NULL, 0);
    while (result == -EINPROGRESS && timeout_us != 0) {
        result = channel_wait(stack, handle, PS_READY_WRITE, deadline_us);
        if (result < 0)
            break;
        result = ask(stack, CHANNEL_READY, handle, 0, 0);
        if (result < 0)
            break;
        bool ended = result & (PS_READY_WRITE | PS_READY_ERROR | PS_READY_HANGUP);
        /* The engine tells the next call how it has ended; this is the one. */
        result = ended ? ask_with(stack, message, address, sizeof *address, NULL, 0) : -EINPROGRESS;
        if (ended)
            break;
    }
    return (int)result;
}

/* As many of the pieces as go into one message; their length. */
static size_t limit(const struct ps_piece *pieces, size_t count, struct iovec *out, size_t *used)
{
    size_t length = 0;
    *used = 0;
    while (*used < count && *used < MOST_PIECES - 1 && length < CHANNEL_DATA) {
        size_t left = CHANNEL_DATA - length;
        size_t size = pieces[*used].size < left ? pieces[*used].size : left;
        out[*used] = (struct iovec){pieces[*used].base, size};
        ++*used;
        length += size;
    }
    return length;
}

static int64_t send_once(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                         size_t count, uint32_t flags, const struct ps_address *to,
                         const struct ps_send_control *control)
{
    struct channel_send how = {.to = {.family = PS_UNSPECIFIED}};
    struct iovec out[MOST_PIECES] = {{&how, sizeof how}};
    size_t used;
    if (to != NULL)
        how.to = *to;
    if (control != NULL)
        how.control = *control;
    limit(pieces, count, out + 1, &used);
    struct channel_message message = {
        .operation = CHANNEL_SEND,
        .handle = handle,
        .numbers = {flags, (int64_t)pieces_size(pieces, count),
                    (to != NULL ? CHANNEL_HAS_TO : 0) |
                        (control != NULL ? CHANNEL_HAS_CONTROL : 0)},
        .data = out,
        .pieces = used + 1,
    };
    return channel_ask(stack, &message);
}

/* The same in one piece, where there are too many for one message but not too many bytes. */
static int64_t send_gathered(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                             size_t count, uint32_t flags, const struct ps_address *to,
                             const struct ps_send_control *control)
{
    size_t length = pieces_size(pieces, count);
    if (count < MOST_PIECES || length > CHANNEL_DATA)
        return send_once(stack, handle, pieces, count, flags, to, control);
    struct ps_piece gathered = {malloc(length + 1), length};
    if (gathered.base == NULL)
        return -ENOMEM;
    pieces_copy(gathered.base, pieces, count);
    int64_t result = send_once(stack, handle, &gathered, 1, flags, to, control);
    free(gathered.base);
    return result;
}

int64_t remote_send(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                    uint32_t flags, const struct ps_address *to,
                    const struct ps_send_control *control, int64_t timeout_us)
{
    WAITING_ASK(stack, handle, PS_READY_WRITE, timeout_us,
                send_gathered(stack, handle, pieces, count, flags, to, control));
}

int remote_send_all(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size,
                    uint32_t flags, int64_t timeout_us, size_t *sent)
{
    uint64_t deadline_us = deadline_after(timeout_us);
    int64_t result = 0;
    *sent = 0;
    do {
        const struct ps_piece rest = {(uint8_t *)(uintptr_t)data + *sent, size - *sent};
        result = send_once(stack, handle, &rest, 1, flags, NULL, NULL);
        if (result >= 0) {
            *sent += (size_t)result;
            result = 0;
        } else if (result == -EAGAIN && timeout_us != 0) {
            result = channel_wait(stack, handle, PS_READY_WRITE, deadline_us);
        }
    } while (result == 0 && *sent < size);
    return (int)result;
}

static int64_t receive_once(ps_stack *stack, enum channel_operation operation, int64_t handle,
                            const struct ps_piece *pieces, size_t count, uint32_t flags,
                            struct channel_received *head)
{
    struct iovec in[MOST_PIECES] = {{head, sizeof *head}};
    size_t used;
    limit(pieces, count, in + 1, &used);
    struct channel_message asked = {.operation = operation,
                                    .handle = handle,
                                    .numbers = {flags, 0, 0},
                                    .answer = in,
                                    .answer_pieces = used + 1};
    return channel_ask(stack, &asked);
}

/* Where there are more pieces than go into one message: into one, and from there. */
static int64_t receive_scattered(ps_stack *stack, enum channel_operation operation, int64_t handle,
                                 const struct ps_piece *pieces, size_t count, uint32_t flags,
                                 struct ps_message *message, struct ps_socket_error *error)
{
    struct channel_received head;
    size_t length = pieces_size(pieces, count), done = 0;
    struct ps_piece whole = {NULL, length < CHANNEL_DATA ? length : CHANNEL_DATA};
    int64_t result;
    if (count < MOST_PIECES) {
        result = receive_once(stack, operation, handle, pieces, count, flags, &head);
    } else {
        whole.base = malloc(CHANNEL_DATA);
        if (whole.base == NULL)
            return -ENOMEM;
        result = receive_once(stack, operation, handle, &whole, 1, flags, &head);
        size_t got = result < 0 ? 0 : (size_t)result < whole.size ? (size_t)result : whole.size;
        for (size_t i = 0; i < count && done < got; i++) {
            size_t size = pieces[i].size < got - done ? pieces[i].size : got - done;
            memcpy(pieces[i].base, whole.base + done, size);
            done += size;
        }
        free(whole.base);
    }
    if (result >= 0 && message != NULL)
        *message = head.message;
    if (result >= 0 && error != NULL)
        *error = head.error;
    return result;
}

int64_t remote_receive(ps_stack *stack, int64_t handle, const struct ps_piece *pieces, size_t count,
                       uint32_t flags, struct ps_message *message, int64_t timeout_us)
{
    WAITING_ASK(
        stack, handle, PS_READY_READ, timeout_us,
        receive_scattered(stack, CHANNEL_RECEIVE, handle, pieces, count, flags, message, NULL));
}

int64_t remote_receive_error(ps_stack *stack, int64_t handle, const struct ps_piece *pieces,
                             size_t count, struct ps_message *message,
                             struct ps_socket_error *error, int64_t timeout_us)
{
    WAITING_ASK(
        stack, handle, PS_READY_ERROR, timeout_us,
        receive_scattered(stack, CHANNEL_RECEIVE_ERROR, handle, pieces, count, 0, message, error));
}

int remote_shutdown(ps_stack *stack, int64_t handle, uint32_t how)
{
    return (int)ask(stack, CHANNEL_SHUTDOWN, handle, how, 0);
}

int remote_name(ps_stack *stack, int64_t handle, int which, struct ps_address *out)
{
    struct channel_message message = {
        .operation = CHANNEL_NAME, .handle = handle, .numbers = {which, 0, 0}};
    return (int)ask_with(stack, message, NULL, 0, out, sizeof *out);
}

int remote_ready(ps_stack *stack, int64_t handle)
{
    return (int)ask(stack, CHANNEL_READY, handle, 0, 0);
}

int remote_wait(ps_stack *stack, int64_t handle, uint32_t mask, int64_t timeout_us)
{
    uint64_t deadline_us = deadline_after(timeout_us), step_us = 0;
    uint32_t wanted = mask | PS_READY_ERROR | PS_READY_HANGUP;
    for (;;) {
        int result = remote_ready(stack, handle);
        if (result < 0 || (uint32_t)result & wanted)
            return result;
        if (timeout_us == 0)
            return -EAGAIN;
        result = mask & (PS_READY_READ | PS_READY_WRITE)
                     ? channel_wait(stack, handle, mask, deadline_us)
                     : look_again(&step_us, deadline_us);
        if (result < 0)
            return result;
    }
}

int remote_option_get(ps_stack *stack, int64_t handle, int option, int64_t *value)
{
    struct channel_message message = {
        .operation = CHANNEL_OPTION_GET, .handle = handle, .numbers = {option, 0, 0}};
    return (int)ask_with(stack, message, NULL, 0, value, sizeof *value);
}

int remote_option_set(ps_stack *stack, int64_t handle, int option, int64_t value)
{
    return (int)ask(stack, CHANNEL_OPTION_SET, handle, option, value);
}

int remote_option_set_raw(ps_stack *stack, int64_t handle, int level, int name, const void *value,
                          size_t size)
{
    struct channel_message message = {
        .operation = CHANNEL_OPTION_SET_RAW, .handle = handle, .numbers = {level, name, 0}};
    return (int)ask_with(stack, message, value, size, NULL, 0);
}

int remote_option_get_raw(ps_stack *stack, int64_t handle, int level, int name, void *value,
                          size_t room)
{
    struct channel_message message = {
        .operation = CHANNEL_OPTION_GET_RAW, .handle = handle, .numbers = {level, name, 0}};
    return (int)ask_with(stack, message, NULL, 0, value, room);
}

int remote_membership(ps_stack *stack, int64_t handle, bool join,
                      const struct ps_membership *membership)
{
    struct channel_message message = {
        .operation = CHANNEL_MEMBERSHIP, .handle = handle, .numbers = {join, 0, 0}};
    return (int)ask_with(stack, message, membership, sizeof *membership, NULL, 0);
}

int remote_tcp_info(ps_stack *stack, int64_t handle, struct ps_tcp_info *out)
{
    struct channel_message message = {.operation = CHANNEL_TCP_INFO, .handle = handle};
    return (int)ask_with(stack, message, NULL, 0, out, sizeof *out);
}

/* --- tables and names --------------------------------------------------------------------- */

int64_t remote_list(ps_stack *stack, enum channel_table table, uint32_t index, void *out,
                    size_t room, size_t size)
{
    struct channel_message message = {.operation = CHANNEL_LIST, .numbers = {table, index, 0}};
    size_t bytes = room * size < CHANNEL_DATA ? room * size : CHANNEL_DATA;
    int64_t count = ask_with(stack, message, NULL, 0, out, bytes);
    bool cut = count > 0 && (size_t)count * size > CHANNEL_DATA && (size_t)count <= room;
    return cut ? -EMSGSIZE : count;
}

/* A message has no room for all of a large engine's: several, not one snapshot. */
int64_t remote_tunables(ps_stack *stack, struct ps_tunable *out, size_t room)
{
    struct channel_message message = {.operation = CHANNEL_LIST,
                                      .numbers = {CHANNEL_TUNABLES, 0, 0}};
    const size_t most = CHANNEL_DATA / sizeof *out;
    for (size_t first = 0;; first += most) {
        size_t left = room > first ? room - first : 0;
        size_t count = left < most ? left : most;
        message.numbers[1] = (int64_t)first;
        int64_t result =
            ask_with(stack, message, NULL, 0, count > 0 ? out + first : NULL, count * sizeof *out);
        if (result < 0 || left <= most || (size_t)result <= first + most)
            return result;
    }
}

int remote_tunable_get(ps_stack *stack, const char *name, struct ps_tunable *out)
{
    struct channel_message message = {.operation = CHANNEL_TUNABLE_GET};
    return (int)ask_with(stack, message, name, strlen(name) + 1, out, sizeof *out);
}

int64_t remote_tunable_text(ps_stack *stack, const char *name, bool initial, char *out, size_t room)
{
    struct channel_message message = {.operation = CHANNEL_TUNABLE_TEXT,
                                      .numbers = {initial, 0, 0}};
    return ask_with(stack, message, name, strlen(name) + 1, out,
                    room < CHANNEL_DATA ? room : CHANNEL_DATA);
}

int remote_interface_at(ps_stack *stack, size_t position, struct ps_interface *out)
{
    struct ps_interface *all = calloc(position + 1, sizeof *all);
    if (all == NULL)
        return -ENOMEM;
    int64_t count = remote_list(stack, CHANNEL_INTERFACES, 0, all, position + 1, sizeof *all);
    bool found = count > (int64_t)position;
    if (found)
        *out = all[position];
    free(all);
    return count < 0 ? (int)count : found;
}

int remote_route_lookup(ps_stack *stack, const struct ps_address *destination, struct ps_route *out)
{
    struct channel_message message = {.operation = CHANNEL_ROUTE_LOOKUP};
    return (int)ask_with(stack, message, destination, sizeof *destination, out, sizeof *out);
}

int64_t remote_resolve_start(ps_stack *stack, const char *name, int family)
{
    struct channel_message message = {.operation = CHANNEL_RESOLVE_START,
                                      .numbers = {family, 0, 0}};
    return ask_with(stack, message, name, strlen(name) + 1, NULL, 0);
}

int64_t remote_resolve_wait(ps_stack *stack, int64_t request, struct ps_address *out, size_t room,
                            int64_t timeout_us)
{
    uint64_t deadline_us = deadline_after(timeout_us), step_us = 0;
    struct channel_message message = {.operation = CHANNEL_RESOLVE_RESULT,
                                      .numbers = {request, 0, 0}};
    for (;;) {
        int64_t result = ask_with(stack, message, NULL, 0, out, room * sizeof *out);
        if (result != -EAGAIN || timeout_us == 0)
            return result;
        result = look_again(&step_us, deadline_us);
        if (result < 0)
            return result;
    }
}

int remote_resolve_cancel(ps_stack *stack, int64_t request)
{
    return (int)ask(stack, CHANNEL_RESOLVE_CANCEL, -1, request, 0);
}
