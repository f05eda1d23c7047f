/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_IRQ_H
#define _ASM_ANYK_IRQ_H
/* There are none, but arrays of none are no C. */
#define NR_IRQS 16
static inline int irq_canonicalize(int irq)
{
    return irq;
}
#endif
