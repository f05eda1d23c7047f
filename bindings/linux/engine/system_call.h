// SPDX-License-Identifier: GPL-2.0
/* System calls of the kernel in the image, by the generic numbers that all new architectures have.
 */
#ifndef PYSTACK_LINUX_SYSTEM_CALL_H
#define PYSTACK_LINUX_SYSTEM_CALL_H

#include "asm/anyk.h"

enum {
    NR_ioctl = 29,
    NR_mkdirat = 34,
    NR_mount = 40,
    NR_openat = 56,
    NR_close = 57,
    NR_getdents64 = 61,
    NR_lseek = 62,
    NR_read = 63,
    NR_write = 64,
    NR_socket = 198,
    NR_bind = 200,
    NR_listen = 201,
    NR_connect = 203,
    NR_getsockname = 204,
    NR_getpeername = 205,
    NR_sendto = 206,
    NR_recvfrom = 207,
    NR_setsockopt = 208,
    NR_getsockopt = 209,
    NR_shutdown = 210,
    NR_sendmsg = 211,
    NR_recvmsg = 212,
    NR_accept4 = 242,
    NR_clock_gettime = 113,
    NR_statx = 291
};
#define PICK(_1, _2, _3, _4, _5, _6, name, ...) name
#define C1(n, a) anyk_syscall(n, (unsigned long)(a), 0, 0, 0, 0, 0)
#define C2(n, a, b) anyk_syscall(n, (unsigned long)(a), (unsigned long)(b), 0, 0, 0, 0)
#define C3(n, a, b, c) \
    anyk_syscall(n, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), 0, 0, 0)
#define C4(n, a, b, c, d) \
    anyk_syscall(n, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), \
                 (unsigned long)(d), 0, 0)
#define C5(n, a, b, c, d, e) \
    anyk_syscall(n, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), \
                 (unsigned long)(d), (unsigned long)(e), 0)
#define C6(n, a, b, c, d, e, f) \
    anyk_syscall(n, (unsigned long)(a), (unsigned long)(b), (unsigned long)(c), \
                 (unsigned long)(d), (unsigned long)(e), (unsigned long)(f))
#define CALL(n, ...) PICK(__VA_ARGS__, C6, C5, C4, C3, C2, C1)(n, __VA_ARGS__)
#endif
