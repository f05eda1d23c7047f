/*
 * Where in memory the data of a private copy lies.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <unistd.h>

#include "base/loader.h"

#ifdef __linux__
#include <dlfcn.h>
#include <link.h>

struct search {
    const struct link_map *map;
    struct ps_piece *parts;
    size_t room;
    int result; /* the parts found, or -errno */
};

static void add_part(struct search *search, uintptr_t begin, uintptr_t end)
{
    if (begin >= end || search->result < 0)
        return;
    if ((size_t)search->result == search->room) {
        search->result = -ENOSPC;
        return;
    }
    search->parts[search->result++] = (struct ps_piece){(uint8_t *)begin, end - begin};
}

static int look(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    struct search *search = user;
    if (info->dlpi_addr != search->map->l_addr || search->map->l_name == NULL)
        return 0;
    /* The part that the linker made read-only after relocation. */
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), constant = 0, constant_end = 0;
    search->result = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_TLS)
            search->result = -EOPNOTSUPP; /* each thread has its own */
        if (part->p_type != PT_GNU_RELRO)
            continue;
        constant = (info->dlpi_addr + part->p_vaddr) & ~(page - 1);
        constant_end = (info->dlpi_addr + part->p_vaddr + part->p_memsz) & ~(page - 1);
    }
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_W))
            continue;
        uintptr_t begin = info->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;
        if (constant >= end || constant_end <= begin) {
            add_part(search, begin, end);
        } else {
            add_part(search, begin, constant);
            add_part(search, constant_end, end);
        }
    }
    return 1;
}

int image_data(const struct engine_image *image, struct ps_piece *parts, size_t room)
{
    struct search search = {NULL, parts, room, -ENOENT};
    if (image->shared)
        return -EOPNOTSUPP;
    if (dlinfo(image->handle, RTLD_DI_LINKMAP, &search.map) != 0)
        return -ENOENT;
    dl_iterate_phdr(look, &search);
    return search.result;
}
#else
int image_data(const struct engine_image *image, struct ps_piece *parts, size_t room)
{
    (void)image, (void)parts, (void)room;
    return -EOPNOTSUPP;
}
#endif
