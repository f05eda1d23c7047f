// SPDX-License-Identifier: GPL-2.0
/* Memory: one zone, the arena that the host gave. */
#include <linux/init.h>
#include <linux/memblock.h>
#include <linux/mm.h>
#include <linux/pgtable.h>
#include <linux/version.h>
#include <asm/sections.h>
#include <asm/setup.h>
#include "console.h"

unsigned long anyk_ram, anyk_ram_size;

void __init setup_arch(char **line)
{
    *line = boot_command_line;
    anyk_console_init();
    setup_initial_init_mm(_stext, _etext, _edata, _end);

    memblock_add(ANYK_PHYSICAL, anyk_ram_size);
    min_low_pfn = PFN_UP(ANYK_PHYSICAL);
    max_low_pfn = max_pfn = PFN_DOWN(ANYK_PHYSICAL + anyk_ram_size);
    high_memory = (void *)(anyk_ram + anyk_ram_size);
#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)
    free_area_init((unsigned long[MAX_NR_ZONES]){[ZONE_NORMAL] = max_low_pfn});
    anyk_zero_page = memblock_alloc(PAGE_SIZE, PAGE_SIZE);
#endif
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(7, 0, 0)

void *anyk_zero_page;

void __init mem_init(void)
{
    set_max_mapnr(max_pfn - ARCH_PFN_OFFSET);
    memblock_free_all();
}

#else

void __init arch_zone_limits_init(unsigned long *limits)
{
    limits[ZONE_NORMAL] = max_low_pfn;
}

/* The kernel itself is in the image, outside the memory that has a struct page. */
void __init arch_setup_zero_pages(void)
{
    __zero_page = virt_to_page(memblock_alloc(PAGE_SIZE, PAGE_SIZE));
}

#endif

/* The image isn't the kernel's to give away. */
void free_initmem(void)
{
}
