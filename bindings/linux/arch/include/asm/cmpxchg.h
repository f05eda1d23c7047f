/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_CMPXCHG_H
#define _ASM_ANYK_CMPXCHG_H
/* Plain C, as in atomic.h. */
#include <linux/types.h>
#include <linux/compiler.h>
#define arch_xchg(ptr, x) \
    ({ \
        __typeof__(ptr) __xp = (ptr); \
        __typeof__(*(ptr)) __xo = *(volatile __typeof__(*(ptr)) *)__xp; \
        *(volatile __typeof__(*(ptr)) *)__xp = (__typeof__(*(ptr)))(x); \
        __xo; \
    })
#define arch_cmpxchg(ptr, o, n) \
    ({ \
        __typeof__(ptr) __cp = (ptr); \
        __typeof__(*(ptr)) __cn = (__typeof__(*(ptr)))(n); \
        __typeof__(*(ptr)) __cw = (__typeof__(*(ptr)))(o); \
        __typeof__(*(ptr)) __co = *(volatile __typeof__(*(ptr)) *)__cp; \
        if (__co == __cw) \
            *(volatile __typeof__(*(ptr)) *)__cp = __cn; \
        __co; \
    })
#define arch_cmpxchg_local arch_cmpxchg
#define arch_cmpxchg64 arch_cmpxchg
#define arch_cmpxchg64_local arch_cmpxchg
#endif
