/* SPDX-License-Identifier: GPL-2.0 */
/* There are no page tables; these are for code that names them and is never reached. */
#ifndef _ASM_ANYK_PGTABLE_H
#define _ASM_ANYK_PGTABLE_H

#include <linux/version.h>
#include <asm-generic/pgtable-nopud.h>
#include <asm/page.h>

#define pgd_present(pgd) (1)
#define pgd_none(pgd) (0)
#define pgd_bad(pgd) (0)
#define pgd_clear(pgdp)
#define pmd_offset(pud, address) ((void *)0)

#define PAGE_NONE __pgprot(0)
#define PAGE_SHARED __pgprot(0)
#define PAGE_COPY __pgprot(0)
#define PAGE_READONLY __pgprot(0)
#define PAGE_KERNEL __pgprot(0)

#define swapper_pg_dir ((pgd_t *)0)
#define VMALLOC_START 0UL
#define VMALLOC_END (~0UL)

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0) /* since then the kernel's own */
extern void *anyk_zero_page;
#define ZERO_PAGE(address) virt_to_page(anyk_zero_page)
#endif

#endif
