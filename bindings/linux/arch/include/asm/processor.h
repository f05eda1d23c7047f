/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_PROCESSOR_H
#define _ASM_ANYK_PROCESSOR_H
#include <asm/page.h>
#ifndef __ASSEMBLER__
#include <linux/compiler.h>
struct task_struct;
struct pt_regs;
struct thread_struct {
    void *sp; /* where anyk_swap left its callee-saved registers */
    int (*fn)(void *);
    void *argument;
};
#define INIT_THREAD \
    { \
        0 \
    }
#define cpu_relax() barrier()
#define TASK_SIZE (~0UL)
#define TASK_SIZE_MAX (~0UL)
#define STACK_TOP TASK_SIZE
#define STACK_TOP_MAX TASK_SIZE
#define TASK_UNMAPPED_BASE 0
#define KSTK_EIP(t) 0UL
#define KSTK_ESP(t) 0UL
#define task_pt_regs(t) ((struct pt_regs *)0)
static inline void start_thread(struct pt_regs *regs, unsigned long pc, unsigned long sp)
{
}
unsigned long __get_wchan(struct task_struct *p);
#endif
#endif
