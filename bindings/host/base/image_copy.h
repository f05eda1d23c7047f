/*
 * The private copy of an engine's file.
 */
#ifndef PYSTACK_HOST_IMAGE_COPY_H
#define PYSTACK_HOST_IMAGE_COPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct image_file {
    const uint8_t *bytes;
    size_t size;
};

/* Copies what the dynamic linker reads and what the engine writes into an empty file, or all of it.
 * Whether something was left out, which image_share() then has to map; or -errno. */
int image_copy(const struct image_file *file, int to);
/* -errno, as pwrite(2). */
int image_copy_part(const struct image_file *file, int to, size_t offset, size_t size);

#endif
