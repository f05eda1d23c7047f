// SPDX-License-Identifier: GPL-2.0
/* System calls, by the generic numbers. */
#include <linux/errno.h>
#include <linux/syscalls.h>
#include "border.h"
#include "loop.h"
#include "ready.h"

/* Calls on a user-space process: its memory, its stack and the like. */
#define sys_mmap sys_ni_syscall
#define sys_rt_sigreturn sys_ni_syscall
#define sys_clone sys_ni_syscall
/* Of the two ways to stat a file the kernel builds one on 64 bits. */
#define sys_newfstat sys_ni_syscall
#define sys_newfstatat sys_ni_syscall

typedef long (*entry)(unsigned long, unsigned long, unsigned long, unsigned long, unsigned long,
                      unsigned long);

#undef __SYSCALL
#define __SYSCALL(number, name) [number] = (entry)(void *)name,
#define __SYSCALL_WITH_COMPAT(number, name, compat) __SYSCALL(number, name)

static const entry entries[__NR_syscalls] = {
    [0 ... __NR_syscalls - 1] = (entry)(void *)sys_ni_syscall,
#include <asm/syscall_table_64.h>
};

struct call {
    unsigned long number, arguments[6];
    long result;
};

static void call(void *argument)
{
    struct call *call = argument;
    const unsigned long *a = call->arguments;

    if (call->number == __NR_close)
        anyk_forget(a[0]);
    call->result = entries[call->number](a[0], a[1], a[2], a[3], a[4], a[5]);
}

long anyk_syscall(long number, unsigned long a, unsigned long b, unsigned long c, unsigned long d,
                  unsigned long e, unsigned long f)
{
    struct call wanted = {number, {a, b, c, d, e, f}};

    if (wanted.number >= __NR_syscalls)
        return -ENOSYS;
    anyk_call(call, &wanted);
    return wanted.result;
}
