/*
 * The kernel's routes say whether an address is its own. The socket is of the family that a
 * confined process may have, too.
 */
#define _GNU_SOURCE
#include "nic/here.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#define KEPT_US 1000000

int here_open(struct here *self)
{
    self->fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    return self->fd < 0 ? -errno : 0;
}

static bool ask(int fd, const uint8_t address[4])
{
    struct {
        struct nlmsghdr header;
        struct rtmsg route;
        struct rtattr attribute;
        uint8_t address[4];
    } request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = RTM_GETROUTE,
                   .nlmsg_flags = NLM_F_REQUEST},
        .route = {.rtm_family = AF_INET, .rtm_dst_len = 32},
        .attribute = {.rta_len = RTA_LENGTH(4), .rta_type = RTA_DST},
    };
    union {
        struct nlmsghdr header;
        uint8_t bytes[4096];
    } answer;
    memcpy(request.address, address, 4);
    if (send(fd, &request, sizeof request, 0) < 0)
        return false;
    /* The answer is there when the question has been put. */
    ssize_t got = recv(fd, &answer, sizeof answer, 0);
    const struct rtmsg *route = NLMSG_DATA(&answer.header);
    return got >= (ssize_t)NLMSG_LENGTH(sizeof *route) &&
           answer.header.nlmsg_type == RTM_NEWROUTE && route->rtm_type == RTN_LOCAL;
}

bool here_is(struct here *self, const uint8_t address[4], uint64_t now_us)
{
    struct here_answer *answer = &self->answers[address[3] % HERE_KEPT];
    if (self->fd < 0)
        return false;
    if (!answer->known || memcmp(answer->address, address, 4) != 0 ||
        now_us - answer->asked_us >= KEPT_US) {
        memcpy(answer->address, address, 4);
        answer->known = true;
        answer->asked_us = now_us;
        answer->is_here = ask(self->fd, address);
    }
    return answer->is_here;
}
#else
int here_open(struct here *self)
{
    self->fd = -1;
    return -ENOSYS;
}

bool here_is(struct here *self, const uint8_t address[4], uint64_t now_us)
{
    (void)self, (void)address, (void)now_us;
    return false;
}
#endif

void here_close(struct here *self)
{
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
}
