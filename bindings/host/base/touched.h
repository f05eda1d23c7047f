/*
 * Which pages of anonymous memory were ever written: one that wasn't is all zeros, and need not be
 * read, which would cost a page fault.
 */
#ifndef PYSTACK_HOST_TOUCHED_H
#define PYSTACK_HOST_TOUCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOUCHED_ENTRIES 512

/* Reads the kernel's account of this process's pages, a piece at a time. */
struct touched_pages {
    int file;               /* -1: there is none, and every page counts as touched */
    uintptr_t page_bytes;   /* a power of two */
    uintptr_t first, count; /* the pages, by their numbers, that `entries` tells of */
    uint64_t entries[TOUCHED_ENTRIES];
};

void touched_open(struct touched_pages *pages);
void touched_close(struct touched_pages *pages);
/* False: [at, at + size), which is private and of no file, was never written and is zeros. */
bool touched(struct touched_pages *pages, const void *at, size_t size);

#endif
