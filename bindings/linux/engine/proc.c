// SPDX-License-Identifier: GPL-2.0
/* Files of proc(5). */
#include <fcntl.h>
#include <string.h>
#include "engine/proc.h"
#include "engine/system_call.h"

int proc_write(const char *path, const char *text)
{
    long fd = CALL(NR_openat, AT_FDCWD, path, O_WRONLY, 0);
    if (fd < 0)
        return (int)fd;
    long result = CALL(NR_write, fd, text, strlen(text));
    CALL(NR_close, fd);
    return result < 0 ? (int)result : 0;
}

int proc_read_open(long fd, char *out, size_t room)
{
    size_t size = 0;
    long result;
    do {
        result = CALL(NR_read, fd, out + size, room - 1 - size);
        size += result > 0 ? (size_t)result : 0;
    } while (result > 0 && size < room - 1);
    out[size] = 0;
    return result < 0 ? (int)result : (int)size;
}

int proc_read(const char *path, char *out, size_t room)
{
    long fd = CALL(NR_openat, AT_FDCWD, path, O_RDONLY, 0);
    if (fd < 0) {
        out[0] = 0;
        return (int)fd;
    }
    int result = proc_read_open(fd, out, room);
    CALL(NR_close, fd);
    return result;
}
