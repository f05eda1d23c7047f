/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_IRQFLAGS_H
#define _ASM_ANYK_IRQFLAGS_H
#include <linux/compiler.h>
/* Interrupts come only from the host, at its entry points: the flag is mere bookkeeping. */
#define ARCH_IRQ_DISABLED 0
#define ARCH_IRQ_ENABLED 1
extern unsigned long anyk_irqs_enabled;
static __always_inline unsigned long arch_local_save_flags(void)
{
    return READ_ONCE(anyk_irqs_enabled);
}
static __always_inline void arch_local_irq_restore(unsigned long flags)
{
    barrier();
    WRITE_ONCE(anyk_irqs_enabled, flags);
    barrier();
}
#define arch_local_save_flags arch_local_save_flags
#define arch_local_irq_restore arch_local_irq_restore
#include <asm-generic/irqflags.h>
#endif
