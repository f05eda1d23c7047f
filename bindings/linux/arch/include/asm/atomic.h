/* SPDX-License-Identifier: GPL-2.0 */
/* One CPU, whose interrupts come only where the kernel calls for them: plain C is atomic. */
#ifndef _ASM_ANYK_ATOMIC_H
#define _ASM_ANYK_ATOMIC_H

#include <linux/compiler.h>
#include <linux/types.h>
#include <asm/barrier.h>
#include <asm/cmpxchg.h>

#define ATOMIC64_INIT(i) \
    { \
        (i) \
    }

#define ANYK_ATOMIC_FETCH(prefix, number, type, name, operator) \
    static __always_inline void prefix##_##name(number i, type *v) \
    { \
        WRITE_ONCE(v->counter, READ_ONCE(v->counter) operator i); \
    } \
    static __always_inline number prefix##_fetch_##name(number i, type *v) \
    { \
        number old = READ_ONCE(v->counter); \
\
        WRITE_ONCE(v->counter, old operator i); \
        return old; \
    }

#define ANYK_ATOMIC_RETURN(prefix, number, type, name, operator) \
    static __always_inline number prefix##_##name##_return(number i, type *v) \
    { \
        number new = READ_ONCE(v->counter) operator i; \
\
        WRITE_ONCE(v->counter, new); \
        return new; \
    }

#define ANYK_ATOMIC(prefix, number, type) \
    ANYK_ATOMIC_FETCH(prefix, number, type, add, +) \
    ANYK_ATOMIC_FETCH(prefix, number, type, sub, -) \
    ANYK_ATOMIC_FETCH(prefix, number, type, and, &) \
    ANYK_ATOMIC_FETCH(prefix, number, type, or, |) \
    ANYK_ATOMIC_FETCH(prefix, number, type, xor, ^) \
    ANYK_ATOMIC_RETURN(prefix, number, type, add, +) \
    ANYK_ATOMIC_RETURN(prefix, number, type, sub, -)

ANYK_ATOMIC(arch_atomic, int, atomic_t)
ANYK_ATOMIC(arch_atomic64, s64, atomic64_t)

#define arch_atomic_read(v) READ_ONCE((v)->counter)
#define arch_atomic_set(v, i) WRITE_ONCE((v)->counter, (i))
#define arch_atomic64_read(v) READ_ONCE((v)->counter)
#define arch_atomic64_set(v, i) WRITE_ONCE((v)->counter, (i))

/* By these the kernel sees which operations an architecture has. */
#define arch_atomic_add_return arch_atomic_add_return
#define arch_atomic_sub_return arch_atomic_sub_return
#define arch_atomic_fetch_add arch_atomic_fetch_add
#define arch_atomic_fetch_sub arch_atomic_fetch_sub
#define arch_atomic_fetch_and arch_atomic_fetch_and
#define arch_atomic_fetch_or arch_atomic_fetch_or
#define arch_atomic_fetch_xor arch_atomic_fetch_xor
#define arch_atomic64_add_return arch_atomic64_add_return
#define arch_atomic64_sub_return arch_atomic64_sub_return
#define arch_atomic64_fetch_add arch_atomic64_fetch_add
#define arch_atomic64_fetch_sub arch_atomic64_fetch_sub
#define arch_atomic64_fetch_and arch_atomic64_fetch_and
#define arch_atomic64_fetch_or arch_atomic64_fetch_or
#define arch_atomic64_fetch_xor arch_atomic64_fetch_xor

#endif
