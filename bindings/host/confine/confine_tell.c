/*
 * The teller: a process beside a confined program that answers each refused call with EACCES, and
 * says so on standard error once for each process.
 *
 * It is a separate process, not a thread, because it must outlast the program's exec(2) and
 * its end while children go on; and because a descriptor that a forked child inherits from a
 * thread's process would leave that child waiting for an answer from nobody. It is nobody's child
 * whom the program could wait for. It ends when the last confined process has; should it be
 * killed, what it would have answered fails with ENOSYS.
 */
#define _GNU_SOURCE
#include "api/confine.h"

#ifdef __linux__

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __NR_pidfd_open
#define __NR_pidfd_open 434
#endif
#ifndef __NR_close_range
#define __NR_close_range 436
#endif

#define REMEMBERED 256   /* processes that were told of */
#define MOST_WAIT_MS 200 /* for a reader of standard error */
#define CHANNEL 3        /* its descriptors, besides standard error */
#define PROGRAM 4
#define LISTENER 5

static pid_t told[REMEMBERED];
static unsigned told_next;
static pid_t program; /* whom it stands beside; 0: that has ended */

static bool was_told(pid_t process)
{
    for (unsigned i = 0; i < REMEMBERED; i++)
        if (told[i] == process)
            return true;
    told[told_next++ % REMEMBERED] = process;
    return false;
}

/* The first bytes of a file of a process, as text; empty if there are none. */
static void read_about(pid_t process, const char *name, char *text, size_t room)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)process, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, room - 1);
    text[got < 0 ? 0 : got] = '\0';
    if (fd >= 0)
        close(fd);
}

/* A thread's process, or the thread itself if that can't be known. */
static pid_t process_of(pid_t thread)
{
    char status[512];
    read_about(thread, "status", status, sizeof status);
    const char *line = strstr(status, "\nTgid:");
    return line != NULL ? (pid_t)atoi(line + 6) : thread;
}

static const char *kind_of(const struct seccomp_data *data)
{
    switch ((int)data->args[0]) {
    case AF_INET:
        return "an IPv4 socket";
    case AF_INET6:
        return "an IPv6 socket";
    case AF_PACKET:
        return "a packet socket";
    default:
        return "a network socket";
    }
}

static void write_line(const char *remedy, pid_t process, const struct seccomp_data *asked)
{
    char name[32];
    read_about(process, "comm", name, sizeof name);
    name[strcspn(name, "\n")] = '\0';
    for (char *at = name; *at != '\0'; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?'; /* a terminal may obey it */
    char line[512];
    int size =
        snprintf(line, sizeof line,
                 "pystack: %s (pid %d%s) asked the kernel for %s: refused (EACCES), for it "
                 "is not the Stack's. %s\n",
                 name, (int)process, process == program ? ", C code in the program itself" : "",
                 kind_of(asked), remedy);
    if (size >= (int)sizeof line)
        size = sizeof line - 1;
    if (send(STDERR_FILENO, line, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
        errno == ENOTSOCK && write(STDERR_FILENO, line, (size_t)size) < 0)
        return; /* whom to tell? */
}

static bool has_reader(int timeout_ms)
{
    struct pollfd reader = {STDERR_FILENO, POLLOUT, 0};
    return poll(&reader, 1, timeout_ms) == 1 && (reader.revents & POLLOUT) != 0;
}

/* Tells first, so that the program's own words come after; but does not wait for a reader of
 * standard error, and a line that isn't taken in time is lost. */
static void refuse(const char *remedy, struct seccomp_notif *asked,
                   struct seccomp_notif_resp *answer)
{
    bool probe = asked->data.args[1] == PS_PROBE_TYPE && asked->data.args[2] == PS_PROBE_PROTOCOL;
    pid_t process = process_of((pid_t)asked->pid);
    bool untold = !probe && program != 0 && !was_told(process);
    if (untold && has_reader(0)) {
        write_line(remedy, process, &asked->data);
        untold = false;
    }
    answer->id = asked->id;
    answer->error = probe ? -EALREADY : -EACCES;
    answer->val = 0;
    answer->flags = 0;
    if (ioctl(LISTENER, SECCOMP_IOCTL_NOTIF_SEND, answer) == 0 && untold &&
        has_reader(MOST_WAIT_MS))
        write_line(remedy, process, &asked->data);
}

/* Somebody else may fill a pipe between the look at it and the write. How a descriptor waits is
 * shared with the program; one of our own has to be opened anew, which for a file would not do. */
static void do_not_wait_for_readers(void)
{
    struct stat kind;
    if (fstat(STDERR_FILENO, &kind) != 0 || !S_ISFIFO(kind.st_mode))
        return;
    int fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        dup2(fd, STDERR_FILENO);
        close(fd);
    }
}

static void answer_all(const char *remedy)
{
    struct seccomp_notif_sizes sizes;
    if (syscall(__NR_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes) != 0)
        return;
    /* The kernel may know more fields than this file does. */
    static union {
        uint64_t aligned;
        uint8_t bytes[1024];
        struct seccomp_notif notice;
    } asked;
    static union {
        uint64_t aligned;
        uint8_t bytes[1024];
        struct seccomp_notif_resp answer;
    } answer;
    if (sizes.seccomp_notif > sizeof asked || sizes.seccomp_notif_resp > sizeof answer)
        return;
    struct pollfd watched[] = {{LISTENER, POLLIN, 0}, {PROGRAM, POLLIN, 0}};
    for (;;) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            return;
        if (watched[0].revents & POLLIN) {
            memset(&asked, 0, sizeof asked);
            memset(&answer, 0, sizeof answer);
            if (ioctl(LISTENER, SECCOMP_IOCTL_NOTIF_RECV, &asked) == 0)
                refuse(remedy, &asked.notice, &answer.answer);
            else if (errno != ENOENT && errno != EINTR)
                return;
        } else if (watched[0].revents != 0) {
            return; /* none is left */
        }
        if (watched[1].revents != 0) {
            /* Readers of the program's output must find its end there. */
            watched[1].fd = -1;
            program = 0;
            close(STDERR_FILENO);
        }
    }
}

static int take_listener(void)
{
    char byte;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(CHANNEL, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    struct cmsghdr *header = got > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (header == NULL || header->cmsg_type != SCM_RIGHTS)
        return -1; /* there was no filter after all */
    int listener;
    memcpy(&listener, CMSG_DATA(header), sizeof listener);
    return listener;
}

/* In the child of a process that may have threads: system calls alone. */
static _Noreturn void tell(const char *remedy, int channel, int watched)
{
    setsid();
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    /* Away from where they are to be, first. */
    channel = fcntl(channel, F_DUPFD, LISTENER + 1);
    watched = fcntl(watched, F_DUPFD, LISTENER + 1);
    if (dup2(channel, CHANNEL) < 0 || dup2(watched, PROGRAM) < 0 ||
        syscall(__NR_close_range, LISTENER, ~0u, 0) != 0 || chdir("/") != 0)
        _exit(1);
    close(STDIN_FILENO);
    close(STDOUT_FILENO);
    do_not_wait_for_readers();
    prctl(PR_SET_NAME, "pystack-tell");
    if (write(CHANNEL, "", 1) != 1)
        _exit(1);
    int listener = take_listener();
    if (listener < 0 || dup2(listener, LISTENER) < 0)
        _exit(1);
    close(listener);
    close(CHANNEL);
    answer_all(remedy);
    _exit(0);
}

/* As fork(2), without the C library's handlers; and the end of such a child is told by no signal,
 * and found by no wait(2) but with __WCLONE. */
static pid_t fork_quietly(void)
{
    return (pid_t)syscall(__NR_clone, 0, 0, 0, 0, 0);
}

/* Whether orphans become this process's children. */
static bool takes_orphans(void)
{
    int subreaper = 0;
    return getpid() == 1 || (prctl(PR_GET_CHILD_SUBREAPER, &subreaper) == 0 && subreaper != 0);
}

int ps_start_teller(const char *remedy, int *channel)
{
    int ends[2];
    program = getpid();
    int watched = (int)syscall(__NR_pidfd_open, program, 0);
    if (watched < 0)
        return -errno;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        int error = -errno;
        close(watched);
        return error;
    }
    bool stays = takes_orphans(); /* and then no parent waits for it */
    pid_t child = fork_quietly();
    if (child == 0) {
        if (stays || fork_quietly() == 0)
            tell(remedy, ends[1], watched);
        _exit(0);
    }
    close(watched);
    close(ends[1]);
    while (!stays && child > 0 && waitpid(child, NULL, __WCLONE) < 0 && errno == EINTR)
        ;
    char byte;
    ssize_t got; /* nothing, if it could not be started */
    while ((got = read(ends[0], &byte, 1)) < 0 && errno == EINTR)
        ;
    if (got != 1) {
        close(ends[0]);
        return -EIO;
    }
    *channel = ends[0];
    return 0;
}

int ps_hand_over(int channel, int listener)
{
    char byte = 0;
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec piece = {&byte, 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &listener, sizeof listener);
    ssize_t sent;
    do
        sent = sendmsg(channel, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    int error = sent < 0 ? -errno : 0;
    close(channel);
    close(listener);
    return error;
}

#endif
