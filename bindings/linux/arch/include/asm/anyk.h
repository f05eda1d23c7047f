/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The border between the kernel and the engine that stands on it. The engine is a program like
 * any other, compiled against the C library: nothing here has a type of either side.
 *
 * One image holds one kernel. All calls come from one thread at a time, between anyk_enter and
 * anyk_leave but for anyk_boot; each runs as the kernel's process 1, so that file descriptors are
 * that process's. What the kernel asks of its host (struct anyk_host) it asks on the host's own
 * stack, while one of these calls is under way; it must not call back into the kernel.
 */
#ifndef _ASM_ANYK_ANYK_H
#define _ASM_ANYK_ANYK_H

#define ANYK_PIECES_MAXIMUM 20

struct anyk_piece {
    void *base;
    unsigned long size;
};

/* anyk_frame.partial: as virtio-net has it. */
enum anyk_checksum { ANYK_CHECKSUM_WHOLE, ANYK_CHECKSUM_PARTIAL, ANYK_CHECKSUM_TRUSTED };
/* anyk_frame.segmentation */
enum anyk_segmentation {
    ANYK_SEGMENT_NONE,
    ANYK_SEGMENT_TCP4,
    ANYK_SEGMENT_TCP6,
    ANYK_SEGMENT_UDP
};
/* anyk_interface_add: what may be left undone in frames that go out. */
enum anyk_offload {
    ANYK_OFFLOAD_CHECKSUM = 1,
    ANYK_OFFLOAD_TCP4 = 2,
    ANYK_OFFLOAD_TCP6 = 4,
    ANYK_OFFLOAD_UDP = 8,
    /* With _TCP4: packets up to ANYK_LONGEST, whose length field is 0 where it doesn't suffice. */
    ANYK_OFFLOAD_TCP4_LONGEST = 16,
};
#define ANYK_LONGEST 327680

/* A frame that goes out; of one that comes in only what is left undone. */
struct anyk_frame {
    unsigned interface; /* its index */
    unsigned count;     /* of pieces */
    unsigned long total;
    struct anyk_piece pieces[ANYK_PIECES_MAXIMUM]; /* borrowed for the call */
    unsigned char partial, segmentation;
    unsigned short segment_size; /* bytes of payload in each segment but the last */
    /* ANYK_CHECKSUM_PARTIAL: the sum covers what follows `start` bytes of the frame, and stands
     * `offset` bytes after that. */
    unsigned short checksum_start, checksum_offset;
    int result; /* the answer: 0, or a negative errno for a frame that was dropped */
};

struct anyk_host {
    void *user;
    /* A piece of the kernel's log: `size` bytes of text, newlines included, no terminator. */
    void (*log)(void *user, int level, const char *text, unsigned long size);
    /* The kernel can't go on. Must not return. */
    void (*panic)(void *user, const char *text);
    void (*random)(void *user, void *out, unsigned long size);
    void (*frame_out)(void *user, struct anyk_frame *frame);
    /* What a watched descriptor is ready for may have changed: poll's bits, or 0 for unknown. */
    void (*event)(void *user, long fd, unsigned mask);
};

#pragma GCC visibility push(default)

/*
 * Starts the kernel in `ram`, which the caller has aligned to 4 MiB (the largest block of the page
 * allocator: else where it happens to lie shows in results), with a command line as at boot.
 * Returns 0 or -EIO; then, as after a panic, the image can only be dropped.
 */
int anyk_boot(const struct anyk_host *host, void *ram, unsigned long size,
              unsigned long long now_ns, const char *command_line);

/* Sets the clock; one that goes back is ignored. */
void anyk_enter(unsigned long long now_ns);

/* Lets the kernel's own threads work until all of them wait. Returns when the next timer is due,
 * on anyk_enter's clock; ULLONG_MAX: there is none. */
unsigned long long anyk_leave(void);

/* What timers that are due have to do. */
void anyk_run(void);

/* A system call by its generic number (asm-generic/unistd.h); a negative errno on failure. One
 * that has to wait for time makes the clock jump: see anyk_stolen_ns. */
long anyk_syscall(long number, unsigned long a, unsigned long b, unsigned long c, unsigned long d,
                  unsigned long e, unsigned long f);

/* How far the kernel's clock has jumped ahead of the host's, all in all, because a call waited
 * when nothing else could run. */
unsigned long long anyk_stolen_ns(void);

/* A network device whose wire is the host. `mac`: 6 bytes, or NULL for one of the kernel's
 * choice. Returns its index, or a negative errno. */
long anyk_interface_add(const char *name, unsigned mtu, const unsigned char *mac, int ethernet,
                        unsigned offloads);
int anyk_interface_remove(unsigned index);
int anyk_interface_link(unsigned index, int up);

/* A frame that has come in, copied. `left`: what its sender has left undone, or NULL. */
int anyk_frame_in(unsigned index, const void *frame, unsigned long size,
                  const struct anyk_frame *left);

/* Memory for one frame that the host reads, so that its bytes are not copied: the pieces' number,
 * or -ENOMEM. It holds the longest frame, and stays as it is until a frame in it has come in. */
int anyk_frame_room(struct anyk_piece pieces[ANYK_PIECES_MAXIMUM]);
/* A frame that has come in there. */
int anyk_frame_in_room(unsigned index, unsigned long size, const struct anyk_frame *left);

/* Has `event` called whenever what a descriptor is ready for may have changed, until it is
 * closed. Returns what it is ready for, as anyk_ready: poll's bits. -ENOMEM. */
long anyk_watch(int fd, unsigned mask);
unsigned anyk_ready(int fd);

/* Ends the kernel as a panic would. */
void anyk_fail(const char *text);

#pragma GCC visibility pop

#endif
