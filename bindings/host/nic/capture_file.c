/*
 * The files of captures: one buffer each, which belongs to the process that filled it.
 *
 * Not stdio: what a parent has buffered, a child that ends by exit(3) would write once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/nic_api.h"
#include "nic/capture_file.h"

enum { ROOM = 65536 };

struct capture_file {
    pthread_mutex_t lock; /* guards all but `previous` and `next` */
    int descriptor;
    int error; /* the first failure to write */
    size_t used;
    struct capture_file *previous, *next;
    uint8_t buffer[ROOM];
};

/* Taken before any file's own lock. */
static pthread_mutex_t list_lock = PTHREAD_MUTEX_INITIALIZER;
static struct capture_file *files;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void write_all(struct capture_file *file, const uint8_t *data, size_t size)
{
    while (size > 0 && file->error == 0) {
        ssize_t written = write(file->descriptor, data, size);
        if (written < 0 && errno != EINTR)
            file->error = errno;
        if (written > 0) {
            data += written;
            size -= (size_t)written;
        }
    }
}

int capture_file_flush(struct capture_file *file)
{
    write_all(file, file->buffer, file->used);
    file->used = 0;
    return -file->error;
}

void capture_file_put(struct capture_file *file, const void *data, size_t size)
{
    if (size > ROOM - file->used)
        capture_file_flush(file);
    if (size > ROOM) {
        write_all(file, data, size);
        return;
    }
    memcpy(file->buffer + file->used, data, size);
    file->used += size;
}

void capture_file_lock(struct capture_file *file)
{
    pthread_mutex_lock(&file->lock);
}

void capture_file_unlock(struct capture_file *file)
{
    pthread_mutex_unlock(&file->lock);
}

void ps_captures_flush(void)
{
    pthread_mutex_lock(&list_lock);
    for (struct capture_file *each = files; each != NULL; each = each->next) {
        capture_file_lock(each);
        capture_file_flush(each);
        capture_file_unlock(each);
    }
    pthread_mutex_unlock(&list_lock);
}

static void before_fork(void)
{
    pthread_mutex_lock(&list_lock);
    for (struct capture_file *each = files; each != NULL; each = each->next)
        capture_file_lock(each);
}

static void after_fork(bool is_child)
{
    for (struct capture_file *each = files; each != NULL; each = each->next) {
        if (is_child)
            each->used = 0; /* the parent writes it */
        capture_file_unlock(each);
    }
    pthread_mutex_unlock(&list_lock);
}

static void after_fork_in_parent(void)
{
    after_fork(false);
}

static void after_fork_in_child(void)
{
    after_fork(true);
}

static void watch(void)
{
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    atexit(ps_captures_flush); /* of a program that closes nothing */
}

void capture_files_watch_forks(void)
{
    pthread_once(&once, watch);
}

static void enlist(struct capture_file *file)
{
    capture_files_watch_forks();
    pthread_mutex_lock(&list_lock);
    file->next = files;
    if (files != NULL)
        files->previous = file;
    files = file;
    pthread_mutex_unlock(&list_lock);
}

static void strike_off(struct capture_file *file)
{
    pthread_mutex_lock(&list_lock);
    if (file->previous != NULL)
        file->previous->next = file->next;
    else
        files = file->next;
    if (file->next != NULL)
        file->next->previous = file->previous;
    pthread_mutex_unlock(&list_lock);
}

struct capture_file *capture_file_open(const char *path, int *error)
{
    struct capture_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        *error = ENOMEM;
        return NULL;
    }
    file->descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (file->descriptor < 0) {
        *error = errno;
        free(file);
        return NULL;
    }
    pthread_mutex_init(&file->lock, NULL);
    enlist(file);
    return file;
}

void capture_file_close(struct capture_file *file)
{
    strike_off(file);
    capture_file_flush(file); /* an error was told by the flush before, if anyone asked */
    close(file->descriptor);
    pthread_mutex_destroy(&file->lock);
    free(file);
}
