// SPDX-License-Identifier: GPL-2.0
/* Files of proc(5). */
#ifndef PYSTACK_LINUX_PROC_H
#define PYSTACK_LINUX_PROC_H

#include <stddef.h>

int proc_write(const char *path, const char *text);
/* The bytes read, with a terminator behind; or a negative errno. */
int proc_read(const char *path, char *out, size_t room);
/* The same of a descriptor of the kernel's. */
int proc_read_open(long fd, char *out, size_t room);

#endif
