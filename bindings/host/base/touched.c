#include "base/touched.h"

#ifdef __linux__
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

/* proc_pid_pagemap(5): in memory, or swapped out (or on its way). */
#define PRESENT (UINT64_C(1) << 63)
#define SWAPPED (UINT64_C(1) << 62)

void touched_open(struct touched_pages *pages)
{
    pages->file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    pages->page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    pages->first = pages->count = 0;
}

void touched_close(struct touched_pages *pages)
{
    if (pages->file >= 0)
        close(pages->file);
}

static bool fetch(struct touched_pages *pages, uintptr_t page)
{
    ssize_t got = pread(pages->file, pages->entries, sizeof pages->entries,
                        (off_t)(page * sizeof pages->entries[0]));
    pages->first = page;
    pages->count = got < 0 ? 0 : (uintptr_t)got / sizeof pages->entries[0];
    return pages->count > 0;
}

bool touched(struct touched_pages *pages, const void *at, size_t size)
{
    if (pages->file < 0)
        return true;
    uintptr_t begin = (uintptr_t)at;
    for (uintptr_t page = begin / pages->page_bytes; page <= (begin + size - 1) / pages->page_bytes;
         page++) {
        if (page - pages->first >= pages->count && !fetch(pages, page))
            return true;
        if (pages->entries[page - pages->first] & (PRESENT | SWAPPED))
            return true;
    }
    return false;
}
#else
void touched_open(struct touched_pages *pages)
{
    pages->file = -1;
}

void touched_close(struct touched_pages *pages)
{
    (void)pages;
}

bool touched(struct touched_pages *pages, const void *at, size_t size)
{
    (void)pages, (void)at, (void)size;
    return true;
}
#endif
