/*
 * The filter of system calls. socket(2) is refused with EACCES, which it gives where a kind of
 * socket is not allowed; EAFNOSUPPORT would have programs go on quietly, as on a machine without
 * IPv6. io_uring makes sockets without that call, so its setup is refused, with ENOSYS, after
 * which programs do without. All else passes at next to no cost: the kernel keeps a table of the
 * calls that a filter lets through whatever their arguments are.
 */
#define _GNU_SOURCE
#include "api/confine.h"

#include <errno.h>

#if defined(__linux__) && (defined(__x86_64__) || defined(__aarch64__))

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Of later kernels than the headers may be of. */
#define FILTER_TSYNC (1u << 0)
#define FILTER_SPEC_ALLOW (1u << 2)
#define FILTER_NEW_LISTENER (1u << 3)
#define FILTER_TSYNC_ESRCH (1u << 4)
#define FILTER_WAIT_KILLABLE (1u << 5)
#define RET_USER_NOTIF 0x7fc00000u
#define IO_URING_SETUP 425 /* everywhere */
#define FAMILY_RDS 21
#define FAMILY_SMC 43
#define FAMILY_XDP 44

/* The other kind of program that this kernel may run asks for a socket by another call, or
 * by socketcall(2), which keeps the family where a filter can't look: refused for all. */
#ifdef __x86_64__
#define OTHER_ARCHITECTURE AUDIT_ARCH_I386
#define OTHER_SOCKET 359
#define NUMBER_BITS 0xbfffffffu /* x32 has the same numbers, marked */
#else
#define OTHER_ARCHITECTURE AUDIT_ARCH_ARM
#define OTHER_SOCKET 281
#define NUMBER_BITS 0xffffffffu
#endif
#define OTHER_SOCKETCALL 102
#define SOCKETCALL_SOCKET 1

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
/* The low half of the first argument: both architectures are little-endian. */
#define LOAD_ARGUMENT LOAD(args[0])
#define JUMP_IF(value, then, otherwise) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (then), (otherwise))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define RETURN_IF(value, action) JUMP_IF(value, 0, 1), RETURN(action)

static int set_filter(uint32_t flags, uint32_t refused)
{
    const uint32_t missing = SECCOMP_RET_ERRNO | ENOSYS;
    struct sock_filter code[] = {
        LOAD(arch),
        JUMP_IF(OTHER_ARCHITECTURE, 0, 9),
        LOAD(nr),
        RETURN_IF(IO_URING_SETUP, missing),
        JUMP_IF(OTHER_SOCKET, 11, 0), /* to the families */
        JUMP_IF(OTHER_SOCKETCALL, 0, 3),
        LOAD_ARGUMENT,
        RETURN_IF(SOCKETCALL_SOCKET, refused),
        RETURN(SECCOMP_RET_ALLOW),
        /* this one's own */
        LOAD(nr),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, NUMBER_BITS),
        RETURN_IF(IO_URING_SETUP, missing),
        JUMP_IF(__NR_socket, 1, 0),
        RETURN(SECCOMP_RET_ALLOW),
        /* the families */
        LOAD_ARGUMENT,
        RETURN_IF(AF_INET, refused),
        RETURN_IF(AF_INET6, refused),
        RETURN_IF(AF_PACKET, refused),
        RETURN_IF(FAMILY_RDS, refused),
        RETURN_IF(FAMILY_SMC, refused),
        RETURN_IF(FAMILY_XDP, refused),
        RETURN(SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    long result = syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (result < 0)
        return -errno;
    /* Without a listener a positive number is that of a thread that couldn't follow. */
    return result > 0 && !(flags & FILTER_NEW_LISTENER) ? -ESRCH : (int)result;
}

/* Tries without giving up the right to gain rights first, which root need not do. */
static int try_filter(uint32_t flags, uint32_t refused)
{
    int result = set_filter(flags, refused);
    if (result != -EACCES)
        return result;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return -errno;
    return set_filter(flags, refused);
}

/* The filter's descriptor, or -errno. */
static int listening_filter(uint32_t threads)
{
    uint32_t flags = FILTER_SPEC_ALLOW | FILTER_NEW_LISTENER | threads;
    if (threads != 0)
        flags |= FILTER_TSYNC_ESRCH;
    int listener = try_filter(flags | FILTER_WAIT_KILLABLE, RET_USER_NOTIF);
    return listener == -EINVAL ? try_filter(flags, RET_USER_NOTIF) : listener;
}

static bool is_confined(void)
{
    int probe = socket(AF_INET, PS_PROBE_TYPE, PS_PROBE_PROTOCOL);
    if (probe >= 0)
        close(probe);
    return probe < 0 && (errno == EACCES || errno == EALREADY);
}

int ps_confine(const char *remedy, bool all_threads)
{
    if (is_confined())
        return 0; /* a second filter would keep the first one's teller from telling */
    const uint32_t threads = all_threads ? FILTER_TSYNC : 0;
    int channel;
    if (ps_start_teller(remedy, &channel) == 0) {
        int listener = listening_filter(threads);
        if (listener >= 0)
            return ps_hand_over(channel, listener) == 0;
        close(channel);
    }
    const uint32_t refused = SECCOMP_RET_ERRNO | EACCES;
    int result = try_filter(threads | FILTER_SPEC_ALLOW, refused);
    return result == -EINVAL ? try_filter(threads, refused) : result;
}

#else

int ps_confine(const char *remedy, bool all_threads)
{
    (void)remedy;
    (void)all_threads;
    return -ENOSYS;
}

#endif
