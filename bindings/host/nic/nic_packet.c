/*
 * A packet socket on a device of the kernel's: all its frames, beside the kernel's own stack.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#endif

#include "api/nic_api.h"
#include "nic/nic.h"
#include "nic/partial_checksum.h"

#ifdef __linux__
#define MOST_VECTORS 64

struct packet_nic {
    ps_nic nic;
    int fd;
};

static int transmit(ps_nic *nic, const struct ps_piece *pieces, size_t count, size_t total,
                    uint64_t now_us)
{
    (void)total, (void)now_us;
    struct iovec vectors[MOST_VECTORS];
    if (count > MOST_VECTORS)
        return -EMSGSIZE;
    for (size_t i = 0; i < count; i++)
        vectors[i] = (struct iovec){pieces[i].base, pieces[i].size};
    if (writev(((struct packet_nic *)nic)->fd, vectors, (int)count) >= 0)
        return 0;
    return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? -ENOBUFS : -errno;
}

/* A frame from this very machine, whose checksum would have been the NIC's to make. */
static bool checksum_is_partial(struct msghdr *message)
{
    for (struct cmsghdr *each = CMSG_FIRSTHDR(message); each != NULL;
         each = CMSG_NXTHDR(message, each)) {
        if (each->cmsg_level != SOL_PACKET || each->cmsg_type != PACKET_AUXDATA)
            continue;
        struct tpacket_auxdata facts;
        memcpy(&facts, CMSG_DATA(each), sizeof facts);
        return (facts.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
    }
    return false;
}

static ssize_t receive(ps_nic *nic, uint8_t *frame, size_t room, uint64_t now_us)
{
    (void)now_us;
    for (;;) {
        struct sockaddr_ll from;
        union {
            struct cmsghdr header; /* for its alignment */
            char room[CMSG_SPACE(sizeof(struct tpacket_auxdata))];
        } control;
        struct iovec piece = {frame, room};
        struct msghdr message = {.msg_name = &from,
                                 .msg_namelen = sizeof from,
                                 .msg_iov = &piece,
                                 .msg_iovlen = 1,
                                 .msg_control = &control,
                                 .msg_controllen = sizeof control};
        ssize_t got = recvmsg(((struct packet_nic *)nic)->fd, &message, MSG_DONTWAIT);
        if (got < 0)
            return errno == EINTR || errno == EWOULDBLOCK || errno == ENETDOWN ? -EAGAIN : -errno;
        /* The socket hears what this host sends, too, ours and the kernel's. */
        if (from.sll_pkttype == PACKET_OUTGOING || got == 0)
            continue;
        if (checksum_is_partial(&message))
            partial_checksum_finish(frame, (size_t)got);
        return got;
    }
}

static int descriptor(ps_nic *nic)
{
    return ((struct packet_nic *)nic)->fd;
}

static void forget(ps_nic *nic)
{
    struct packet_nic *self = (struct packet_nic *)nic;
    close(self->fd);
    self->fd = -1;
}

static void destroy(ps_nic *nic)
{
    forget(nic);
    free(nic);
}

static const struct ps_nic_kind kind = {
    .name = "packet",
    .transmit = transmit,
    .receive = receive,
    .descriptor = descriptor,
    .forget = forget,
    .destroy = destroy,
};

static int bind_to(int fd, const char *device, bool promiscuous, uint32_t *mtu)
{
    struct ifreq request = {0};
    strncpy(request.ifr_name, device, IFNAMSIZ - 1);
    if (ioctl(fd, SIOCGIFMTU, &request) != 0)
        return -errno;
    *mtu = (uint32_t)request.ifr_mtu > PS_MTU_MAXIMUM ? PS_MTU_MAXIMUM : (uint32_t)request.ifr_mtu;
    int index = (int)if_nametoindex(device);
    struct sockaddr_ll address = {
        .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0)
        return -errno;
    if (setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &(int){1}, sizeof(int)) != 0)
        return -errno;
    struct packet_mreq everything = {.mr_ifindex = index, .mr_type = PACKET_MR_PROMISC};
    if (promiscuous &&
        setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &everything, sizeof everything) != 0)
        return -errno;
    return 0;
}

ps_nic *ps_nic_packet(const char *device, bool promiscuous, int *error)
{
    uint32_t mtu = 0;
    /* Protocol 0: no frame before it is bound, or frames of all devices would come first. */
    int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int result = fd < 0 ? -errno : bind_to(fd, device, promiscuous, &mtu);
    struct packet_nic *self = result < 0 ? NULL : calloc(1, sizeof *self);
    if (result == 0)
        result = self == NULL ? -ENOMEM : nic_init(&self->nic, &kind, PS_LAYER_ETHERNET, mtu);
    if (result < 0) {
        if (fd >= 0)
            close(fd);
        free(self);
        *error = -result;
        return NULL;
    }
    self->fd = fd;
    return &self->nic;
}
#else
ps_nic *ps_nic_packet(const char *device, bool promiscuous, int *error)
{
    (void)device, (void)promiscuous;
    *error = ENOSYS;
    return NULL;
}
#endif
