/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_ARCHRANDOM_H
#define _ASM_ANYK_ARCHRANDOM_H
size_t anyk_random(unsigned long *out, size_t count);
static inline size_t __must_check arch_get_random_longs(unsigned long *v, size_t n)
{
    return anyk_random(v, n);
}
static inline size_t __must_check arch_get_random_seed_longs(unsigned long *v, size_t n)
{
    return anyk_random(v, n);
}
#endif
