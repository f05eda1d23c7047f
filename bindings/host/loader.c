#define _GNU_SOURCE
#include "loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int copy_file(int from, int to)
{
    char chunk[65536];
    ssize_t got;
    while ((got = read(from, chunk, sizeof chunk)) != 0) {
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return -errno;
        }
        for (ssize_t done = 0, wrote; done < got; done += wrote) {
            wrote = write(to, chunk + done, (size_t)(got - done));
            if (wrote < 0) {
                if (errno != EINTR)
                    return -errno;
                wrote = 0;
            }
        }
    }
    return 0;
}

/* A file that nobody else has, and a path by which the linker finds it. A temporary file
 * has a name to remove afterwards; a memfd has not. */
static int open_copy(char *path, size_t size, bool *has_name)
{
#ifdef __linux__
    int fd = memfd_create("pystack-engine", MFD_CLOEXEC);
    if (fd >= 0) {
        snprintf(path, size, "/proc/self/fd/%d", fd);
        if (access(path, R_OK) == 0) {
            *has_name = false;
            return fd;
        }
        close(fd); /* no /proc */
    }
#endif
    const char *folder = getenv("TMPDIR");
    snprintf(path, size, "%s/pystack-engine-XXXXXX", folder ? folder : "/tmp");
    int named = mkstemp(path);
    *has_name = named >= 0;
    return named >= 0 ? named : -errno;
}

static const struct ps_engine_table *find_table(void *handle, char *error, size_t error_size)
{
    const struct ps_engine_table *table = dlsym(handle, PS_ENGINE_SYMBOL);
    if (table == NULL) {
        snprintf(error, error_size, "not an engine: it has no symbol " PS_ENGINE_SYMBOL);
        return NULL;
    }
    if (table->version != PS_ENGINE_VERSION || table->size != sizeof *table) {
        snprintf(error, error_size,
                 "the engine speaks version %u of engine.h (%u bytes), this host %u (%zu bytes)",
                 table->version, table->size, PS_ENGINE_VERSION, sizeof *table);
        return NULL;
    }
    return table;
}

int image_load(struct engine_image *image, const char *path, const struct ps_engine_table **table,
               char *error, size_t error_size)
{
    char copy_path[4096];
    bool has_name = false;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        int result = -errno;
        snprintf(error, error_size, "can't open the engine %s: %s", path, strerror(errno));
        return result;
    }
    int copy = open_copy(copy_path, sizeof copy_path, &has_name);
    int result = copy < 0 ? copy : copy_file(from, copy);
    close(from);
    if (result < 0)
        snprintf(error, error_size, "can't copy the engine: %s", strerror(-result));
    if (result == 0) {
        image->handle = dlopen(copy_path, RTLD_NOW | RTLD_LOCAL);
        if (image->handle == NULL) {
            snprintf(error, error_size, "can't load the engine: %s", dlerror());
            result = -ENOEXEC;
        }
    }
    if (has_name)
        unlink(copy_path);
#ifndef __SANITIZE_ADDRESS__ /* a sanitizer's report finds the names through the path */
    if (copy >= 0)
        close(copy); /* the mapping keeps the file */
#endif
    if (result < 0)
        return result;
    *table = find_table(image->handle, error, error_size);
    if (*table == NULL) {
        image_unload(image);
        return -EPROTO;
    }
    return 0;
}

void image_unload(struct engine_image *image)
{
    if (image->handle != NULL)
        dlclose(image->handle);
    image->handle = NULL;
}
