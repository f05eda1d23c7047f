/*
 * A Stack in a process that doesn't own it: one pair of sockets, on which one request at a time
 * goes to the owner and its answer comes back.
 *
 * A caller that must wait does it here, on the descriptor that the owner makes ready, and beside
 * the pair, whose end is the owner's.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "channel/channel.h"
#include "stack/descriptor.h"
#include "stack/descriptors.h"
#include "stack/entry.h"
#include "stack/gate.h"

#define LONGEST_SLEEP_US 500000 /* as in wait.c */
#define MESSAGE_BYTES 262144
#define MOST_PIECES 64

struct channel_remote {
    pthread_mutex_t lock;
    int descriptor;
    unsigned fork_generation;
    int ended;               /* why it can't be used any more; 0: it can */
    struct handle_map shown; /* each socket's descriptor, and above it its inode's number */
};

void channel_widen(int descriptor)
{
    int size = MESSAGE_BYTES;
    setsockopt(descriptor, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
}

void channel_attach(struct msghdr *message, union channel_control *control, int descriptor)
{
    message->msg_control = control;
    message->msg_controllen = sizeof *control;
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
}

static int refuse(const ps_stack *stack)
{
    const struct channel_remote *remote = stack->remote;
    if (remote->fork_generation != stack_fork_generation())
        return -EOWNERDEAD;
    return remote->ended != 0 ? remote->ended : -EREMOTE;
}

/* --- a request and its answer ------------------------------------------------------------- */

static size_t length_of(const struct iovec *pieces, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length += pieces[i].iov_len;
    return length;
}

static int send_request(const struct channel_remote *remote, const struct channel_message *message)
{
    struct channel_request request = {
        .operation = message->operation,
        .room = (uint32_t)length_of(message->answer, message->answer_pieces),
        .handle = message->handle,
        .numbers = {message->numbers[0], message->numbers[1], message->numbers[2]}};
    struct iovec parts[MOST_PIECES + 2] = {{&request, sizeof request}};
    for (size_t i = 0; i < message->pieces; i++)
        parts[i + 1] = message->data[i];
    union channel_control control = {.room = {0}};
    struct msghdr whole = {.msg_iov = parts, .msg_iovlen = message->pieces + 1};
    if (message->gives)
        channel_attach(&whole, &control, message->given);
    ssize_t sent;
    do
        sent = sendmsg(remote->descriptor, &whole, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent >= 0)
        return 0;
    return errno == EBADF || errno == ENOMEM || errno == ENOBUFS ? -errno : -EOWNERDEAD;
}

static int64_t take_answer(const struct channel_remote *remote, struct channel_message *message)
{
    struct channel_answer answer;
    struct iovec parts[MOST_PIECES + 2] = {{&answer, sizeof answer}};
    for (size_t i = 0; i < message->answer_pieces; i++)
        parts[i + 1] = message->answer[i];
    union channel_control control = {.room = {0}};
    struct msghdr whole = {.msg_iov = parts,
                           .msg_iovlen = message->answer_pieces + 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(remote->descriptor, &whole, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < (ssize_t)sizeof answer)
        return -EOWNERDEAD;
    struct cmsghdr *header = CMSG_FIRSTHDR(&whole);
    if (header != NULL && header->cmsg_type == SCM_RIGHTS)
        memcpy(&message->taken, CMSG_DATA(header), sizeof(int));
    return answer.result;
}

/* Under the lock. */
static int64_t exchange(struct channel_remote *remote, struct channel_message *message)
{
    message->taken = -1;
    if (remote->ended != 0)
        return remote->ended;
    int64_t result = send_request(remote, message);
    if (result == 0)
        result = take_answer(remote, message);
    if (result == -EOWNERDEAD)
        remote->ended = -EOWNERDEAD;
    return result;
}

int64_t channel_ask(ps_stack *stack, struct channel_message *message)
{
    struct channel_remote *remote = stack->remote;
    if (remote->fork_generation != stack_fork_generation())
        return -EOWNERDEAD;
    pthread_mutex_lock(&remote->lock);
    int64_t result = exchange(remote, message);
    pthread_mutex_unlock(&remote->lock);
    return result;
}

/* --- descriptors -------------------------------------------------------------------------- */

static uint64_t pack(int descriptor)
{
    struct stat status = {.st_ino = 0};
    fstat(descriptor, &status);
    return (uint64_t)(uint32_t)status.st_ino << 32 | (uint32_t)descriptor;
}

/* The descriptor, if that number is still what it was: programs close what isn't theirs. */
static int unpack(uint64_t packed)
{
    int descriptor = (int)(uint32_t)packed;
    return pack(descriptor) == packed ? descriptor : -1;
}

void channel_know_descriptor(ps_stack *stack, int64_t handle, int descriptor)
{
    struct channel_remote *remote = stack->remote;
    pthread_mutex_lock(&remote->lock);
    uint64_t *shown = handle_map_put(&remote->shown, handle);
    bool other = shown != NULL && *shown != 0 && unpack(*shown) >= 0;
    if (shown != NULL && !other && descriptor_note(stack, handle, descriptor, true) == 0)
        *shown = pack(descriptor);
    pthread_mutex_unlock(&remote->lock);
}

int channel_note_descriptor(ps_stack *stack, int64_t handle, int descriptor)
{
    struct channel_remote *remote = stack->remote;
    if (descriptor < 0)
        return -EMFILE;
    pthread_mutex_lock(&remote->lock);
    uint64_t *shown = handle_map_put(&remote->shown, handle);
    bool other = shown != NULL && *shown != 0 && unpack(*shown) >= 0;
    int result = shown == NULL ? -ENOMEM
                 : other       ? 0
                               : descriptor_note(stack, handle, descriptor, false);
    if (result == 0 && !other)
        *shown = pack(descriptor);
    else
        close(descriptor); /* there is one already */
    pthread_mutex_unlock(&remote->lock);
    return result;
}

int channel_show_descriptor(ps_stack *stack, int64_t handle)
{
    int number = channel_descriptor(stack, handle);
    if (number < 0)
        return number;
    pthread_mutex_lock(&stack->remote->lock);
    struct descriptor *descriptor = descriptor_find(stack, handle);
    if (descriptor != NULL)
        descriptor->is_private = false;
    pthread_mutex_unlock(&stack->remote->lock);
    return number;
}

int channel_descriptor(ps_stack *stack, int64_t handle)
{
    struct channel_remote *remote = stack->remote;
    if (remote->fork_generation != stack_fork_generation())
        return -EOWNERDEAD;
    pthread_mutex_lock(&remote->lock);
    const uint64_t *shown = handle_map_find(&remote->shown, handle);
    int descriptor = shown == NULL ? -1 : unpack(*shown);
    pthread_mutex_unlock(&remote->lock);
    if (descriptor >= 0)
        return descriptor;
    struct channel_message message = {.operation = CHANNEL_DESCRIPTOR, .handle = handle};
    int64_t result = channel_ask(stack, &message);
    if (result == 0)
        result = channel_note_descriptor(stack, handle, message.taken);
    return result < 0 ? (int)result : channel_descriptor(stack, handle);
}

void channel_drop_descriptor(ps_stack *stack, int64_t handle)
{
    struct channel_remote *remote = stack->remote;
    pthread_mutex_lock(&remote->lock);
    const uint64_t *shown = handle_map_find(&remote->shown, handle);
    uint64_t packed = shown == NULL ? 0 : *shown;
    handle_map_remove(&remote->shown, handle);
    descriptor_close(stack, handle);
    int descriptor = packed == 0 ? -1 : unpack(packed);
    if (descriptor >= 0)
        close(descriptor);
    pthread_mutex_unlock(&remote->lock);
}

/* Another number of the same file; -1: this process has none. */
static int other_number(uint64_t packed, int number)
{
    int found = -1;
    DIR *listing = opendir("/proc/self/fd");
    for (const struct dirent *entry;
         listing != NULL && found < 0 && (entry = readdir(listing)) != NULL;) {
        int each = atoi(entry->d_name);
        bool is_other = entry->d_name[0] != '.' && each != dirfd(listing) && each != number;
        if (is_other && pack(each) >> 32 == packed >> 32)
            found = each;
    }
    if (listing != NULL)
        closedir(listing);
    return found;
}

int channel_close_number(ps_stack *stack, int64_t handle, int number)
{
    struct channel_remote *remote = stack->remote;
    if (remote->fork_generation != stack_fork_generation())
        return -EOWNERDEAD;
    pthread_mutex_lock(&remote->lock);
    uint64_t *shown = handle_map_find(&remote->shown, handle);
    int result = shown == NULL || pack(number) >> 32 != *shown >> 32 ? -EBADF : 1;
    int other = result < 0 ? -1 : other_number(*shown, number);
    if (other >= 0) {
        *shown = pack(other);
        close(number);
        result = 0;
    } else if (result == 1) {
        *shown = pack(number); /* closed with the socket */
    }
    pthread_mutex_unlock(&remote->lock);
    return result;
}

/* --- waiting ------------------------------------------------------------------------------ */

int channel_wait(ps_stack *stack, int64_t handle, uint32_t mask, uint64_t deadline_us)
{
    int descriptor = channel_descriptor(stack, handle);
    if (descriptor < 0)
        return descriptor;
    uint64_t now_us = monotonic_us();
    if (now_us >= deadline_us)
        return -EAGAIN;
    if (deadline_us == NO_DEADLINE && fcntl(descriptor, F_GETFL) & O_NONBLOCK)
        return -EAGAIN;
    bool whole = deadline_us - now_us <= LONGEST_SLEEP_US;
    uint64_t wait_us = whole ? deadline_us - now_us : LONGEST_SLEEP_US;
    short wanted = (short)((mask & (PS_READY_READ | PS_READY_ERROR) ? POLLIN : 0) |
                           (mask & PS_READY_WRITE ? POLLOUT : 0));
    struct pollfd watched[2] = {{descriptor, wanted, 0}, {stack->remote->descriptor, 0, 0}};
    struct timespec timeout = {(time_t)(wait_us / 1000000), (long)(wait_us % 1000000) * 1000};
#ifdef __linux__
    int ready = ppoll(watched, 2, &timeout, NULL);
#else
    int ready = poll(watched, 2, (int)(timeout.tv_sec * 1000 + timeout.tv_nsec / 1000000 + 1));
#endif
    if (ready > 0)
        return 0;
    if (ready < 0 || !whole)
        return -EINTR; /* so that Python looks for signals */
    return -EAGAIN;
}

/* --- its life ----------------------------------------------------------------------------- */

static int begin(ps_stack *stack, int descriptor, int ended)
{
    struct channel_remote *remote = calloc(1, sizeof *remote);
    if (remote == NULL)
        return -ENOMEM;
    pthread_mutex_init(&remote->lock, NULL);
    remote->descriptor = descriptor;
    remote->ended = ended;
    remote->fork_generation = stack_fork_generation();
    stack->remote = remote;
    stack->refuse = refuse;
    return 0;
}

int channel_join(ps_stack *stack, int descriptor, const int64_t *handles, const int *shown,
                 size_t count)
{
    /* The parent's state stays as it is, except its descriptors, which would look in use. */
    if (stack->remote != NULL && stack->remote->descriptor >= 0) {
        close(stack->remote->descriptor);
    } else if (stack->remote == NULL) {
        stack_forget(stack);
    }
    int result = begin(stack, descriptor, descriptor < 0 ? -EOWNERDEAD : 0);
    for (size_t i = 0; result == 0 && i < count; i++) {
        uint64_t *place = handle_map_put(&stack->remote->shown, handles[i]);
        if (place == NULL)
            result = -ENOMEM;
        else
            *place = pack(shown[i]);
    }
    return result;
}

int ps_channel_open(const char *name, ps_stack **out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    if (length + 1 > sizeof address.sun_path)
        return -EINVAL;
    stack_watch_forks();
    memcpy(address.sun_path + 1, name, length);
    socklen_t whole = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET, 0);
    if (descriptor < 0)
        return -errno;
    fcntl(descriptor, F_SETFD, FD_CLOEXEC);
    channel_widen(descriptor);
    ps_stack *stack = calloc(1, sizeof *stack);
    int result = stack == NULL ? -ENOMEM : begin(stack, descriptor, 0);
    if (result == 0 && connect(descriptor, (struct sockaddr *)&address, whole) != 0) {
        if (errno == ECONNREFUSED)
            stack->remote->ended = -EOWNERDEAD;
        else
            result = -errno;
    }
    if (result == 0) {
        struct channel_message message = {.operation = CHANNEL_HELLO,
                                          .numbers = {CHANNEL_VERSION, PS_ENGINE_VERSION, 0}};
        result = (int)channel_ask(stack, &message);
    }
    if (result == -EOWNERDEAD) /* a program that uses no socket need not know */
        result = 0;
    if (result < 0) {
        close(descriptor);
        if (stack != NULL)
            free(stack->remote);
        free(stack);
        return result;
    }
    pthread_mutex_init(&stack->lock, NULL);
    pthread_cond_init(&stack->idle, NULL);
    stack->watcher = stack->joiner = stack->gate.fd = -1;
    *out = stack;
    return 0;
}

void channel_leave(ps_stack *stack)
{
    struct channel_remote *remote = stack->remote;
    if (remote->fork_generation != stack_fork_generation())
        return;
    pthread_mutex_lock(&remote->lock);
    size_t position = 0;
    const struct handle_entry *entry;
    while ((entry = handle_map_next(&remote->shown, &position)) != NULL) {
        int descriptor = unpack(entry->value);
        if (descriptor >= 0 && descriptor_find(stack, entry->handle) == NULL)
            close(descriptor);
    }
    handle_map_clear(&remote->shown);
    descriptors_abandon(stack);
    if (remote->descriptor >= 0)
        close(remote->descriptor);
    remote->descriptor = -1;
    remote->ended = -EBADF;
    pthread_mutex_unlock(&remote->lock);
}
