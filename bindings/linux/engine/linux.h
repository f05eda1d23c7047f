// SPDX-License-Identifier: GPL-2.0
/* One instance: the kernel of one Stack, and the calls that engine.h asks for. */
#ifndef PYSTACK_LINUX_H
#define PYSTACK_LINUX_H

#include "asm/anyk.h"
#include "engine.h"

#define MOST_NAMESERVERS 4

/* A listing: the messages of one dump, kept from position 0 to the end, and the position in it. */
struct listing {
    char *memory;
    size_t room, size; /* bytes */
    size_t offset;     /* of the next message */
    size_t position;   /* of the next entry */
};

struct counters {
    struct ps_counter *rows;
    size_t count, room;
};

/* A row of netstat, and what it is sorted by. */
struct connection {
    struct ps_connection row;
    uint32_t inode; /* 0: no socket holds it */
    int fd;         /* that holds it, or -1 */
};

struct connections {
    struct connection *rows;
    size_t count, room;
};

struct sysctl_names {
    char (*names)[PS_TUNABLE_SIZE];
    size_t count, room;
};

struct ps_engine {
    struct ps_hypercalls host;
    struct anyk_host up;
    void *memory; /* the kernel's, as the host gave it */
    unsigned long memory_size;
    int netlink;
    uint32_t sequence;
    struct listing links, addresses, neighbours, routes;
    size_t addresses_end; /* how many of the listing under way the kernel has */
    struct counters counters;
    struct connections connections;
    struct sysctl_names sysctls;            /* of the listing under way */
    size_t sysctls_passed;                  /* how many of them can't be read */
    struct sysctl_initial *sysctl_initials; /* by name, of those that were set */
    int monitor;                            /* notifications of interface changes */
    bool news;                              /* the monitor has some */
    struct group_frames *group_frames;      /* for each Ethernet interface */
    const uint8_t *room_first;              /* of the frame that the host reads; NULL: none */
    struct conflict_watch *watches;         /* addresses that other hosts may have */
    int conflict_socket;                    /* receives ARP while there are some; else 0 */
    bool conflict_news;                     /* it has received some */
    unsigned conflicts;                     /* one after the other, up to the limit of RFC 5227 */
    uint64_t now_us;                        /* by the clock that `enter` has read */
    struct ps_address nameservers[MOST_NAMESERVERS];
    uint64_t real_ns; /* how far CLOCK_REALTIME is ahead of the host's clock, modulo 2^64 */
    struct linux_socket *sockets; /* by descriptor */
    size_t room;
    int *changed; /* descriptors whose readiness may have changed */
    size_t changed_count, changed_room;
};

/* engine_NAME for each call in engine.h, in the file whose subject it is. */
#define DECLARE(result, name, parameters, arguments) \
    result engine_##name(ps_engine *self, PS_UNPACK parameters);
PS_ENGINE_CALLS(DECLARE)
PS_ENGINE_OPTIONAL_CALLS(DECLARE)
#undef DECLARE

#endif
