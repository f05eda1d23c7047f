// SPDX-License-Identifier: GPL-2.0
/*
 * Socket options. Those without a name in engine.h, which are most, go to the kernel unchanged.
 */
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include "engine/linux_option.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

static int ask(int fd, unsigned request, int64_t *value)
{
    int answer = 0;
    long result = CALL(NR_ioctl, fd, request, &answer);
    *value = answer;
    return (int)result;
}

static int get(int fd, int name, int64_t *value)
{
    int number = 0, size = sizeof number;
    long result = CALL(NR_getsockopt, fd, SOL_SOCKET, name, &number, &size);
    *value = number;
    return (int)result;
}

int engine_option_get(ps_engine *self, int64_t handle, enum ps_option option, int64_t *value)
{
    SOCKET(socket, fd);
    switch (option) {
    case PS_OPT_ERROR:
        return get(fd, SO_ERROR, value);
    case PS_OPT_TYPE:
        *value = socket->type;
        return 0;
    case PS_OPT_PROTOCOL:
        return get(fd, SO_PROTOCOL, value);
    case PS_OPT_FAMILY:
        *value = socket->family;
        return 0;
    case PS_OPT_LISTENING:
        return get(fd, SO_ACCEPTCONN, value);
    case PS_OPT_LINGER:
        *value = socket->linger;
        return 0;
    case PS_OPT_BYTES_QUEUED:
        return ask(fd, LINUX_FIONREAD, value);
    case PS_OPT_BYTES_UNSENT:
        return ask(fd, LINUX_SIOCOUTQ, value);
    case PS_OPT_BYTES_NOT_SENT:
        return ask(fd, LINUX_SIOCOUTQNSD, value);
    case PS_OPT_AT_MARK:
        return ask(fd, LINUX_SIOCATMARK, value);
    default:
        return -ENOPROTOOPT;
    }
}

/* The host does SO_LINGER's waiting, then closes: a close here must never wait. A linger of 0 is a
 * reset, which Linux sends at once. */
static int set_linger(struct linux_socket *socket, int fd, int64_t seconds)
{
    struct linger linger = {.l_onoff = seconds == 0, .l_linger = 0};
    if (seconds > INT_MAX)
        return -EINVAL;
    long result = CALL(NR_setsockopt, fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    if (result == 0)
        socket->linger = seconds < 0 ? NO_LINGER : (int)seconds;
    return (int)result;
}

int engine_option_set(ps_engine *self, int64_t handle, enum ps_option option, int64_t value)
{
    SOCKET(socket, fd);
    return option == PS_OPT_LINGER ? set_linger(socket, fd, value) : -ENOPROTOOPT;
}

/* An option that Linux takes by pointer is passed by value here. */
static bool is_filter(int level, int name)
{
    return level == SOL_SOCKET && (name == SO_ATTACH_FILTER || name == SO_ATTACH_REUSEPORT_CBPF);
}

int engine_option_set_raw(ps_engine *self, int64_t handle, int level, int name, const void *value,
                          size_t size)
{
    SOCKET(socket, fd);
    (void)socket;
    if (size > INT_MAX)
        return -EINVAL;
    if (!is_filter(level, name))
        return (int)CALL(NR_setsockopt, fd, level, name, value, size);
    struct sock_fprog program = {.len = (unsigned short)(size / sizeof(struct sock_filter)),
                                 .filter = (struct sock_filter *)(uintptr_t)value};
    return (int)CALL(NR_setsockopt, fd, level, name, &program, sizeof program);
}

int engine_option_get_raw(ps_engine *self, int64_t handle, int level, int name, void *value,
                          size_t *size)
{
    SOCKET(socket, fd);
    (void)socket;
    /* A filter's length is in instructions, not bytes. */
    bool instructions = level == SOL_SOCKET && name == SO_GET_FILTER;
    size_t unit = instructions ? sizeof(struct sock_filter) : 1, most = *size / unit;
    int room = most < INT_MAX ? (int)most : INT_MAX;
    long result = CALL(NR_getsockopt, fd, level, name, value, &room);
    if (result == 0 && (size_t)room > most)
        return -EINVAL; /* the caller only asked for the length */
    *size = (size_t)room * unit;
    return (int)result;
}
