/*
 * What the private copies of one engine have in common.
 *
 * Nobody writes code and constants, and the linker has put no addresses into them: they are mapped
 * from the engine's own file instead of its copy, so that all Stacks have them once in memory, and
 * in the processor's caches. The copy keeps what is written, and where it has a hole instead
 * (image_copy.c), there is no Stack without this.
 */
#define _GNU_SOURCE
#include "base/loader.h"

#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/image_part.h"

struct sharing {
    const struct link_map *map;
    const struct image_file *file;
    int original, copy;
    bool left_out; /* the copy has holes */
    int result;
};

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

/* A file system without programs refuses: then the copy has to have it. */
static int share_part(const struct sharing *sharing, uintptr_t base, const ElfW(Phdr) * part)
{
    uintptr_t inside = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    if (!map_original(base, part, sharing->original, inside))
        return sharing->left_out
                   ? image_copy_part(sharing->file, sharing->copy, part->p_offset, part->p_filesz)
                   : 0;
    if (!sharing->left_out)
        empty(part, sharing->copy, inside);
    return 0;
}

static int share(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    struct sharing *sharing = user;
    if (info->dlpi_addr != sharing->map->l_addr || sharing->map->l_name == NULL)
        return 0;
    sharing->result = 0;
    for (int i = 0; i < info->dlpi_phnum && sharing->result == 0; i++)
        if (image_part_is_constant(&info->dlpi_phdr[i]))
            sharing->result = share_part(sharing, info->dlpi_addr, &info->dlpi_phdr[i]);
    return 1;
}

int image_share(const struct engine_image *image, const struct image_file *file, int original,
                int copy, bool left_out)
{
    struct sharing sharing = {NULL, file, original, copy, left_out, left_out ? -ENOEXEC : 0};
    if (dlinfo(image->handle, RTLD_DI_LINKMAP, &sharing.map) == 0)
        dl_iterate_phdr(share, &sharing);
    return sharing.result;
}
#else
int image_share(const struct engine_image *image, const struct image_file *file, int original,
                int copy, bool left_out)
{
    (void)image, (void)file, (void)original, (void)copy, (void)left_out;
    return 0;
}
#endif
