/*
 * Which files stand for sockets, of all Stacks of this process.
 */
#define _GNU_SOURCE
#include <unistd.h>

#include "stack/descriptor.h"
#include "stack/descriptors.h"

#define BUCKETS 1024 /* a power of two */

static pthread_mutex_t files_lock = PTHREAD_MUTEX_INITIALIZER;
static struct descriptor *files[BUCKETS];
static atomic_size_t file_count;

static struct descriptor **place(dev_t device, ino_t inode)
{
    struct descriptor **link = &files[(uint64_t)inode % BUCKETS];
    while (*link != NULL && ((*link)->inode != inode || (*link)->device != device))
        link = &(*link)->file_next;
    return link;
}

static void put(struct descriptor *descriptor, const struct stat *status)
{
    descriptor->device = status->st_dev;
    descriptor->inode = status->st_ino;
    struct descriptor **head = &files[(uint64_t)status->st_ino % BUCKETS];
    descriptor->file_next = *head;
    *head = descriptor;
    file_count++;
}

static void take(const struct descriptor *descriptor)
{
    struct descriptor **link = &files[(uint64_t)descriptor->inode % BUCKETS];
    while (*link != descriptor)
        link = &(*link)->file_next;
    *link = descriptor->file_next;
    file_count--;
}

void files_enter(struct descriptor *descriptor, const struct stat *status)
{
    pthread_mutex_lock(&files_lock);
    put(descriptor, status);
    pthread_mutex_unlock(&files_lock);
}

void files_change(struct descriptor *descriptor, const struct stat *status)
{
    pthread_mutex_lock(&files_lock);
    take(descriptor);
    put(descriptor, status);
    pthread_mutex_unlock(&files_lock);
}

void files_leave(const struct descriptor *descriptor)
{
    pthread_mutex_lock(&files_lock);
    take(descriptor);
    pthread_mutex_unlock(&files_lock);
}

int ps_descriptor_owner(int number, ps_stack **stack, int64_t *handle)
{
    struct stat status;
    if (file_count == 0 || number < 0 || fstat(number, &status) != 0 || !S_ISSOCK(status.st_mode))
        return 0;
    pthread_mutex_lock(&files_lock);
    const struct descriptor *found = *place(status.st_dev, status.st_ino);
    bool is_one = found != NULL;
    if (is_one && stack != NULL) {
        *stack = found->stack;
        *handle = found->handle;
    }
    pthread_mutex_unlock(&files_lock);
    return is_one;
}

int64_t files_socket(const ps_stack *stack, int number)
{
    ps_stack *owner;
    int64_t handle;
    return ps_descriptor_owner(number, &owner, &handle) && owner == stack ? handle : -ENOENT;
}

void files_before_fork(void)
{
    pthread_mutex_lock(&files_lock);
}

void files_after_fork(bool is_child)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct descriptor *each = files[i]; each != NULL; each = each->file_next) {
            each->copied = true;
            /* Our ends are the parent's: it couldn't close them for good while a child has them. */
            if (is_child && each->kept >= 0) {
                close(each->kept);
                each->kept = -1;
            }
        }
    pthread_mutex_unlock(&files_lock);
}
