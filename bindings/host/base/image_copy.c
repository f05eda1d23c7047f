/*
 * Copies an engine's file for the dynamic linker.
 *
 * Most of it is code and constants that no Stack writes, and that image_share() maps from the
 * original as soon as the copy is loaded. The linker reads none of that, unless it runs code of the
 * image. So the copy of an image without constructors and indirect functions holds what the linker
 * reads and what the engine writes, and has a hole in place of the rest.
 */
#define _GNU_SOURCE
#include "base/image_copy.h"

#include <errno.h>
#include <unistd.h>

int image_copy_part(const struct image_file *file, int to, size_t offset, size_t size)
{
    if (offset > file->size || size > file->size - offset)
        return -ENOEXEC;
    for (size_t done = 0; done < size;) {
        ssize_t wrote =
            pwrite(to, file->bytes + offset + done, size - done, (off_t)(offset + done));
        if (wrote < 0 && errno != EINTR)
            return -errno;
        if (wrote > 0)
            done += (size_t)wrote;
    }
    return 0;
}

#if defined(__linux__) && defined(__LP64__) && !defined(__SANITIZE_ADDRESS__) && \
    (defined(__x86_64__) || defined(__aarch64__))
#include <elf.h>
#include <string.h>

#include "base/image_part.h"

#ifdef __x86_64__
#define INDIRECT R_X86_64_IRELATIVE
#else
#define INDIRECT R_AARCH64_IRELATIVE
#endif
#define MOST_PARTS 32

struct dynamic {
    uint64_t value[DT_NUM];
    uint64_t relative_count;
    uint64_t versions; /* DT_VERSYM: the one table that has no small tag and may lie elsewhere */
    uint64_t hash;     /* DT_GNU_HASH, likewise */
};

/* Nothing in the file is believed before it is found to be inside. */
static const void *at_offset(const struct image_file *file, uint64_t offset, uint64_t size)
{
    return offset <= file->size && size <= file->size - offset && offset % 8 == 0
               ? file->bytes + offset
               : NULL;
}

struct elf {
    const struct image_file *file;
    const Elf64_Phdr *parts, *end;
};

/* What the linker will find at an address; NULL: it is not of the file. */
static const void *at_address(const struct elf *elf, uint64_t address, uint64_t size)
{
    for (const Elf64_Phdr *part = elf->parts; part < elf->end; part++) {
        uint64_t inside = address - part->p_vaddr;
        if (part->p_type == PT_LOAD && inside <= part->p_filesz && size <= part->p_filesz - inside)
            return at_offset(elf->file, part->p_offset + inside, size);
    }
    return NULL;
}

static bool find_parts(struct elf *elf)
{
    const Elf64_Ehdr *head = at_offset(elf->file, 0, sizeof *head);
    if (head == NULL || memcmp(head->e_ident, ELFMAG, SELFMAG) != 0 ||
        head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_phentsize != sizeof *elf->parts ||
        head->e_phnum > MOST_PARTS)
        return false;
    elf->parts = at_offset(elf->file, head->e_phoff, head->e_phnum * sizeof *elf->parts);
    elf->end = elf->parts + head->e_phnum;
    return elf->parts != NULL;
}

static bool read_dynamic(const struct elf *elf, struct dynamic *out)
{
    const Elf64_Phdr *part = elf->parts;
    while (part < elf->end && part->p_type != PT_DYNAMIC)
        part++;
    const Elf64_Dyn *entry =
        part < elf->end ? at_offset(elf->file, part->p_offset, part->p_filesz) : NULL;
    if (entry == NULL)
        return false;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < part->p_filesz / sizeof *entry && entry[i].d_tag != DT_NULL; i++) {
        uint64_t value = entry[i].d_un.d_val;
        if (entry[i].d_tag > 0 && entry[i].d_tag < DT_NUM)
            out->value[entry[i].d_tag] = value;
        else if (entry[i].d_tag == DT_RELACOUNT)
            out->relative_count = value;
        else if (entry[i].d_tag == DT_VERSYM)
            out->versions = value;
        else if (entry[i].d_tag == DT_GNU_HASH)
            out->hash = value;
    }
    return true;
}

/* Whether any relocation has the linker call a function of the image. */
static bool any_calls(const struct elf *elf, const struct dynamic *dynamic, uint64_t address,
                      uint64_t bytes, uint64_t first)
{
    const Elf64_Rela *one = at_address(elf, address, bytes);
    if (bytes > 0 && one == NULL)
        return true;
    for (uint64_t i = first; i < bytes / sizeof *one; i++) {
        uint64_t number = ELF64_R_SYM(one[i].r_info);
        if (ELF64_R_TYPE(one[i].r_info) == INDIRECT)
            return true;
        if (number == 0)
            continue;
        const Elf64_Sym *symbol =
            at_address(elf, dynamic->value[DT_SYMTAB] + number * sizeof *symbol, sizeof *symbol);
        if (symbol == NULL || ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC)
            return true;
    }
    return false;
}

static bool runs_code(const struct elf *elf, const struct dynamic *dynamic)
{
    const uint64_t *value = dynamic->value;
    return value[DT_INIT] != 0 || value[DT_INIT_ARRAYSZ] != 0 || value[DT_TEXTREL] != 0 ||
           any_calls(elf, dynamic, value[DT_RELA], value[DT_RELASZ], dynamic->relative_count) ||
           any_calls(elf, dynamic, value[DT_JMPREL], value[DT_PLTRELSZ], 0);
}

/* Whether a part holds nothing that the linker reads. */
static bool is_left_out(const Elf64_Phdr *part, const struct dynamic *dynamic)
{
    const uint64_t *value = dynamic->value;
    const uint64_t tables[] = {value[DT_HASH],   value[DT_STRTAB], value[DT_SYMTAB], value[DT_RELA],
                               value[DT_JMPREL], dynamic->hash,    dynamic->versions};
    if (!image_part_is_constant(part) || part->p_offset == 0)
        return false;
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        if (tables[i] >= part->p_vaddr && tables[i] - part->p_vaddr < part->p_memsz)
            return false;
    return true;
}

/* The linker would map what isn't there, and get SIGBUS for it. */
static bool is_cut_off(const struct elf *elf)
{
    for (const Elf64_Phdr *part = elf->parts; part < elf->end; part++)
        if (part->p_type == PT_LOAD &&
            (part->p_offset > elf->file->size || part->p_filesz > elf->file->size - part->p_offset))
            return true;
    return false;
}

static int copy_with_holes(const struct image_file *file, int to)
{
    struct elf elf = {file, NULL, NULL};
    struct dynamic dynamic;
    bool left_out = false;
    if (!find_parts(&elf))
        return false;
    if (is_cut_off(&elf))
        return -ENOEXEC;
    if (!read_dynamic(&elf, &dynamic) || runs_code(&elf, &dynamic))
        return false;
    if (ftruncate(to, (off_t)file->size) != 0)
        return -errno;
    for (const Elf64_Phdr *part = elf.parts; part < elf.end; part++) {
        if (part->p_type != PT_LOAD)
            continue;
        if (is_left_out(part, &dynamic)) {
            left_out = true;
            continue;
        }
        int result = image_copy_part(file, to, part->p_offset, part->p_filesz);
        if (result < 0)
            return result;
    }
    return left_out;
}
#else
static int copy_with_holes(const struct image_file *file, int to)
{
    (void)file, (void)to;
    return false;
}
#endif

int image_copy(const struct image_file *file, int to)
{
    int left_out = copy_with_holes(file, to);
    return left_out != 0 ? left_out : image_copy_part(file, to, 0, file->size);
}
