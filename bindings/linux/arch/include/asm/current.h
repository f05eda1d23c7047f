/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_CURRENT_H
#define _ASM_ANYK_CURRENT_H
#ifndef __ASSEMBLER__
struct task_struct;
extern struct task_struct *anyk_current;
#define get_current() (anyk_current)
#define current get_current()
#endif
#endif
