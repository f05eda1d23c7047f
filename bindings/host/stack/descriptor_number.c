/*
 * The numbers of a descriptor, and that the last of them is closed.
 *
 * A number is the user's, to be closed, copied, sent and inherited as any other; so nothing is done
 * by one before the file behind it is seen to be ours. Where others than one object of Python's may
 * close it, even in between, it is done by a copy made for the moment. When the last number is
 * closed, in whichever process, our end hears of it, and the engine's socket is closed
 * (descriptor.c).
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

#include "stack/descriptor.h"
#include "stack/wake.h"

void descriptor_prepare(int fd)
{
    int smallest = 1; /* brought up to the least by the kernel */
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
}

bool descriptor_has(const struct descriptor *descriptor, int number)
{
    struct stat status;
    return number >= 0 && fstat(number, &status) == 0 && status.st_ino == descriptor->inode &&
           status.st_dev == descriptor->device;
}

int descriptor_search(const struct descriptor *descriptor, int except)
{
    DIR *listing = opendir("/proc/self/fd");
    if (listing == NULL)
        return -1;
    int found = -1;
    for (const struct dirent *entry; found < 0 && (entry = readdir(listing)) != NULL;) {
        int number = atoi(entry->d_name);
        bool is_other = entry->d_name[0] != '.' && number != dirfd(listing) && number != except;
        if (is_other && descriptor_has(descriptor, number))
            found = number;
    }
    closedir(listing);
    return found;
}

int descriptor_number(struct descriptor *descriptor)
{
    if (descriptor_has(descriptor, descriptor->shown))
        return descriptor->shown;
    if (descriptor->lost)
        return -1;
    descriptor->shared = true;
    descriptor->shown = descriptor_search(descriptor, -1);
    descriptor->lost = descriptor->shown < 0;
    if (descriptor->lost && descriptor_is_dead(descriptor))
        descriptor_bury(descriptor);
    return descriptor->shown;
}

int descriptor_pin(struct descriptor *descriptor)
{
    if (descriptor->pinned >= 0)
        return descriptor->pinned;
    int number = descriptor_number(descriptor);
    if (number < 0 || !descriptor->shared)
        return descriptor->pinned = number;
    int copy = fcntl(number, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return -1;
    if (descriptor_has(descriptor, copy))
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
        stack_wake(stack); /* a sleeping driver doesn't watch it yet */
#else
    (void)descriptor;
#endif
}
