/*
 * Starting a descriptor afresh: an AF_UNIX stream connects only once and shuts down for good, while
 * a TCP socket can connect again after a refusal.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/epoll.h>
#endif

#include "stack/descriptor.h"

#define MOST_ATTEMPTS 16

/* --- another in its place --------------------------------------------------------------------- */

#ifdef __linux__
/* epoll watches files, not numbers: in each instance of this process the new file replaces the old
 * one. fdinfo lists what an instance watches: proc(5). */
struct registration {
    int epoll;
    struct epoll_event event;
    struct registration *next;
};

static struct registration *read_registration(int epoll, const struct descriptor *descriptor)
{
    char path[64], line[256];
    struct registration *found = NULL;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll);
    FILE *file = fopen(path, "re");
    while (file != NULL && found == NULL && fgets(line, sizeof line, file) != NULL) {
        int number;
        unsigned events;
        unsigned long long data, inode;
        if (sscanf(line, "tfd: %d events: %x data: %llx pos:%*d ino:%llx", &number, &events, &data,
                   &inode) != 4 ||
            number != descriptor->shown || inode != descriptor->inode)
            continue;
        found = calloc(1, sizeof *found);
        if (found != NULL)
            *found = (struct registration){epoll, {.events = events, .data.u64 = data}, NULL};
    }
    if (file != NULL)
        fclose(file);
    return found;
}

static struct registration *read_registrations(const struct descriptor *descriptor)
{
    struct registration *all = NULL;
    DIR *listing = opendir("/proc/self/fd");
    for (const struct dirent *entry; listing != NULL && (entry = readdir(listing)) != NULL;) {
        char target[32];
        ssize_t size = readlinkat(dirfd(listing), entry->d_name, target, sizeof target - 1);
        if (size <= 0)
            continue;
        target[size] = '\0';
        struct registration *found = strcmp(target, "anon_inode:[eventpoll]") == 0
                                         ? read_registration(atoi(entry->d_name), descriptor)
                                         : NULL;
        if (found != NULL) {
            found->next = all;
            all = found;
        }
    }
    if (listing != NULL)
        closedir(listing);
    return all;
}

static void register_again(struct registration *all, int number)
{
    for (struct registration *next; all != NULL; all = next) {
        next = all->next;
        epoll_ctl(all->epoll, EPOLL_CTL_ADD, number, &all->event);
        free(all);
    }
}
#endif

static bool replace(struct descriptor *descriptor, int fresh)
{
    int number = descriptor->shown, flags = fcntl(number, F_GETFL);
    bool closes = fcntl(number, F_GETFD) & FD_CLOEXEC;
    fcntl(fresh, F_SETFL, flags);
#ifdef __linux__
    struct registration *registrations = read_registrations(descriptor);
#endif
    /* A thread asleep in poll holds the old one, and must look again. */
    if (descriptor->kept >= 0)
        shutdown(descriptor->kept, SHUT_RDWR);
    bool done = dup2(fresh, number) == number;
    if (done && closes)
        fcntl(number, F_SETFD, FD_CLOEXEC);
#ifdef __linux__
    register_again(registrations, number);
#endif
    return done;
}

bool renewal_put(struct descriptor *descriptor, int fresh)
{
    struct stat status;
    /* Where others' copies are is unknown. */
    bool done = !descriptor->shared && !descriptor->copied && descriptor_pin(descriptor) >= 0 &&
                fstat(fresh, &status) == 0 && replace(descriptor, fresh);
    descriptor_unpin(descriptor);
    if (done)
        files_change(descriptor, &status);
    return done;
}

bool renewal_make(struct descriptor *descriptor)
{
    int fresh = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fresh < 0)
        return false;
    descriptor_prepare(fresh);
    bool done = renewal_put(descriptor, fresh);
    close(fresh);
    if (!done)
        return false;
    if (descriptor->kept >= 0)
        close(descriptor->kept);
    descriptor->kept = -1;
    descriptor->form = DESCRIPTOR_ALONE;
    descriptor->shows = PS_READY_WRITE | PS_READY_HANGUP;
    return true;
}

/* --- connected at last ------------------------------------------------------------------------ */

/* By a listener of ours with a secret name; its peers are checked all the same. */
static int open_listener(ps_stack *stack)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t size = sizeof name;
    if (stack->joiner >= 0)
        return stack->joiner;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
    if (bind(fd, (struct sockaddr *)&name, sizeof name.sun_family) == 0 &&
        getsockname(fd, (struct sockaddr *)&name, &size) == 0 && listen(fd, 8) == 0) {
        stack->joiner_name = name;
        stack->joiner_name_size = size;
        return stack->joiner = fd;
    }
    close(fd);
    return -1;
}

static bool is_from_here(int fd)
{
#ifdef __linux__
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid == getpid();
#else
    (void)fd;
    return false;
#endif
}

static int accept_own(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0 || is_from_here(fd))
            return fd;
        close(fd);
    }
}

/* The shown end may be one that waits, and the listener's queue full of strangers. */
static bool connect_briefly(struct descriptor *descriptor, int fd)
{
    const ps_stack *stack = descriptor->stack;
    for (int i = 0; i < MOST_ATTEMPTS; i++) {
        if (connect(fd, (const struct sockaddr *)&stack->joiner_name, stack->joiner_name_size) == 0)
            return true;
        int stranger = errno == EAGAIN ? accept(stack->joiner, NULL, NULL) : -1;
        if (stranger < 0)
            return false;
        close(stranger);
    }
    return false;
}

bool renewal_join(struct descriptor *descriptor)
{
    ps_stack *stack = descriptor->stack;
    int listener = open_listener(stack), fd = descriptor_pin(descriptor);
    if (listener < 0 || fd < 0)
        return false;
    /* The connection has to be accepted: is a number left for it? */
    int reserve = fcntl(listener, F_DUPFD_CLOEXEC, 0);
    if (reserve < 0)
        return false;
    struct timeval brief = {0, 1000}, for_ever = {0, 0};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief);
    bool done = connect_briefly(descriptor, fd);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &for_ever, sizeof for_ever);
    close(reserve);
    if (!done)
        return false;
    descriptor->kept = accept_own(listener);
    descriptor->form = DESCRIPTOR_PAIRED;
    descriptor->shows = PS_READY_WRITE;
    if (descriptor->kept >= 0) {
        descriptor_prepare(descriptor->kept);
        if (descriptor->is_loose)
            descriptor_watch(descriptor);
        return true;
    }
    /* Another thread has taken it. The shown end is reset with the listener. */
    close(listener);
    stack->joiner = -1;
    descriptor->form = DESCRIPTOR_RESET;
    descriptor->shows |= PS_READY_READ | PS_READY_HANGUP | PS_READY_ENDED | PS_READY_ERROR;
    return false;
}
