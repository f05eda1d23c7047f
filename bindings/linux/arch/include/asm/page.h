/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_ANYK_PAGE_H
#define _ASM_ANYK_PAGE_H

#include <linux/const.h>
#if __has_include(<vdso/page.h>) /* since Linux 6.13 */
#include <vdso/page.h>
#else
#define PAGE_SHIFT CONFIG_PAGE_SHIFT
#define PAGE_SIZE (_AC(1, UL) << PAGE_SHIFT)
#define PAGE_MASK (~(PAGE_SIZE - 1))
#endif

/* Where physical addresses begin. They are as low as they can be: when it boots, the kernel walks
 * over what lies below its memory, block by block. Aligned to the largest block, as the arena. */
#define ANYK_PHYSICAL (4UL << 20)

#ifndef __ASSEMBLER__

#include <linux/types.h>

/* The arena that the host gave; at ANYK_PHYSICAL for the kernel. */
extern unsigned long anyk_ram, anyk_ram_size;

#define PAGE_OFFSET anyk_ram
#define ARCH_PFN_OFFSET (ANYK_PHYSICAL >> PAGE_SHIFT)

typedef struct {
    unsigned long pte;
} pte_t;
typedef struct {
    unsigned long pmd;
} pmd_t;
typedef struct {
    unsigned long pgd;
} pgd_t;
typedef struct {
    unsigned long pgprot;
} pgprot_t;
typedef struct page *pgtable_t;

#define pte_val(x) ((x).pte)
#define pmd_val(x) ((x).pmd)
#define pgd_val(x) ((x).pgd)
#define pgprot_val(x) ((x).pgprot)
#define __pte(x) ((pte_t){(x)})
#define __pmd(x) ((pmd_t){(x)})
#define __pgd(x) ((pgd_t){(x)})
#define __pgprot(x) ((pgprot_t){(x)})

#define clear_page(page) memset((page), 0, PAGE_SIZE)
#define copy_page(to, from) memcpy((to), (from), PAGE_SIZE)
#define clear_user_page(page, vaddr, pg) clear_page(page)
#define copy_user_page(to, from, vaddr, pg) copy_page(to, from)

#define __pa(x) ((unsigned long)(x)-anyk_ram + ANYK_PHYSICAL)
#define __va(x) ((void *)((unsigned long)(x)-ANYK_PHYSICAL + anyk_ram))

static inline unsigned long virt_to_pfn(const void *address)
{
    return __pa(address) >> PAGE_SHIFT;
}

static inline void *pfn_to_virt(unsigned long pfn)
{
    return __va(pfn << PAGE_SHIFT);
}

#define virt_to_page(address) pfn_to_page(virt_to_pfn((void *)(address)))
#define page_to_virt(page) pfn_to_virt(page_to_pfn(page))
#define virt_addr_valid(address) ((unsigned long)(address)-anyk_ram < anyk_ram_size)

#include <asm-generic/memory_model.h>
#ifndef page_to_phys /* since Linux 6.14 */
#define page_to_phys(page) ((phys_addr_t)page_to_pfn(page) << PAGE_SHIFT)
#endif
#include <asm-generic/getorder.h>

#endif
#endif
