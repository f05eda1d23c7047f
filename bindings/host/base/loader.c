#define _GNU_SOURCE
#include "base/loader.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* -errno. What is mapped stays so until the copy is loaded. */
static int map_file(int from, struct image_file *file)
{
    struct stat found;
    if (fstat(from, &found) != 0)
        return -errno;
    file->size = (size_t)found.st_size;
    void *mapped = mmap(NULL, file->size, PROT_READ, MAP_PRIVATE, from, 0);
    if (mapped == MAP_FAILED)
        return -errno;
    file->bytes = mapped;
    return 0;
}

#ifdef __linux__
/* The linker knows an image by the path that it was asked for, and a descriptor's number comes
 * again while the image is still there. So no two of these paths are spelled alike: the bits of
 * a serial number are steps on the spot. */
static void descriptor_path(int fd, char *path, size_t size)
{
    static _Atomic uint32_t serial;
    size_t used = (size_t)snprintf(path, size, "/proc/self/fd/");
    for (uint32_t left = atomic_fetch_add(&serial, 1), bit = 0; bit < 32; bit++, left >>= 1)
        used += (size_t)snprintf(path + used, size - used, left & 1 ? ".//" : "./");
    snprintf(path + used, size - used, "%d", fd);
}
#endif

/* A file that nobody else has, and a path by which the linker finds it. A temporary file
 * has a name to remove afterwards; a memfd has not. */
static int open_copy(char *path, size_t size, bool *has_name)
{
#ifdef __linux__
    int fd = memfd_create("pystack-engine", MFD_CLOEXEC);
    if (fd >= 0) {
        descriptor_path(fd, path, size);
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

/* The name of a call that the engine lacks and has to have; NULL: none. */
static const char *missing_call(const struct ps_engine_table *table)
{
    if (table->open == NULL || table->close == NULL)
        return "open or close";
    if (table->enter == NULL || table->leave == NULL || table->run == NULL || table->fail == NULL)
        return "enter, leave, run or fail";
#define CHECK(result, name, parameters, arguments) \
    if (table->name == NULL) \
        return #name;
    PS_ENGINE_CALLS(CHECK)
#undef CHECK
    return NULL;
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
    const char *missing = missing_call(table);
    if (missing != NULL) {
        snprintf(error, error_size, "the engine lacks a call of engine.h: %s", missing);
        return NULL;
    }
    return table;
}

/* --- images that serve many Stacks ---------------------------------------------------------- */

struct shared_image {
    dev_t device; /* the file's identity */
    ino_t inode;
    pid_t process; /* that loaded it */
    void *handle;
    struct shared_image *next;
};

/* Never shrinks: such an image can't be unloaded. */
static struct shared_image *shared_images;
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static struct shared_image *find_shared(const struct stat *file)
{
    struct shared_image *each = shared_images;
    while (each != NULL && (each->device != file->st_dev || each->inode != file->st_ino))
        each = each->next;
    return each;
}

static int use_shared(struct engine_image *image, const struct shared_image *found, char *error,
                      size_t error_size)
{
    if (found->process != getpid()) {
        snprintf(error, error_size,
                 "its threads did not come along over fork(): only a process that has not "
                 "inherited this engine can use it");
        return -EOWNERDEAD;
    }
    *image = (struct engine_image){found->handle, true, -1};
    return 0;
}

static int keep_shared(struct engine_image *image, const struct stat *file)
{
    struct shared_image *kept = malloc(sizeof *kept);
    image->shared = true;
    if (kept == NULL)
        return -ENOMEM;
    *kept =
        (struct shared_image){file->st_dev, file->st_ino, getpid(), image->handle, shared_images};
    shared_images = kept;
    return 0;
}

/* --- private ones --------------------------------------------------------------------------- */

static int load_file(struct engine_image *image, const struct image_file *file, int from,
                     char *error, size_t error_size)
{
    char copy_path[4096];
    bool has_name = false;
    int copy = open_copy(copy_path, sizeof copy_path, &has_name);
    int result = copy < 0 ? copy : image_copy(file, copy);
    bool left_out = result > 0;
    if (result < 0)
        snprintf(error, error_size, "can't copy the engine: %s", strerror(-result));
    if (result >= 0) {
        *image = (struct engine_image){dlopen(copy_path, RTLD_NOW | RTLD_LOCAL), false, -1};
        if (image->handle == NULL) {
            snprintf(error, error_size, "can't load the engine: %s", dlerror());
            result = -ENOEXEC;
        } else {
            result = image_share(image, file, from, copy, left_out);
            if (result < 0) {
                snprintf(error, error_size, "can't load the engine: %s", strerror(-result));
                image_unload(image);
            }
        }
    }
    if (has_name)
        unlink(copy_path);
#ifdef __SANITIZE_ADDRESS__ /* whose report finds the names through the path */
    if (result == 0) {
        image->copy = copy;
        copy = -1;
    }
#endif
    if (copy >= 0)
        close(copy); /* the mapping keeps the file */
    return result;
}

static int load_copy(struct engine_image *image, int from, char *error, size_t error_size)
{
    struct image_file file;
    int result = map_file(from, &file);
    if (result < 0) {
        snprintf(error, error_size, "can't read the engine: %s", strerror(-result));
        return result;
    }
    result = load_file(image, &file, from, error, error_size);
    munmap((void *)file.bytes, file.size);
    return result;
}

static int load(struct engine_image *image, int from, const struct ps_engine_table **table,
                char *error, size_t error_size)
{
    struct stat file;
    if (fstat(from, &file) != 0)
        return -errno;
    const struct shared_image *found = find_shared(&file);
    int result = found != NULL ? use_shared(image, found, error, error_size)
                               : load_copy(image, from, error, error_size);
    if (result < 0)
        return result;
    *table = find_table(image->handle, error, error_size);
    if (*table == NULL)
        result = -EPROTO;
    else if ((*table)->flags & PS_ENGINE_SHARED && found == NULL)
        result = keep_shared(image, &file);
    if (result < 0)
        image_unload(image);
    return result;
}

int image_load(struct engine_image *image, const char *path, const struct ps_engine_table **table,
               char *error, size_t error_size)
{
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) {
        int result = -errno;
        snprintf(error, error_size, "can't open the engine %s: %s", path, strerror(errno));
        return result;
    }
    pthread_mutex_lock(&loading);
    int result = load(image, from, table, error, error_size);
    pthread_mutex_unlock(&loading);
    close(from);
    return result;
}

void images_after_fork(void)
{
    pthread_mutex_init(&loading, NULL);
}

void image_unload(struct engine_image *image)
{
    if (image->handle == NULL)
        return;
    if (!image->shared) {
        dlclose(image->handle);
        if (image->copy >= 0)
            close(image->copy);
    }
    image->handle = NULL;
}
