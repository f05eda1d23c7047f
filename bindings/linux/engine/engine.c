// SPDX-License-Identifier: GPL-2.0
/* Starting and stopping the kernel of one Stack, and the table of calls for the host. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "engine/conflict.h"
#include "engine/connection.h"
#include "engine/hypercalls.h"
#include "engine/interface.h"
#include "engine/linux.h"
#include "engine/linux_option.h"
#include "engine/monitor.h"
#include "engine/proc.h"
#include "engine/readiness.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

#define MIB (1ul << 20)
#define MEMORY (64 * MIB)      /* the machine's, as the kernel sees it */
#define LEAST_MEMORY (8 * MIB) /* where the host has less to give */
#define ALIGNMENT (4 * MIB)    /* asm/anyk.h says why */
#define SOCKET_SHARE 64        /* of the memory, what one TCP socket's buffer may grow to */
#define NETLINK_BUFFER (1 << 20)
#define SO_RCVBUFFORCE 33
#define LOOPBACK 1
#define NS_PER_S 1000000000u
#define NS_PER_US 1000u

static const char command_line[] = "loglevel=5";

static int allocate(const struct ps_hypercalls *host, unsigned long *size, void **out)
{
    int result;
    for (*size = MEMORY; *size >= LEAST_MEMORY; *size /= 2) {
        result = host->memory_allocate(host->user, *size + ALIGNMENT, out);
        if (result == 0)
            return 0;
    }
    return result;
}

static void *aligned(void *memory)
{
    return (void *)(((uintptr_t)memory + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
}

static int boot(ps_engine *self, uint64_t now_us)
{
    int result = allocate(&self->host, &self->memory_size, &self->memory);
    if (result < 0)
        return result;
    hypercalls_answer(self);
    result = anyk_boot(&self->up, aligned(self->memory), self->memory_size, now_us * NS_PER_US,
                       command_line);
    if (result == 0) {
        anyk_leave();
        anyk_enter(now_us * NS_PER_US);
    }
    return result;
}

static int open_netlink(ps_engine *self)
{
    long fd = CALL(NR_socket, AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
    int size = NETLINK_BUFFER; /* an answer is read once all of it is written */
    if (fd < 0)
        return (int)fd;
    self->netlink = (int)fd;
    return (int)CALL(NR_setsockopt, fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
}

/* Buffers that may grow to a mebibyte, as lwIP's: twice what the kernel takes on so small a
 * machine, with which two Stacks of a process spend a seventh of a bulk transfer waking each other.
 * With the six mebibytes of a large one the data has left the processor's caches by the time it is
 * read. */
static int let_buffers_grow(const ps_engine *self)
{
    static const char *const files[] = {"/proc/sys/net/ipv4/tcp_rmem",
                                        "/proc/sys/net/ipv4/tcp_wmem"};
    static const int initial[] = {131072, 16384};
    int result = 0;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && result == 0; i++) {
        char text[64];
        snprintf(text, sizeof text, "4096 %d %lu", initial[i], self->memory_size / SOCKET_SHARE);
        result = proc_write(files[i], text);
    }
    return result;
}

/* Time stamps are on the kernel's wall clock. */
static int compare_clocks(ps_engine *self, uint64_t now_us)
{
    struct timespec real;
    long result = CALL(NR_clock_gettime, CLOCK_REALTIME, &real);
    uint64_t real_ns = (uint64_t)real.tv_sec * NS_PER_S + (uint64_t)real.tv_nsec;
    self->real_ns = real_ns - now_us * NS_PER_US;
    return (int)result;
}

static int furnish(ps_engine *self, uint64_t now_us)
{
    int result = (int)CALL(NR_mkdirat, AT_FDCWD, "/proc", 0755);
    if (result == 0)
        result = (int)CALL(NR_mount, "proc", "/proc", "proc", 0, NULL);
    if (result == 0)
        result = let_buffers_grow(self);
    if (result == 0)
        result = open_netlink(self);
    if (result == 0)
        result = compare_clocks(self, now_us);
    if (result == 0)
        result = engine_interface_set_up(self, LOOPBACK, true);
    return result < 0 ? result : monitor_open(self);
}

static int open_engine(const struct ps_hypercalls *host, ps_engine **out)
{
    if (host->version != PS_HYPERCALLS_VERSION || host->size != sizeof *host)
        return -EPROTO;
    void *memory;
    uint64_t now_us;
    int result = host->memory_allocate(host->user, sizeof(ps_engine), &memory);
    if (result == 0)
        result = host->clock(host->user, &now_us);
    if (result < 0)
        return result;
    ps_engine *self = memory;
    memset(self, 0, sizeof *self);
    self->host = *host;
    result = boot(self, now_us);
    if (result == 0)
        result = furnish(self, now_us);
    if (result < 0)
        return result;
    anyk_leave();
    *out = self;
    return 0;
}

/* A peer that lacks data learns of it by a reset. */
static void end_connection(ps_engine *self, int fd)
{
    static const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    int unacknowledged = 0;
    if (CALL(NR_ioctl, fd, LINUX_SIOCOUTQ, &unacknowledged) == 0 && unacknowledged > 0)
        CALL(NR_setsockopt, fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    socket_forget(self, fd);
    CALL(NR_close, fd);
}

static int close_engine(ps_engine *self, bool abrupt)
{
    /* The host takes back all memory, the kernel's and its image. */
    int result = abrupt ? 0 : connections_end_orphans(self);
    for (size_t fd = 0; !abrupt && fd < self->room; fd++)
        if (self->sockets[fd].open && self->sockets[fd].type != PS_DATAGRAM &&
            self->sockets[fd].type != PS_RAW)
            end_connection(self, (int)fd);
    if (!abrupt)
        anyk_leave();
    return result;
}

static int enter_engine(ps_engine *self)
{
    uint64_t now_us;
    int result = self->host.clock(self->host.user, &now_us);
    if (result < 0)
        return result;
    self->now_us = now_us;
    anyk_enter(now_us * NS_PER_US);
    return 0;
}

static bool has_news(const ps_engine *self)
{
    return self->changed_count > 0 || self->news || self->conflict_news;
}

static void tell(ps_engine *self)
{
    readiness_tell(self);
    if (self->conflict_news)
        conflict_hear(self);
    if (self->news)
        monitor_tell(self);
}

static int leave_engine(ps_engine *self, uint64_t *deadline_us)
{
    tell(self);
    unsigned long long due_ns = anyk_leave();
    while (has_news(self)) { /* from the kernel's threads, meanwhile */
        anyk_enter(0);
        tell(self);
        due_ns = anyk_leave();
    }
    uint64_t due_us = due_ns == UINT64_MAX ? UINT64_MAX : (due_ns + NS_PER_US - 1) / NS_PER_US;
    uint64_t own_us = conflict_deadline(self);
    *deadline_us = own_us < due_us ? own_us : due_us;
    return 0;
}

static int run_engine(ps_engine *self)
{
    anyk_run();
    conflict_run(self);
    return 0;
}

static int fail_engine(ps_engine *self, const char *text)
{
    (void)self;
    anyk_fail(text);
    return 0;
}

#ifndef LINUX_RELEASE /* what builds the library says it, from the kernel's Makefile */
#define LINUX_RELEASE "6.12"
#endif

__attribute__((visibility("default"))) const struct ps_engine_table ps_engine_table = {
    .version = PS_ENGINE_VERSION,
    .size = sizeof(struct ps_engine_table),
    .name = "linux",
    .release = LINUX_RELEASE,
    .open = open_engine,
    .close = close_engine,
    .enter = enter_engine,
    .leave = leave_engine,
    .run = run_engine,
    .fail = fail_engine,
#define ENTRY(result, name, parameters, arguments) .name = engine_##name,
    PS_ENGINE_CALLS(ENTRY)
#undef ENTRY
        .frame_in_offload = engine_frame_in_offload,
    .frame_room = engine_frame_room,
    .frame_in_room = engine_frame_in_room,
    .tunable_text = engine_tunable_text,
    .tunable_set_text = engine_tunable_set_text,
    .socket_receive_error = engine_socket_receive_error,
    .option_set_raw = engine_option_set_raw,
    .option_get_raw = engine_option_get_raw,
    .address_prefer = engine_address_prefer,
    .qdisc_set = engine_qdisc_set,
    .qdisc_get = engine_qdisc_get,
};
