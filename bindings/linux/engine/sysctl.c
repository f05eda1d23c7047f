// SPDX-License-Identifier: GPL-2.0
/*
 * Sysctls: the files below /proc/sys/net, by their names as sysctl(8) has them: dots between the
 * parts, and a slash for a dot within one (net.ipv4.conf.eth0/5.forwarding).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "engine/acts.h"
#include "engine/linux.h"
#include "engine/proc.h"
#include "engine/sysctl_known.h"
#include "engine/system_call.h"

#define ACTS_ALONE "pystack.acts_alone" /* asked by the host: it is in no list */
#define ROOT "/proc/sys/"
#define OURS "net."
#define PATH_SIZE (sizeof ROOT + PS_TUNABLE_SIZE)
#define PIECE 4096
#define LEAST_ROOM 1024
#define DIRECTORY 4 /* struct dirent's d_type */

/* The value that a setting had before it was first set. */
struct sysctl_initial {
    struct sysctl_initial *next;
    char name[PS_TUNABLE_SIZE];
    char text[];
};

struct linux_dirent {
    uint64_t inode, offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

/* --- names -------------------------------------------------------------------------------------
 */

/* Whether every part is non-empty and none leaves the folder (".." would be two slashes). */
static bool is_name(const char *name)
{
    if (strncmp(name, OURS, strlen(OURS)) != 0 || strlen(name) >= PS_TUNABLE_SIZE)
        return false;
    for (const char *part = name; part != NULL;) {
        size_t length = strcspn(part, ".");
        if (length == 0 || strspn(part, "/") == length)
            return false;
        part = part[length] == '.' ? part + length + 1 : NULL;
    }
    return true;
}

static void set_path(char path[PATH_SIZE], const char *name)
{
    snprintf(path, PATH_SIZE, "%s%s", ROOT, name);
    for (char *p = path + strlen(ROOT); *p != 0; p++)
        *p = *p == '.' ? '/' : *p == '/' ? '.' : *p;
}

static int add_name(ps_engine *self, const char *name)
{
    struct sysctl_names *all = &self->sysctls;
    if (all->count == all->room) {
        void *larger;
        size_t room = all->room == 0 ? LEAST_ROOM : all->room * 2;
        int result =
            self->host.memory_allocate(self->host.user, room * sizeof *all->names, &larger);
        if (result < 0)
            return result;
        if (all->names != NULL) {
            memcpy(larger, all->names, all->count * sizeof *all->names);
            self->host.memory_free(self->host.user, all->names);
        }
        all->names = larger;
        all->room = room;
    }
    snprintf(all->names[all->count++], PS_TUNABLE_SIZE, "%s", name);
    return 0;
}

static void forget_names(ps_engine *self)
{
    if (self->sysctls.names != NULL)
        self->host.memory_free(self->host.user, self->sysctls.names);
    self->sysctls.names = NULL;
    self->sysctls.count = self->sysctls.room = 0;
}

static int walk(ps_engine *self, const char *folder);

static int take_entry(ps_engine *self, const char *folder, const struct linux_dirent *entry)
{
    char name[PS_TUNABLE_SIZE];
    int length = snprintf(name, sizeof name, "%s.", folder);
    for (const char *p = entry->name; *p != 0 && length < PS_TUNABLE_SIZE - 1; p++)
        name[length++] = *p == '.' ? '/' : *p;
    name[length] = 0;
    return entry->type == DIRECTORY ? walk(self, name) : add_name(self, name);
}

static int walk(ps_engine *self, const char *folder)
{
    char path[PATH_SIZE];
    _Alignas(struct linux_dirent) char piece[PIECE];
    set_path(path, folder);
    long fd = CALL(NR_openat, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0), result = fd;
    while (result >= 0 && (result = CALL(NR_getdents64, fd, piece, sizeof piece)) > 0)
        for (long at = 0, size = result; result >= 0 && at < size;) {
            const struct linux_dirent *entry = (const void *)(piece + at);
            at += entry->length;
            if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
                result = take_entry(self, folder, entry);
        }
    if (fd >= 0)
        CALL(NR_close, fd);
    return (int)result;
}

/* --- values ------------------------------------------------------------------------------------
 */

struct file {
    long fd;
    uint32_t flags; /* enum ps_tunable_flag */
};

static int open_file(const char *name, struct file *out)
{
    char path[PATH_SIZE];
    if (!is_name(name))
        return -ENOENT;
    set_path(path, name);
    *out = (struct file){.fd = CALL(NR_openat, AT_FDCWD, path, O_RDWR, 0)};
    if (out->fd == -EACCES) {
        out->flags = PS_TUNABLE_READ_ONLY;
        out->fd = CALL(NR_openat, AT_FDCWD, path, O_RDONLY, 0);
    }
    if (out->fd == -EACCES) {
        out->flags = PS_TUNABLE_WRITE_ONLY;
        out->fd = CALL(NR_openat, AT_FDCWD, path, O_WRONLY, 0);
    }
    /* A folder is no setting. */
    return out->fd == -EISDIR || out->fd == -ENOTDIR ? -ENOENT : out->fd < 0 ? (int)out->fd : 0;
}

/* A file's text without the newline at its end. `out` is to be given back. */
static int read_text(ps_engine *self, const struct file *file, char **out)
{
    for (size_t room = 256;; room *= 4) {
        void *memory;
        int result = self->host.memory_allocate(self->host.user, room, &memory);
        if (result < 0)
            return result;
        char *text = memory;
        int size = file->flags & PS_TUNABLE_WRITE_ONLY ? 0 : proc_read_open(file->fd, text, room);
        if (size == -EIO) /* stable_secret, while there is none */
            size = 0;
        if (size >= 0 && (size_t)size < room - 1) {
            text[strcspn(text, "\n")] = 0;
            *out = text;
            return 0;
        }
        self->host.memory_free(self->host.user, memory);
        if (size < 0)
            return size;
        long result_seek = CALL(NR_lseek, file->fd, 0, SEEK_SET);
        if (result_seek < 0)
            return (int)result_seek;
    }
}

/* Whether the text is one number, of those that fit. */
static bool is_number(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-');
    if (*digits == 0 || digits[strspn(digits, "0123456789")] != 0)
        return false;
    errno = 0;
    *out = strtoll(text, NULL, 10);
    return errno == 0;
}

static const struct sysctl_initial *find_initial(const ps_engine *self, const char *name)
{
    const struct sysctl_initial *each = self->sysctl_initials;
    while (each != NULL && strcmp(each->name, name) != 0)
        each = each->next;
    return each;
}

static int note_initial(ps_engine *self, const char *name, const char *text)
{
    void *memory;
    size_t length = strlen(text);
    int result = self->host.memory_allocate(self->host.user,
                                            sizeof(struct sysctl_initial) + length + 1, &memory);
    if (result < 0)
        return result;
    struct sysctl_initial *made = memory;
    made->next = self->sysctl_initials;
    snprintf(made->name, sizeof made->name, "%s", name);
    memcpy(made->text, text, length + 1);
    self->sysctl_initials = made;
    return 0;
}

static void describe(const ps_engine *self, const char *name, uint32_t flags, const char *text,
                     struct ps_tunable *out)
{
    const struct sysctl_known *known = sysctl_known(name);
    const struct sysctl_initial *initial = find_initial(self, name);
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", name);
    out->flags = flags;
    if (!is_number(text, &out->value) ||
        !is_number(initial != NULL ? initial->text : text, &out->initial))
        out->flags |= PS_TUNABLE_TEXT;
    if (known == NULL) {
        out->flags |= PS_TUNABLE_UNBOUNDED;
        snprintf(out->description, sizeof out->description,
                 "see Documentation/networking of Linux");
        return;
    }
    out->minimum = known->minimum;
    out->maximum = known->maximum;
    snprintf(out->description, sizeof out->description, "%s", known->description);
}

int engine_tunable_get(ps_engine *self, const char *name, struct ps_tunable *out)
{
    struct file file;
    char *text;
    if (strcmp(name, ACTS_ALONE) == 0) {
        int acts = acts_alone(self);
        *out = (struct ps_tunable){.name = ACTS_ALONE, .value = acts, .maximum = 1};
        return acts < 0 ? acts : 0;
    }
    int result = open_file(name, &file);
    if (result < 0)
        return result;
    result = read_text(self, &file, &text);
    if (result == 0) {
        describe(self, name, file.flags, text, out);
        self->host.memory_free(self->host.user, text);
    }
    CALL(NR_close, file.fd);
    return result;
}

/* A listing's first entry has the names read. */
int engine_tunable_at(ps_engine *self, size_t position, struct ps_tunable *out)
{
    struct sysctl_names *all = &self->sysctls;
    if (position == 0) {
        forget_names(self);
        int result = walk(self, "net");
        if (result < 0) {
            forget_names(self);
            return result;
        }
        self->sysctls_passed = 0;
    }
    for (; position + self->sysctls_passed < all->count; self->sysctls_passed++) {
        int result = engine_tunable_get(self, all->names[position + self->sysctls_passed], out);
        if (result < 0)
            return result;
        if (!(out->flags & PS_TUNABLE_WRITE_ONLY))
            return 1;
    }
    forget_names(self);
    return 0;
}

int64_t engine_tunable_text(ps_engine *self, const char *name, bool initial, char *out, size_t room)
{
    struct file file;
    char *text;
    const struct sysctl_initial *before = initial ? find_initial(self, name) : NULL;
    if (before != NULL)
        return snprintf(out, room, "%s", before->text);
    int result = open_file(name, &file);
    if (result < 0)
        return result;
    result = read_text(self, &file, &text);
    if (result == 0) {
        result = snprintf(out, room, "%s", text);
        self->host.memory_free(self->host.user, text);
    }
    CALL(NR_close, file.fd);
    return result;
}

/* The kernel takes a long list a page at a time. */
static int write_all(long fd, const char *text)
{
    while (*text != 0) {
        long written = CALL(NR_write, fd, text, strlen(text));
        if (written <= 0)
            return written < 0 ? (int)written : -EIO;
        text += written;
    }
    return 0;
}

static int write_file(ps_engine *self, const char *name, const struct file *file, const char *text)
{
    if (file->flags & PS_TUNABLE_READ_ONLY)
        return -EACCES;
    if (!(file->flags & PS_TUNABLE_WRITE_ONLY) && find_initial(self, name) == NULL) {
        char *now;
        int result = read_text(self, file, &now);
        if (result == 0) {
            result = note_initial(self, name, now);
            self->host.memory_free(self->host.user, now);
        }
        if (result < 0)
            return result;
        result = (int)CALL(NR_lseek, file->fd, 0, SEEK_SET);
        if (result < 0)
            return result;
    }
    return write_all(file->fd, *text == 0 ? "\n" : text); /* a list is emptied by an empty line */
}

int engine_tunable_set_text(ps_engine *self, const char *name, const char *text)
{
    struct file file;
    int result = open_file(name, &file);
    if (result < 0)
        return result;
    result = write_file(self, name, &file, text);
    CALL(NR_close, file.fd);
    return result;
}

int engine_tunable_set(ps_engine *self, const char *name, int64_t value)
{
    char text[32];
    const struct sysctl_known *known = sysctl_known(name);
    if (known != NULL && (value < known->minimum || value > known->maximum))
        return -EINVAL;
    snprintf(text, sizeof text, "%lld", (long long)value);
    return engine_tunable_set_text(self, name, text);
}
