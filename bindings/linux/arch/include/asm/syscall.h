/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_SYSCALL_H
#define _ASM_ANYK_SYSCALL_H
#include <uapi/linux/audit.h>
/* For audit, which is not built. */
static inline int syscall_get_arch(struct task_struct *task)
{
    return 0;
}
#endif
