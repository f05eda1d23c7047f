/*
 * The thread that answers other processes, in the one that owns the Stack.
 *
 * It is made with the first process that is to share the Stack. One thread does for all: it never
 * waits for anything but requests. A client that sends what no client of ours would, or that does
 * not take its answers, is cut off: the same as if its process had ended.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#endif

#include "channel/channel_server.h"
#include "stack/descriptors.h"
#include "stack/lock.h"

#ifdef __linux__

#define STACK_BYTES (512 * 1024)
#define BATCH 16
#define BACKLOG 128
#define ANSWER_ROOM (CHANNEL_DATA + 4096) /* and a structure before the data */

static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* In a child: another thread may have been making a server. */
static void after_fork(void)
{
    pthread_mutex_init(&making, NULL);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}

/* --- for clients --------------------------------------------------------------------------- */

/* In the abstract namespace: nothing is left behind by whatever end. */
static int listen_by_name(struct channel_server *server)
{
    uint64_t chance[2];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (server->listener >= 0)
        return 0;
    if (getrandom(chance, sizeof chance, 0) != sizeof chance)
        return -EAGAIN;
    snprintf(server->name, sizeof server->name, "pystack-%016llx%016llx",
             (unsigned long long)chance[0], (unsigned long long)chance[1]);
    size_t length = strlen(server->name);
    memcpy(address.sun_path + 1, server->name, length);
    socklen_t whole = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
    int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int result = listener < 0 ? -errno : 0;
    if (result == 0 &&
        (bind(listener, (struct sockaddr *)&address, whole) != 0 || listen(listener, BACKLOG) != 0))
        result = -errno;
    if (result == 0)
        result = channel_watch(server, listener, &server->listener);
    if (result == 0)
        server->listener = listener;
    else if (listener >= 0)
        close(listener);
    return result;
}

static int64_t listen_for_client(struct channel_call *call)
{
    size_t size = sizeof call->server->name;
    if (call->room < size)
        return -EPROTO;
    int result = listen_by_name(call->server);
    if (result == 0) {
        memcpy(call->answer, call->server->name, size);
        call->answered = size;
    }
    return result;
}

static int64_t give_client(struct channel_call *call)
{
    uint8_t ticket[CHANNEL_TICKET_BYTES];
    if (call->room < sizeof ticket)
        return -EPROTO;
    int result = channel_give(call->server, call->request->handle, false, ticket);
    if (result == 0) {
        memcpy(call->answer, ticket, sizeof ticket);
        call->answered = sizeof ticket;
    }
    return result;
}

static int64_t take_client(struct channel_call *call)
{
    return channel_take(call->server, call->client, call->data);
}

/* --- messages ----------------------------------------------------------------------------- */

/* The first descriptor that came with a message; any others are closed. */
static int descriptor_of(struct msghdr *message)
{
    int first = -1;
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each != NULL;
         each = CMSG_NXTHDR(message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (each->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(each) + i * sizeof(int), sizeof(int));
            if (first < 0)
                first = descriptor;
            else
                close(descriptor);
        }
    }
    return first;
}

static bool answer(struct channel_client *client, int64_t result, const struct channel_call *call)
{
    struct channel_answer head = {result};
    struct iovec parts[2] = {{&head, sizeof head}, {call->answer, call->answered}};
    union channel_control control = {.room = {0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (call->passed >= 0)
        channel_attach(&message, &control, call->passed);
    return sendmsg(client->descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0;
}

/* One request of a client's; false: it has ended, or is to. */
static bool serve_one(struct channel_server *server, struct channel_client *client)
{
    struct channel_request request;
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))];
    struct iovec parts[2] = {{&request, sizeof request}, {server->data, ANSWER_ROOM}};
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t size = recvmsg(client->descriptor, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0)
        return errno == EAGAIN || errno == EINTR;
    struct channel_call call = {.server = server,
                                .stack = server->stack,
                                .holds = &server->holds,
                                .client = client,
                                .request = &request,
                                .data = server->data,
                                .size = (size_t)size - sizeof request,
                                .given = descriptor_of(&message),
                                .answer = server->answer,
                                .passed = -1,
                                .fork = channel_fork_client,
                                .listen_for = listen_for_client,
                                .give = give_client,
                                .take = take_client};
    bool formed = size >= (ssize_t)sizeof request &&
                  !(message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && request.room <= ANSWER_ROOM;
    call.room = formed ? request.room : 0;
    int64_t result = formed ? channel_serve(&call) : -EPROTO;
    if (call.given >= 0)
        close(call.given);
    bool goes_on = result != -EPROTO && answer(client, result, &call);
    if (call.closes)
        close(call.passed);
    return goes_on;
}

static void admit(struct channel_server *server)
{
    int descriptor = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    if (descriptor < 0)
        return;
    struct ucred peer;
    socklen_t size = sizeof peer;
    struct channel_client *client = NULL;
    bool ours = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
                (peer.uid == geteuid() || peer.uid == 0);
    if (ours)
        client = channel_add(server);
    if (client == NULL || channel_watch(server, descriptor, client) < 0) {
        close(descriptor);
        if (client != NULL)
            channel_remove(server, client);
        return;
    }
    channel_widen(descriptor);
    client->descriptor = descriptor;
}

static void *serve_for_ever(void *argument)
{
    struct channel_server *server = argument;
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(server->poller, events, BATCH, -1);
        pthread_mutex_lock(&server->lock);
        for (int i = 0; i < count; i++) {
            struct channel_client *client = events[i].data.ptr;
            if (events[i].data.ptr == &server->stopper) {
                pthread_mutex_unlock(&server->lock);
                return NULL;
            }
            if (events[i].data.ptr == &server->listener)
                admit(server);
            else if (!serve_one(server, client))
                channel_remove(server, client);
        }
        pthread_mutex_unlock(&server->lock);
    }
}

/* --- its life ----------------------------------------------------------------------------- */

static void destroy(struct channel_server *server)
{
    while (server->clients != NULL)
        channel_remove(server, server->clients);
    handle_map_clear(&server->holds.shared);
    for (int *each = &server->poller; each <= &server->listener; each++)
        if (*each >= 0)
            close(*each);
    pthread_mutex_destroy(&server->lock);
    free(server->data);
    free(server->answer);
    free(server);
}

static int start(struct channel_server *server)
{
    server->poller = epoll_create1(EPOLL_CLOEXEC);
    server->stopper = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->poller < 0 || server->stopper < 0)
        return -errno;
    server->data = malloc(ANSWER_ROOM);
    server->answer = malloc(ANSWER_ROOM);
    int result = server->data == NULL || server->answer == NULL
                     ? -ENOMEM
                     : channel_watch(server, server->stopper, &server->stopper);
    if (result < 0)
        return result;
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    result = -pthread_create(&server->thread, &attributes, serve_for_ever, server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return result;
}

/* The Stack's server, which is made if there is none yet; 0 or -errno. */
static int obtain(ps_stack *stack, struct channel_server **out)
{
    int result = stack_lock(stack); /* whether it may be used at all */
    if (result < 0)
        return result;
    stack_unlock(stack);
    if (!stack->threaded)
        return -EOPNOTSUPP; /* nothing would drive it while a client waits */
    pthread_once(&fork_once, watch_forks);
    pthread_mutex_lock(&making);
    struct channel_server *server = atomic_load(&stack->server);
    if (server == NULL && (server = calloc(1, sizeof *server)) != NULL) {
        server->stack = stack;
        server->poller = server->stopper = server->listener = -1;
        pthread_mutex_init(&server->lock, NULL);
        result = start(server);
        if (result < 0)
            destroy(server);
        else
            atomic_store(&stack->server, server);
    }
    pthread_mutex_unlock(&making);
    *out = server;
    return server == NULL ? -ENOMEM : result;
}

void channel_stop(ps_stack *stack)
{
    pthread_once(&fork_once, watch_forks);
    pthread_mutex_lock(&making);
    struct channel_server *server = atomic_exchange(&stack->server, NULL);
    pthread_mutex_unlock(&making);
    if (server == NULL)
        return;
    uint64_t one = 1;
    ssize_t wrote = write(server->stopper, &one, sizeof one);
    (void)wrote; /* its counter can't be full */
    pthread_join(server->thread, NULL);
    destroy(server);
}

void channel_forget(ps_stack *stack)
{
    struct channel_server *server = atomic_exchange(&stack->server, NULL);
    if (server == NULL)
        return;
    /* Its lock may have been held as the process was copied: nothing is changed or freed. */
    for (struct channel_client *each = server->clients; each != NULL; each = each->next)
        if (each->descriptor >= 0)
            close(each->descriptor);
    for (int *each = &server->poller; each <= &server->listener; each++)
        if (*each >= 0)
            close(*each);
}

bool channel_owner_lets_go(ps_stack *stack, int64_t handle)
{
    struct channel_server *server = atomic_load(&stack->server);
    if (server == NULL)
        return false;
    pthread_mutex_lock(&server->lock);
    enum channel_left left = channel_release_owner(&server->holds, handle);
    pthread_mutex_unlock(&server->lock);
    return left != CHANNEL_LEFT_NONE;
}

bool channel_is_held(ps_stack *stack, int64_t handle)
{
    struct channel_server *server = atomic_load(&stack->server);
    if (server == NULL)
        return false;
    pthread_mutex_lock(&server->lock);
    bool held = handle_map_find(&server->holds.shared, handle) != NULL;
    pthread_mutex_unlock(&server->lock);
    return held;
}

int channel_keep_out(ps_stack *stack, struct channel_server **kept)
{
    struct channel_server *server = *kept = atomic_load(&stack->server);
    if (server == NULL)
        return 0;
    pthread_mutex_lock(&server->lock);
    if (server->clients == NULL)
        return 0;
    pthread_mutex_unlock(&server->lock);
    return -EBUSY;
}

void channel_let_in(struct channel_server *kept)
{
    if (kept != NULL)
        pthread_mutex_unlock(&kept->lock);
}

/* --- what Python calls -------------------------------------------------------------------- */

static int fork_owner(ps_stack *stack, const int64_t *handles, size_t count)
{
    struct channel_server *server;
    struct channel_client *client = NULL;
    int result = obtain(stack, &server);
    if (result < 0)
        return result;
    pthread_mutex_lock(&server->lock);
    int end = channel_add_pair(server, &client);
    for (size_t i = 0; end >= 0 && i < count; i++)
        if (channel_hold(&server->holds, client, handles[i], true) < 0) {
            channel_remove(server, client);
            close(end);
            end = -ENOMEM;
        }
    pthread_mutex_unlock(&server->lock);
    return end;
}

int ps_channel_fork(ps_stack *stack, const int64_t *handles, size_t count)
{
    if (stack->remote == NULL)
        return fork_owner(stack, handles, count);
    struct channel_message message = {.operation = CHANNEL_FORK};
    int64_t result = channel_ask(stack, &message);
    return result < 0 ? (int)result : message.taken;
}

int ps_channel_listen(ps_stack *stack, char *name, size_t size)
{
    if (stack->remote != NULL) {
        struct iovec answer_part = {name, size};
        struct channel_message message = {
            .operation = CHANNEL_LISTEN_FOR, .answer = &answer_part, .answer_pieces = 1};
        return (int)channel_ask(stack, &message);
    }
    struct channel_server *server;
    int result = obtain(stack, &server);
    if (result < 0)
        return result;
    pthread_mutex_lock(&server->lock);
    result = listen_by_name(server);
    if (result == 0)
        snprintf(name, size, "%s", server->name);
    pthread_mutex_unlock(&server->lock);
    return result;
}

int ps_channel_give(ps_stack *stack, int64_t handle, uint8_t *ticket)
{
    if (stack->remote != NULL) {
        struct iovec answer_part = {ticket, CHANNEL_TICKET_BYTES};
        struct channel_message message = {.operation = CHANNEL_GIVE,
                                          .handle = handle,
                                          .answer = &answer_part,
                                          .answer_pieces = 1};
        return (int)channel_ask(stack, &message);
    }
    struct channel_server *server;
    int result = obtain(stack, &server);
    if (result < 0)
        return result;
    pthread_mutex_lock(&server->lock);
    result = channel_give(server, handle, true, ticket);
    pthread_mutex_unlock(&server->lock);
    return result;
}

static int64_t take_remote(ps_stack *stack, struct channel_message *message)
{
    int64_t handle = channel_ask(stack, message);
    if (handle < 0)
        return handle;
    int result = channel_note_descriptor(stack, handle, message->taken);
    return result < 0 ? result : handle;
}

int64_t ps_channel_take(ps_stack *stack, const uint8_t *ticket)
{
    if (stack->remote != NULL) {
        struct iovec data = {(void *)(uintptr_t)ticket, CHANNEL_TICKET_BYTES};
        struct channel_message message = {.operation = CHANNEL_TAKE, .data = &data, .pieces = 1};
        return take_remote(stack, &message);
    }
    struct channel_server *server;
    int result = obtain(stack, &server);
    if (result < 0)
        return result;
    pthread_mutex_lock(&server->lock);
    int64_t handle = channel_take(server, NULL, ticket);
    pthread_mutex_unlock(&server->lock);
    return handle;
}

/* A socket of a client's, whose descriptor has come to the owner. */
static int64_t identify_own(ps_stack *stack, int descriptor)
{
    struct channel_server *server = atomic_load(&stack->server);
    int64_t handle = server == NULL ? -ENOENT : files_socket(stack, descriptor);
    if (handle < 0)
        return handle;
    pthread_mutex_lock(&server->lock);
    channel_hold_owner(&server->holds, handle); /* else no process holds it: it came alone */
    pthread_mutex_unlock(&server->lock);
    return handle;
}

int64_t ps_channel_identify(ps_stack *stack, int descriptor)
{
    if (stack->remote == NULL)
        return identify_own(stack, descriptor);
    struct channel_message message = {
        .operation = CHANNEL_IDENTIFY, .gives = true, .given = descriptor};
    int64_t handle = channel_ask(stack, &message);
    if (handle >= 0)
        channel_know_descriptor(stack, handle, descriptor);
    return handle;
}

#endif
