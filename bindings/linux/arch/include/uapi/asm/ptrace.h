/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
#ifndef _UAPI_ASM_ANYK_PTRACE_H
#define _UAPI_ASM_ANYK_PTRACE_H
struct user_regs_struct {
    unsigned long pc, sp;
};
#endif
