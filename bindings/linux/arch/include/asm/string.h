/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_STRING_H
#define _ASM_ANYK_STRING_H
/* The C library has the fastest ones for its CPU. */
/* Not hidden, as what is the kernel's own: they are the C library's. */
#pragma GCC visibility push(default)
#define __HAVE_ARCH_MEMCPY
extern void *memcpy(void *, const void *, __kernel_size_t);
#define __HAVE_ARCH_MEMMOVE
extern void *memmove(void *, const void *, __kernel_size_t);
#define __HAVE_ARCH_MEMSET
extern void *memset(void *, int, __kernel_size_t);
#define __HAVE_ARCH_MEMCMP
extern int memcmp(const void *, const void *, __kernel_size_t);
#define __HAVE_ARCH_STRLEN
extern __kernel_size_t strlen(const char *);
#pragma GCC visibility pop
#endif
