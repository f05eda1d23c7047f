/*
 * The parts of an engine's image.
 */
#ifndef PYSTACK_HOST_IMAGE_PART_H
#define PYSTACK_HOST_IMAGE_PART_H

#include <link.h>
#include <stdbool.h>

/* Whether the engine never writes it. Such parts are mapped from the original, and they alone may
 * be left out of the copy. */
static inline bool image_part_is_constant(const ElfW(Phdr) * part)
{
    return part->p_type == PT_LOAD && !(part->p_flags & PF_W) && part->p_filesz == part->p_memsz;
}

#endif
