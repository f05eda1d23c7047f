/*
 * Which descriptors stand for sockets of a Stack: their numbers, their life.
 *
 * A number is the user's, to be closed, copied, sent and inherited as any other; so nothing is done
 * by one before the file behind it is seen to be ours. Where others than one object of Python's may
 * close it, even in between, it is done by a copy made for the moment. When the last number is closed,
 * in whichever process, our end hears of it, and the engine's socket is closed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "channel.h"
#include "descriptor.h"

#define MOST_DEATHS 64 /* that are taken at once */

/* --- numbers ---------------------------------------------------------------------------------- */

static bool is_ours(const struct descriptor *descriptor, int number)
{
    struct stat status;
    return number >= 0 && fstat(number, &status) == 0 && status.st_ino == descriptor->inode &&
           status.st_dev == descriptor->device;
}

/* A number of which nobody told, and no other than `except`; -1: there is none in this process. */
static int search(const struct descriptor *descriptor, int except)
{
    DIR *listing = opendir("/proc/self/fd");
    if (listing == NULL)
        return -1;
    int found = -1;
    for (const struct dirent *entry; found < 0 && (entry = readdir(listing)) != NULL;) {
        int number = atoi(entry->d_name);
        bool is_other = entry->d_name[0] != '.' && number != dirfd(listing) && number != except;
        if (is_other && is_ours(descriptor, number))
            found = number;
    }
    closedir(listing);
    return found;
}

static int find_number(struct descriptor *descriptor)
{
    if (is_ours(descriptor, descriptor->shown))
        return descriptor->shown;
    if (descriptor->lost)
        return -1;
    descriptor->shared = true;
    descriptor->shown = search(descriptor, -1);
    descriptor->lost = descriptor->shown < 0;
    if (descriptor->lost && descriptor_is_dead(descriptor))
        descriptor_bury(descriptor);
    return descriptor->shown;
}

int descriptor_pin(struct descriptor *descriptor)
{
    if (descriptor->pinned >= 0)
        return descriptor->pinned;
    int number = find_number(descriptor);
    if (number < 0 || !descriptor->shared)
        return descriptor->pinned = number;
    int copy = fcntl(number, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return -1;
    if (is_ours(descriptor, copy))
        return descriptor->pinned = copy;
    close(copy);
    return -1;
}

void descriptor_unpin(struct descriptor *descriptor)
{
    if (descriptor->pinned >= 0 && descriptor->pinned != descriptor->shown)
        close(descriptor->pinned);
    descriptor->pinned = -1;
}

/* --- death ------------------------------------------------------------------------------------ */

/* By its name, which the kernel forgets with the last number. */
static bool datagrams_are_dead(const struct descriptor *descriptor)
{
    return descriptor->name_size > 0 &&
           connect(descriptor->kept, (const struct sockaddr *)&descriptor->name,
                   descriptor->name_size) != 0 &&
           errno == ECONNREFUSED;
}

bool descriptor_name(struct descriptor *descriptor)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = sizeof name;
    int number = descriptor->name_size > 0 ? -1 : descriptor_pin(descriptor);
    if (number < 0)
        return descriptor->name_size > 0;
    if (bind(number, (struct sockaddr *)&name, sizeof name.sun_family) == 0 &&
        getsockname(number, (struct sockaddr *)&name, &size) == 0) {
        descriptor->name = name;
        descriptor->name_size = size;
    }
    descriptor_unpin(descriptor);
    return descriptor->name_size > 0;
}

bool descriptor_is_dead(struct descriptor *descriptor)
{
    if (descriptor->form != DESCRIPTOR_PAIRED)
        return false;
    if (descriptor->datagrams)
        return datagrams_are_dead(descriptor);
    /* Once both ends are shut, only what was left unread in the other tells that it has gone. */
    struct pollfd kept = {descriptor->kept, 0, 0};
    int told = descriptor->shows & PS_READY_HANGUP ? POLLERR : POLLERR | POLLHUP;
    return poll(&kept, 1, 0) == 1 && kept.revents & told;
}

void descriptor_bury(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    descriptor->dead = true;
    stack->deaths = true;
    if (stack->sleep_until_us != 0)
        stack_wake(stack);
}

/* --- of one Stack ----------------------------------------------------------------------------- */

static struct descriptor **place(ps_stack *stack, int64_t handle)
{
    struct descriptor **link = &stack->descriptors[(uint64_t)handle % WAIT_BUCKETS];
    while (*link != NULL && (*link)->handle != handle)
        link = &(*link)->next;
    return link;
}

void descriptor_show(ps_stack *stack, int64_t handle, uint32_t mask)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor == NULL)
        return;
    descriptor->wanted = mask;
    descriptor->news |= (mask & PS_READY_NEWS) != 0;
    if (descriptor->is_pending)
        return;
    descriptor->is_pending = true;
    descriptor->pending_next = stack->pending;
    stack->pending = descriptor;
}

void descriptors_settle(ps_stack *stack)
{
    while (stack->pending != NULL) {
        struct descriptor *descriptor = stack->pending;
        stack->pending = descriptor->pending_next;
        descriptor->is_pending = false;
        readiness_show(descriptor);
    }
}

void descriptors_fail(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next)
            descriptor_show(stack, each->handle, PS_READY_ERROR | PS_READY_HANGUP);
    descriptors_settle(stack);
}

void descriptor_refresh(ps_stack *stack, int64_t handle)
{
    uint32_t mask;
    if (*place(stack, handle) != NULL &&
        stack->table->socket_ready(stack->engine, handle, &mask) == 0)
        descriptor_show(stack, handle, mask);
}

void descriptor_found_nothing(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor != NULL)
        descriptor->urgent_seen = true;
}

bool descriptor_waits_not(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = stack->descriptor_count > 0 ? *place(stack, handle) : NULL;
    if (descriptor == NULL)
        return false;
    int number = descriptor_pin(descriptor);
    bool result = number >= 0 && fcntl(number, F_GETFL) & O_NONBLOCK;
    descriptor_unpin(descriptor);
    return result;
}

/* One that stands for nothing yet. NULL: there is none to be had, and why. */
static struct descriptor *create(ps_stack *stack, uint32_t mask, bool datagrams, bool nonblocking,
                                 int *result)
{
    struct descriptor *made = calloc(1, sizeof *made);
    *result = -ENOMEM;
    if (made == NULL)
        return NULL;
    made->stack = stack;
    made->pinned = -1;
    made->datagrams = datagrams;
    *result = readiness_open(made, mask, nonblocking);
    if (*result == 0)
        return made;
    free(made);
    return NULL;
}

static void discard(struct descriptor *descriptor)
{
    close(descriptor->shown);
    if (descriptor->kept >= 0)
        close(descriptor->kept);
    free(descriptor);
}

static void enter(ps_stack *stack, int64_t handle, struct descriptor *descriptor)
{
    struct stat status;
    fstat(descriptor->shown, &status);
    descriptor->handle = handle;
    files_enter(descriptor, &status);
    *place(stack, handle) = descriptor;
    stack->descriptor_count++;
}

static int make(ps_stack *stack, int64_t handle, bool nonblocking)
{
    uint32_t mask;
    int64_t type;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    if (result == 0)
        result = stack->table->option_get(stack->engine, handle, PS_OPT_TYPE, &type);
    if (result < 0)
        return result;
    struct descriptor *made = create(stack, mask, type != PS_STREAM, nonblocking, &result);
    if (made == NULL)
        return result;
    enter(stack, handle, made);
    readiness_show(made);
    return made->shown;
}

static int descriptor_of(ps_stack *stack, int64_t handle, bool nonblocking)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor == NULL)
        return make(stack, handle, nonblocking);
    descriptor->shared |= !descriptor->is_private;
    int number = descriptor_pin(descriptor);
    int copy = number < 0 ? -1 : fcntl(number, F_DUPFD_CLOEXEC, 0);
    int error = number < 0 ? EBADF : errno;
    descriptor_unpin(descriptor);
    return copy < 0 ? -error : copy;
}

int ps_descriptor(ps_stack *stack, int64_t handle, bool nonblocking)
{
    if (stack->remote != NULL) {
        int number = channel_descriptor(stack, handle);
        if (number >= 0 && nonblocking)
            fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK);
        return number;
    }
    ENGINE_CALL(stack, descriptor_of(stack, handle, nonblocking));
}

int ps_descriptor_number(ps_stack *stack, int64_t handle)
{
    if (stack_lock(stack) < 0)
        return -1;
    struct descriptor *descriptor = *place(stack, handle);
    int number = descriptor == NULL || descriptor->is_private ? -1 : find_number(descriptor);
    stack_unlock(stack);
    return number;
}

static int lend(ps_stack *stack, int64_t handle)
{
    if (*place(stack, handle) == NULL) {
        int result = make(stack, handle, false);
        if (result < 0)
            return result;
        (*place(stack, handle))->is_private = true;
    }
    return descriptor_of(stack, handle, false);
}

int descriptor_lend(ps_stack *stack, int64_t handle)
{
    ENGINE_CALL(stack, lend(stack, handle));
}

static int64_t accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number)
{
    uint32_t mask;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    if (result < 0)
        return result;
    if (!(mask & PS_READY_READ)) /* it says why not */
        return stack->table->socket_accept(stack->engine, handle, remote);
    struct descriptor *made = create(stack, PS_READY_WRITE, false, false, &result);
    if (made == NULL)
        return result;
    int64_t accepted = stack->table->socket_accept(stack->engine, handle, remote);
    if (accepted < 0) {
        discard(made);
        return accepted;
    }
    enter(stack, accepted, made);
    descriptor_refresh(stack, accepted);
    descriptor_refresh(stack, handle);
    *number = made->shown;
    return accepted;
}

int64_t ps_accept_shown(ps_stack *stack, int64_t handle, struct ps_address *remote, int *number)
{
    if (stack->remote != NULL) {
        int64_t accepted = remote_accept(stack, handle, remote, 0);
        if (accepted >= 0)
            *number = channel_descriptor(stack, accepted);
        return accepted;
    }
    ENGINE_CALL(stack, accept_shown(stack, handle, remote, number));
}

void descriptor_watch(struct descriptor *descriptor)
{
#ifdef __linux__
    ps_stack *stack = descriptor->stack;
    if (descriptor->datagrams || descriptor->kept < 0 || descriptor->is_watched)
        return;
    if (stack->watcher < 0)
        stack->watcher = epoll_create1(EPOLL_CLOEXEC);
    /* By edges: an end that was shut down hangs for good. */
    struct epoll_event event = {.events = EPOLLET, .data.u64 = (uint64_t)descriptor->handle};
    if (stack->watcher < 0 ||
        epoll_ctl(stack->watcher, EPOLL_CTL_ADD, descriptor->kept, &event) != 0)
        return;
    descriptor->is_watched = true;
    stack->watched_count++;
    if (stack->sleep_until_us != 0)
        stack_wake(stack); /* who sleeps doesn't look there yet */
#else
    (void)descriptor;
#endif
}

static int use(ps_stack *stack, int64_t handle, int number, bool loose)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor == NULL || !is_ours(descriptor, number))
        return -EBADF;
    if (descriptor->is_private && descriptor->shown != number) {
        close(descriptor->shown); /* this one does as well */
        descriptor->is_private = false;
    }
    descriptor->shown = number;
    descriptor->shared = true;
    descriptor->lost = false;
    if (loose)
        descriptor->is_loose = true;
    if (descriptor->is_loose)
        descriptor_watch(descriptor);
    readiness_show(descriptor);
    return 0;
}

int ps_descriptor_use(ps_stack *stack, int64_t handle, int number, bool loose)
{
    if (stack->remote != NULL)
        return 0; /* only the owner does anything by it */
    int64_t result = stack_lock(stack);
    if (result < 0)
        return (int)result;
    result = use(stack, handle, number, loose);
    stack_unlock(stack);
    return (int)result;
}

/* Other processes hold the socket, and its readiness is still to be shown: by a number of ours, which
 * nobody comes across. */
static void hide(struct descriptor *descriptor, int number)
{
    int hidden = fcntl(number, F_DUPFD_CLOEXEC, 0);
    descriptor->is_private = true;
    descriptor->shown = hidden < 0 ? number : hidden;
    if (hidden >= 0)
        close(number);
}

bool descriptor_keep(ps_stack *stack, int64_t handle, int number)
{
    if (stack_lock(stack) < 0)
        return true;
    struct descriptor *descriptor = *place(stack, handle);
    bool owned = descriptor == NULL || descriptor->is_private || search(descriptor, number) >= 0;
    int copy = owned ? -1 : fcntl(number, F_DUPFD_CLOEXEC, 0);
    if (copy >= 0) {
        descriptor->shown = copy;
        descriptor->is_private = true;
        descriptor->lost = false;
    }
    stack_unlock(stack);
    return owned;
}

static int close_shared(struct descriptor *descriptor, int number)
{
    bool was_private = descriptor->is_private;
    if (was_private)
        close(number);
    int other = search(descriptor, was_private ? descriptor->shown : number);
    if (was_private)
        return other < 0;
    if (other < 0) {
        hide(descriptor, number);
        return 1;
    }
    descriptor->shown = other;
    descriptor->shared = true;
    close(number);
    return 0;
}

static int close_number(ps_stack *stack, int64_t handle, int number, bool elsewhere)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor == NULL || !is_ours(descriptor, number))
        return -EBADF;
    if (elsewhere || descriptor->is_private)
        return close_shared(descriptor, number);
    if (descriptor->datagrams)
        descriptor_name(descriptor);
    close(number);
    if (descriptor->shown == number)
        descriptor->shown = -1;
    bool last = descriptor->form == DESCRIPTOR_PAIRED ? descriptor_is_dead(descriptor)
                : descriptor->shared                  ? search(descriptor, -1) < 0
                                                      : true;
    if (last)
        return 1;
    descriptor->shared = descriptor->is_loose = true;
    descriptor_watch(descriptor);
    return 0;
}

/* Of a Stack that can't be entered any more, or is the parent process's. */
static void close_stray(const ps_stack *stack, int64_t handle, int number)
{
    ps_stack *owner;
    int64_t owned;
    if (ps_descriptor_owner(number, &owner, &owned) && owner == stack && owned == handle)
        close(number);
}

int ps_descriptor_close(ps_stack *stack, int64_t handle, int number)
{
    if (stack->remote != NULL)
        return channel_close_number(stack, handle, number);
    bool elsewhere = channel_is_held(stack, handle);
    int64_t result = stack_lock(stack);
    if (result == -EOWNERDEAD || result == -ENOTRECOVERABLE)
        close_stray(stack, handle, number);
    if (result < 0)
        return (int)result;
    result = close_number(stack, handle, number, elsewhere);
    stack_unlock(stack);
    return (int)result;
}

static void remove_at(ps_stack *stack, struct descriptor **link)
{
    struct descriptor *descriptor = *link;
    *link = descriptor->next;
    stack->descriptor_count--;
    if (descriptor->shows & PS_READY_READ)
        gate_note_look(stack, &descriptor->told);
    if (descriptor->is_watched && --stack->watched_count == 0) {
        close(stack->watcher);
        stack->watcher = -1;
    }
    for (struct descriptor **each = &stack->pending; *each != NULL; each = &(*each)->pending_next)
        if (*each == descriptor) {
            *each = descriptor->pending_next;
            break;
        }
    files_leave(descriptor);
    if (is_ours(descriptor, descriptor->shown))
        close(descriptor->shown);
    if (descriptor->kept >= 0)
        close(descriptor->kept);
    free(descriptor);
}

void descriptor_close(ps_stack *stack, int64_t handle)
{
    struct descriptor **link = place(stack, handle);
    if (*link != NULL)
        remove_at(stack, link);
}

int descriptor_note(ps_stack *stack, int64_t handle, int number)
{
    struct descriptor *made = calloc(1, sizeof *made);
    if (made == NULL)
        return -ENOMEM;
    made->stack = stack;
    made->shown = number;
    made->kept = made->pinned = -1;
    made->form = DESCRIPTOR_RESET;
    enter(stack, handle, made);
    return 0;
}

void descriptor_forget_all(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next) {
            if (each->is_private) /* the owner's alone */
                close(each->shown);
            each->is_private = each->is_watched = each->is_pending = false;
            each->shows = 0;
        }
    if (stack->watcher >= 0)
        close(stack->watcher);
    if (stack->joiner >= 0)
        close(stack->joiner);
    stack->watcher = stack->joiner = -1;
    stack->watched_count = stack->gate.unread = 0;
    stack->pending = NULL;
}

void descriptor_close_all(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        while (stack->descriptors[i] != NULL)
            remove_at(stack, &stack->descriptors[i]);
    if (stack->joiner >= 0)
        close(stack->joiner);
    stack->joiner = -1;
}

static void look_at_watched(ps_stack *stack)
{
#ifdef __linux__
    struct epoll_event events[MOST_DEATHS];
    int count = epoll_wait(stack->watcher, events, MOST_DEATHS, 0);
    for (int i = 0; i < count; i++) {
        struct descriptor *descriptor = *place(stack, (int64_t)events[i].data.u64);
        if (descriptor != NULL && descriptor_is_dead(descriptor))
            descriptor_bury(descriptor);
    }
#else
    (void)stack;
#endif
}

void descriptors_reap(ps_stack *stack)
{
    if (stack->watched_count > 0)
        look_at_watched(stack);
    if (!stack->deaths)
        return;
    stack->deaths = false;
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor **link = &stack->descriptors[i]; *link != NULL;) {
            int64_t handle = (*link)->handle;
            if (!(*link)->dead) {
                link = &(*link)->next;
                continue;
            }
            remove_at(stack, link);
            stack->table->socket_close(stack->engine, handle);
            stack_signal(stack, PS_EVENT_SOCKET, handle, UINT32_MAX);
        }
}
