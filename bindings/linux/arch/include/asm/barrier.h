/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_BARRIER_H
#define _ASM_ANYK_BARRIER_H
#include <linux/compiler.h>
/* One CPU, and no device that reads memory. */
#define mb() barrier()
#define rmb() barrier()
#define wmb() barrier()
#include <asm-generic/barrier.h>
#endif
