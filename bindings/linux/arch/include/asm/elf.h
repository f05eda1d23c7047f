/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_ELF_H
#define _ASM_ANYK_ELF_H
/* No program is ever loaded: what the kernel has to know of them all the same. */
#include <asm/ptrace.h>
typedef unsigned long elf_greg_t;
typedef elf_greg_t elf_gregset_t[2];
typedef unsigned long elf_fpregset_t;
#define ELF_CLASS ELFCLASS64
#define ELF_DATA ELFDATA2LSB
#define ELF_ARCH EM_NONE
#define ELF_EXEC_PAGESIZE PAGE_SIZE
#define elf_check_arch(x) 0
#define ELF_HWCAP 0
#define ELF_PLATFORM NULL
#define ELF_ET_DYN_BASE 0
#endif
