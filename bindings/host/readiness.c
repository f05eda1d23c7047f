/*
 * A real descriptor for a socket, whose readiness is the socket's.
 *
 * It is one end of an AF_UNIX stream pair whose other end we keep. A byte from our end makes
 * it readable; bytes from its own end fill its small send buffer and make it unwritable. So
 * all four combinations can be had, and select, poll, epoll and kqueue see what they know.
 * It is made when fileno() is first asked for; a socket that is never polled pays nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "channel.h"

struct descriptor {
    int64_t handle;
    int shown, kept; /* the user's end, and ours */
    bool readable, writable;
    struct descriptor *next;
};

static struct descriptor **place(ps_stack *stack, int64_t handle)
{
    struct descriptor **link = &stack->descriptors[(uint64_t)handle % WAIT_BUCKETS];
    while (*link != NULL && (*link)->handle != handle)
        link = &(*link)->next;
    return link;
}

static void drain(int fd)
{
    char scratch[256];
    while (recv(fd, scratch, sizeof scratch, MSG_DONTWAIT) == sizeof scratch) {}
}

static void set_readable(ps_stack *stack, struct descriptor *descriptor, bool readable)
{
    if (descriptor->readable == readable)
        return;
    if (readable) {
        send(descriptor->kept, "", 1, MSG_DONTWAIT);
        stack->unread++;
    } else {
        drain(descriptor->shown);
        stack->unread--;
        gate_note_look(stack);
    }
    descriptor->readable = readable;
}

static void set_writable(struct descriptor *descriptor, bool writable)
{
    if (descriptor->writable == writable)
        return;
    if (writable)
        drain(descriptor->kept);
    else
        while (send(descriptor->shown, "", 1, MSG_DONTWAIT) > 0) {}
    descriptor->writable = writable;
}

static void show(ps_stack *stack, struct descriptor *descriptor, uint32_t mask)
{
    set_readable(stack, descriptor, mask & (PS_READY_READ | PS_READY_ERROR | PS_READY_HANGUP));
    set_writable(descriptor, mask & (PS_READY_WRITE | PS_READY_ERROR | PS_READY_HANGUP));
}

void descriptor_show(ps_stack *stack, int64_t handle, uint32_t mask)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor != NULL)
        show(stack, descriptor, mask);
}

void descriptor_refresh(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = *place(stack, handle);
    uint32_t mask;
    if (descriptor != NULL && stack->table->socket_ready(stack->engine, handle, &mask) == 0)
        show(stack, descriptor, mask);
}

static int open_pair(struct descriptor *descriptor)
{
    int ends[2], smallest = 1; /* brought up to the least by the kernel */
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest);
    }
    descriptor->shown = ends[0];
    descriptor->kept = ends[1];
    descriptor->writable = true;
    return 0;
}

static int descriptor_of(ps_stack *stack, int64_t handle)
{
    uint32_t mask;
    int result = stack->table->socket_ready(stack->engine, handle, &mask);
    if (result < 0)
        return result;
    struct descriptor **link = place(stack, handle);
    if (*link == NULL) {
        struct descriptor *made = calloc(1, sizeof *made);
        if (made == NULL)
            return -ENOMEM;
        made->handle = handle;
        result = open_pair(made);
        if (result < 0) {
            free(made);
            return result;
        }
        *link = made;
        stack->descriptor_count++;
    }
    show(stack, *link, mask);
    return (*link)->shown;
}

int ps_descriptor(ps_stack *stack, int64_t handle)
{
    if (stack->remote != NULL)
        return channel_descriptor(stack, handle);
    ENGINE_CALL(stack, descriptor_of(stack, handle));
}

static void remove_at(ps_stack *stack, struct descriptor **link)
{
    struct descriptor *descriptor = *link;
    *link = descriptor->next;
    stack->descriptor_count--;
    stack->unread -= descriptor->readable;
    close(descriptor->shown);
    close(descriptor->kept);
    free(descriptor);
}

void descriptor_close(ps_stack *stack, int64_t handle)
{
    struct descriptor **link = place(stack, handle);
    if (*link != NULL)
        remove_at(stack, link);
}

static int hide(ps_stack *stack, int64_t handle)
{
    struct descriptor *descriptor = *place(stack, handle);
    if (descriptor == NULL)
        return 0;
    int hidden = fcntl(descriptor->shown, F_DUPFD_CLOEXEC, 0);
    if (hidden < 0)
        return -errno;
    close(descriptor->shown);
    descriptor->shown = hidden;
    return 0;
}

void descriptor_hide(ps_stack *stack, int64_t handle)
{
    if (stack_lock(stack) < 0)
        return;
    hide(stack, handle);
    stack_unlock(stack);
}

void descriptor_forget_all(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next)
            close(each->kept);
}

static int64_t shown_socket(ps_stack *stack, uint64_t inode)
{
    struct stat status;
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        for (struct descriptor *each = stack->descriptors[i]; each != NULL; each = each->next)
            if (fstat(each->shown, &status) == 0 && status.st_ino == inode)
                return each->handle;
    return -ENOENT;
}

int64_t ps_shown_socket(ps_stack *stack, uint64_t inode)
{
    ENGINE_CALL(stack, shown_socket(stack, inode));
}

void descriptor_close_all(ps_stack *stack)
{
    for (size_t i = 0; i < WAIT_BUCKETS; i++)
        while (stack->descriptors[i] != NULL)
            remove_at(stack, &stack->descriptors[i]);
}
