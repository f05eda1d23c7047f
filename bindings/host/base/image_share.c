/*
 * What the private copies of one engine have in common.
 *
 * Nobody writes code and constants, and the linker has put no addresses into them: they are mapped
 * from the engine's own file instead of its copy, so that all Stacks have them once in memory, and
 * in the processor's caches. The copy keeps what is written.
 */
#define _GNU_SOURCE
#include "base/loader.h"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

struct sharing {
    const struct link_map *map;
    int original, copy;
};

static bool is_constant(const ElfW(Phdr) * part)
{
    return part->p_type == PT_LOAD && !(part->p_flags & PF_W) && part->p_filesz == part->p_memsz;
}

static bool map_original(uintptr_t base, const ElfW(Phdr) * part, int original, uintptr_t inside)
{
    uintptr_t begin = (base + part->p_vaddr) & ~inside;
    uintptr_t end = (base + part->p_vaddr + part->p_filesz + inside) & ~inside;
    int protection = PROT_READ | (part->p_flags & PF_X ? PROT_EXEC : 0);
    return mmap((void *)begin, end - begin, protection, MAP_PRIVATE | MAP_FIXED, original,
                (off_t)(part->p_offset & ~inside)) != MAP_FAILED;
}

/* Gives back the pages of the copy that hold nothing else. */
static void empty(const ElfW(Phdr) * part, int copy, uintptr_t inside)
{
    uintptr_t begin = (part->p_offset + inside) & ~inside;
    uintptr_t end = (part->p_offset + part->p_filesz) & ~inside;
    if (begin < end) /* where it is refused, they stay: nothing is amiss */
        (void)fallocate(copy, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin,
                        (off_t)(end - begin));
}

static int share(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    const struct sharing *sharing = user;
    uintptr_t inside = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    if (info->dlpi_addr != sharing->map->l_addr || sharing->map->l_name == NULL)
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        /* Refused, as by a file system without programs: it stays the copy's. */
        if (is_constant(part) && map_original(info->dlpi_addr, part, sharing->original, inside))
            empty(part, sharing->copy, inside);
    }
    return 1;
}

void image_share(const struct engine_image *image, int original, int copy)
{
    struct sharing sharing = {NULL, original, copy};
    if (dlinfo(image->handle, RTLD_DI_LINKMAP, &sharing.map) == 0)
        dl_iterate_phdr(share, &sharing);
}
#else
void image_share(const struct engine_image *image, int original, int copy)
{
    (void)image, (void)original, (void)copy;
}
#endif
