/*
 * The engine's image, whose globals are put back before each input: one image holds one instance,
 * and only once. What lies in it is found by its program headers; the part that the loader has made
 * read-only, and the counters of coverage, stay.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <link.h>

#include "fuzz.h"

static struct {
    uint8_t *begin, *end;
    uint8_t *kept; /* as far from a multiple of 8 as what it is a copy of */
} image;
static uint8_t *counters_begin, *counters_end;
static const void *table_address;

/* Not memcpy: between globals lie bytes that no instrumented code may touch. */
__attribute__((no_sanitize("address", "coverage"))) static void
copy(uint8_t *to, const uint8_t *from, const uint8_t *end)
{
    for (; from < end && (uintptr_t)to % sizeof(uint64_t) != 0; from++)
        *(volatile uint8_t *)to++ = *from;
    for (; end - from >= (ptrdiff_t)sizeof(uint64_t); from += sizeof(uint64_t)) {
        *(volatile uint64_t *)to = *(const uint64_t *)from;
        to += sizeof(uint64_t);
    }
    for (; from < end; from++)
        *(volatile uint8_t *)to++ = *from;
}

/* The writable part of the object that holds the table, less what became read-only. */
static int find(struct dl_phdr_info *info, size_t size, void *unused)
{
    (void)size;
    (void)unused;
    uintptr_t wanted = (uintptr_t)table_address, base = info->dlpi_addr, relro_end = 0;
    bool here = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t begin = base + part->p_vaddr, end = begin + part->p_memsz;
        if (part->p_type == PT_LOAD && wanted >= begin && wanted < end)
            here = true;
        if (part->p_type == PT_GNU_RELRO)
            relro_end = (end + 4095) & ~(uintptr_t)4095;
    }
    for (int i = 0; here && i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W))
            continue;
        uintptr_t begin = base + part->p_vaddr, end = begin + part->p_memsz;
        image.begin = (uint8_t *)(begin < relro_end ? relro_end : begin);
        image.end = (uint8_t *)end;
    }
    return here;
}

const struct ps_engine_table *image_load(void)
{
    void *handle = dlopen(FUZZ_ENGINE, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    const struct ps_engine_table *table = dlsym(handle, PS_ENGINE_SYMBOL);
    FUZZ_REQUIRE(table != NULL && table->version == PS_ENGINE_VERSION);
    uint8_t **counters = dlsym(handle, "fuzz_counters");
    FUZZ_REQUIRE(counters != NULL);
    counters_begin = counters[0];
    counters_end = counters[1];
    table_address = table;
    dl_iterate_phdr(find, NULL);
    FUZZ_REQUIRE(image.end > image.begin);
    image.kept = malloc((size_t)(image.end - image.begin) + sizeof(uint64_t));
    FUZZ_REQUIRE(image.kept != NULL);
    image.kept += (uintptr_t)image.begin % sizeof(uint64_t);
    copy(image.kept, image.begin, image.end);
    return table;
}

void image_restore(void)
{
    bool inside = counters_begin >= image.begin && counters_end <= image.end;
    uint8_t *hole = inside ? counters_begin : image.end;
    copy(image.begin, image.kept, image.kept + (hole - image.begin));
    if (inside)
        copy(counters_end, image.kept + (counters_end - image.begin),
             image.kept + (image.end - image.begin));
}
