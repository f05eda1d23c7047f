/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_PTRACE_H
#define _ASM_ANYK_PTRACE_H
#include <uapi/asm/ptrace.h>
#ifndef __ASSEMBLER__
/* Nothing is interrupted where it has registers to save. */
struct pt_regs {
    unsigned long pc, sp;
};
#define user_mode(regs) 0
#define user_stack_pointer(regs) ((regs)->sp)
#define kernel_stack_pointer(regs) ((regs)->sp)
#define instruction_pointer(regs) ((regs)->pc)
#define instruction_pointer_set(regs, v) ((regs)->pc = (v))
#define profile_pc(regs) ((regs)->pc)
#define regs_return_value(regs) 0
#define arch_has_single_step() 0
#endif
#endif
