// SPDX-License-Identifier: GPL-2.0
/*
 * Readiness: what poll(2) would return for a descriptor, with a call to the host whenever it may
 * have changed. As an epoll item, a watch lies in the file's queue of waiters; unlike one it isn't
 * released by the file, so it has to be forgotten before the descriptor is closed.
 */
#include <linux/errno.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <linux/xarray.h>
#include "border.h"
#include "loop.h"
#include "ready.h"

struct watch {
    poll_table table;
    wait_queue_entry_t entry;
    wait_queue_head_t *head; /* NULL: none */
    int fd;
};

static DEFINE_XARRAY(watches); /* by descriptor */

struct event {
    long fd;
    unsigned mask;
};

static void tell(void *argument)
{
    struct event *event = argument;

    anyk_host->event(anyk_host->user, event->fd, event->mask);
}

static int on_wake(wait_queue_entry_t *entry, unsigned mode, int flags, void *key)
{
    struct watch *watch = container_of(entry, struct watch, entry);
    struct event event = {watch->fd, key_to_poll(key)};

    if (key_to_poll(key) & POLLFREE) {
        /* The queue goes away before its file. */
        list_del_init(&entry->entry);
        watch->head = NULL;
        return 0;
    }
    anyk_on_host_stack(tell, &event);
    return 0;
}

static void wait_in(struct file *file, wait_queue_head_t *head, poll_table *table)
{
    struct watch *watch = container_of(table, struct watch, table);

    if (WARN_ON_ONCE(watch->head))
        return; /* sockets have one queue */
    watch->head = head;
    init_waitqueue_func_entry(&watch->entry, on_wake);
    add_wait_queue(head, &watch->entry);
}

void anyk_forget(unsigned fd)
{
    struct watch *watch = xa_erase(&watches, fd);

    if (!watch)
        return;
    if (watch->head)
        remove_wait_queue(watch->head, &watch->entry);
    kfree(watch);
}

static int watch(struct file *file, int fd)
{
    struct watch *watch = kzalloc(sizeof(*watch), GFP_KERNEL);
    int error;

    if (!watch)
        return -ENOMEM;
    watch->fd = fd;
    init_poll_funcptr(&watch->table, wait_in);
    watch->table._key = ~0;
    error = xa_insert(&watches, fd, watch, GFP_KERNEL);
    if (error) {
        kfree(watch);
        return error == -EBUSY ? -EEXIST : error;
    }
    return vfs_poll(file, &watch->table);
}

struct question {
    int fd;
    bool watch;
    long answer;
};

static void look(void *argument)
{
    struct question *question = argument;
    struct fd f = fdget(question->fd);

    if (!fd_file(f)) {
        question->answer = -EBADF;
        return;
    }
    question->answer =
        question->watch ? watch(fd_file(f), question->fd) : vfs_poll(fd_file(f), NULL);
    fdput(f);
}

long anyk_watch(int fd, unsigned mask)
{
    struct question question = {fd, true};

    anyk_call(look, &question);
    return question.answer;
}

unsigned anyk_ready(int fd)
{
    struct question question = {fd, false};

    anyk_call(look, &question);
    return question.answer;
}
