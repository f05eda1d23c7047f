/*
 * Descriptors that stand for sockets of a Stack, from inside the host.
 */
#ifndef PYSTACK_HOST_DESCRIPTOR_H
#define PYSTACK_HOST_DESCRIPTOR_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "stack/stack.h"

enum descriptor_form {
    DESCRIPTOR_ALONE,  /* connected to nothing: as a stream that has never been */
    DESCRIPTOR_PAIRED, /* to the end that we keep */
    DESCRIPTOR_RESET,  /* we have closed ours, as the peer that resets */
    DESCRIPTOR_SILENT, /* nothing comes any more, and that was told */
};

struct descriptor {
    int64_t handle;
    ps_stack *stack;
    dev_t device;
    ino_t inode; /* of the shown end: its numbers may be closed and be others' by now */
    int shown;   /* one of its numbers, the last that was told; -1: none is known */
    int kept;    /* our end; -1: none */
    int pinned;  /* what the shown end is touched by, for a moment; -1: nothing so far */
    enum descriptor_form form;
    bool datagrams;
    bool shared;      /* others may have numbers of it: not only one object of Python's */
    bool copied;      /* a child may have some: there was a fork */
    bool is_private;  /* `shown` is ours, and no user's */
    bool lost;        /* no number was found */
    bool dead;        /* the last number was closed unnoticed */
    bool news;        /* something came since it was shown last */
    bool urgent_seen; /* the urgent byte was told of, and a reader found nothing else */
    bool is_loose;    /* a number may be closed behind our back */
    bool is_watched, is_pending, is_held, is_later;
    uint64_t held_us;       /* since when */
    uint32_t shows, wanted; /* PS_READY_* */
    struct attention attention;
    struct sockaddr_un name; /* of the shown end, of datagrams: the kernel chose it */
    socklen_t name_size;     /* 0: it has none yet */
    uint64_t later_us;       /* when it shows at the latest what a notifier has told */
    struct descriptor *next, *pending_next, *file_next, *held_next, *later_next, *later_before;
};

/* --- descriptor_number.c ------------------------------------------------------------------- */

/* Flags that both ends need. */
void descriptor_prepare(int fd);
/* Whether the number stands for the shown end. */
bool descriptor_has(const struct descriptor *descriptor, int number);
/* One of its numbers, looked for if need be; -1: there is none in this process. */
int descriptor_number(struct descriptor *descriptor);
/* An untracked number other than `except`; -1: there is none in this process. */
int descriptor_search(const struct descriptor *descriptor, int except);
/* A number to touch the shown end by, until descriptor_unpin; -1: there is none. */
int descriptor_pin(struct descriptor *descriptor);
void descriptor_unpin(struct descriptor *descriptor);
/* Whether the last number of the shown end has been closed, in this process and all others. */
bool descriptor_is_dead(struct descriptor *descriptor);
/* Notes so; the driver closes the engine's socket. */
void descriptor_bury(struct descriptor *descriptor);
/* From now on the last close of its numbers is noticed when it is done. */
void descriptor_watch(struct descriptor *descriptor);
/* Gives the shown end of datagrams a name, by which ours finds it. */
bool descriptor_name(struct descriptor *descriptor);

/* --- descriptor.c -------------------------------------------------------------------------- */

/* A socket's; NULL: it has none. */
struct descriptor *descriptor_find(ps_stack *stack, int64_t handle);
/* A part of an answer is held back; it has gone, or the rest with it. */
void descriptor_hold(struct descriptor *descriptor);
void descriptor_unhold(struct descriptor *descriptor);
/* From now on it is the socket's. */
void descriptor_enter(ps_stack *stack, int64_t handle, struct descriptor *descriptor);

/* --- descriptor_later.c -------------------------------------------------------------------- */

/* Whether what it is to show can wait for later, and will be shown then. */
bool later_take(struct descriptor *descriptor);
/* It shows all, or there is none any more. */
void later_leave(struct descriptor *descriptor);

/* --- descriptor_files.c ---------------------------------------------------------------------- */

/* The file behind a descriptor's numbers; that it is another now. */
void files_enter(struct descriptor *descriptor, const struct stat *status);
void files_change(struct descriptor *descriptor, const struct stat *status);
void files_leave(const struct descriptor *descriptor);

/* --- readiness.c --------------------------------------------------------------------------- */

/* Makes both ends, or the one of a stream that has never been connected; its mask is `mask`. */
int readiness_open(struct descriptor *descriptor, uint32_t mask, bool nonblocking);
/* What it is to show: bits of PS_READY_*. */
uint32_t readiness_wanted(struct descriptor *descriptor);
/* Shows that. */
void readiness_show(struct descriptor *descriptor);

/* --- renewal.c ----------------------------------------------------------------------------- */

#ifdef __linux__
#define RENEWABLE true
#else
#define RENEWABLE false /* such an end could not be connected later */
#endif

/* Puts an end that is connected to nothing in the place of the shown one, which epoll instances of
 * this process go on watching. False: it could not be done, and nothing was. */
bool renewal_make(struct descriptor *descriptor);
/* Puts another file in the place of the shown one, likewise. */
bool renewal_put(struct descriptor *descriptor, int fresh);
/* Connects an end that is connected to nothing to one that we keep. */
bool renewal_join(struct descriptor *descriptor);

#endif
