/*
 * A capture's file: buffered, and complete at the end of the process, but for SIGKILL and crashes.
 */
#ifndef PYSTACK_HOST_NIC_CAPTURE_FILE_H
#define PYSTACK_HOST_NIC_CAPTURE_FILE_H

#include <stddef.h>

struct capture_file;

/* Truncates the file. NULL: not opened, and *error says why. */
struct capture_file *capture_file_open(const char *path, int *error);
/* Writes what is buffered, and closes. */
void capture_file_close(struct capture_file *file);

/* A record is put under the lock, for the driver writes and anyone may flush. */
void capture_file_lock(struct capture_file *file);
void capture_file_unlock(struct capture_file *file);
void capture_file_put(struct capture_file *file, const void *data, size_t size);
/* Under the lock. The first error to write, as -errno, for good; nothing is written after it. */
int capture_file_flush(struct capture_file *file);

/*
 * To be called before any other handler of forks is registered whose locks are held while a
 * capture is used: the handler here then takes its locks after those.
 */
void capture_files_watch_forks(void);

#endif
