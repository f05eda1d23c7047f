/*
 * Private copies of an engine's image.
 *
 * An engine keeps its state in globals, and the dynamic linker gives the same file to
 * everyone who opens it. So each Stack opens its own copy. An image that says that it
 * serves many Stacks (PS_ENGINE_SHARED) is loaded once, and stays.
 */
#ifndef PYSTACK_HOST_LOADER_H
#define PYSTACK_HOST_LOADER_H

#include <stddef.h>

#include "base/image_copy.h"
#include "engine.h"

struct engine_image {
    void *handle;
    bool shared; /* it stays loaded */
    int copy;    /* its file, where a sanitizer needs the name that leads there; else -1 */
};

/* 0, or -errno with one line about it in `error`. */
int image_load(struct engine_image *image, const char *path, const struct ps_engine_table **table,
               char *error, size_t error_size);
/* The parts of a private copy that the engine writes: up to `room`, or -errno. */
int image_data(const struct engine_image *image, struct ps_piece *parts, size_t room);
/* Maps the read-only part of a private copy from the file it was copied from; with `left_out`, the
 * copy has not all of that. 0, or -errno: it can't be used. */
int image_share(const struct engine_image *image, const struct image_file *file, int original,
                int copy, bool left_out);
void image_unload(struct engine_image *image);
/* In a child: another thread may have been loading one. */
void images_after_fork(void);

#endif
