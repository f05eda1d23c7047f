/*
 * Private copies of an engine's image.
 *
 * An engine keeps its state in globals, and the dynamic linker gives the same file to
 * everyone who opens it. So each Stack opens a copy of its own. An image that says that it
 * serves many Stacks (PS_ENGINE_SHARED) is loaded once, and stays.
 */
#ifndef PYSTACK_HOST_LOADER_H
#define PYSTACK_HOST_LOADER_H

#include <stddef.h>

#include "engine.h"

struct engine_image {
    void *handle;
    bool shared; /* it stays loaded */
};

/* 0, or -errno with one line about it in `error`. */
int image_load(struct engine_image *image, const char *path, const struct ps_engine_table **table,
               char *error, size_t error_size);
void image_unload(struct engine_image *image);

#endif
