/*
 * TAP and TUN devices of Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#endif

#include "api/nic_api.h"
#include "nic/nic.h"
#include "nic/nic_descriptor.h"
#include "nic/queues.h"

#ifdef __linux__
/* Gives the device the MTU that was asked for, or learns the one it has (`*mtu` 0). Devices
 * that others have made may not be changed by us: then theirs holds. */
static int settle_mtu(const char *name, uint32_t *mtu)
{
    struct ifreq request = {0};
    memcpy(request.ifr_name, name, IFNAMSIZ);
    /* Of any family; this one is allowed in a confined process, too. */
    int socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0)
        return -errno;
    int result = 0;
    request.ifr_mtu = (int)*mtu;
    if (*mtu == 0 || ioctl(socket_fd, SIOCSIFMTU, &request) != 0) {
        if (ioctl(socket_fd, SIOCGIFMTU, &request) != 0)
            result = -errno;
        else
            *mtu = (uint32_t)request.ifr_mtu;
    }
    close(socket_fd);
    return result;
}

#ifndef TUN_F_CSUM
#define TUN_F_CSUM 1
#define TUN_F_TSO4 2
#define TUN_F_TSO6 4
#endif
#ifndef TUN_F_USO4 /* since Linux 6.2, which takes the two together alone */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

/* Tells the kernel what may be left undone in the frames that we read. */
static int configure(int fd, uint32_t offloads)
{
    unsigned flags = 0;
    if (offloads & PS_OFFLOAD_CHECKSUM)
        flags |= TUN_F_CSUM;
    if (offloads & PS_OFFLOAD_TCP4)
        flags |= TUN_F_TSO4;
    if (offloads & PS_OFFLOAD_TCP6)
        flags |= TUN_F_TSO6;
    if (offloads & PS_OFFLOAD_UDP)
        flags |= TUN_F_USO4 | TUN_F_USO6;
    return ioctl(fd, TUNSETOFFLOAD, flags) != 0 ? -errno : 0;
}

/* Whether the kernel takes IPv4 packets whose length field is 0, which it does since 6.3, and so
 * long ones from a TAP: more than 68 KiB since 6.6. There is nothing to ask but its release. */
static bool takes_longest(void)
{
    struct utsname machine;
    int major, minor;
    return uname(&machine) == 0 && sscanf(machine.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 6));
}

/* The best that this kernel does, tried and undone again: a Stack asks for it. */
static uint32_t find_offloads(int fd)
{
    static const uint32_t choices[] = {PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4 | PS_OFFLOAD_TCP6 |
                                           PS_OFFLOAD_UDP,
                                       PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4 | PS_OFFLOAD_TCP6,
                                       PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4, PS_OFFLOAD_CHECKSUM};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (configure(fd, choices[i]) != 0)
            continue;
        if (configure(fd, 0) != 0)
            return 0;
        bool longest = choices[i] & PS_OFFLOAD_TCP4 && takes_longest();
        return choices[i] | (longest ? PS_OFFLOAD_TCP4_LONGEST : 0);
    }
    return 0;
}

/* Of a device that several share, for good: with one's end the others go on. */
static uint32_t settle_offloads(int fd)
{
    uint32_t offloads = find_offloads(fd);
    return configure(fd, offloads) == 0 ? offloads : 0;
}

struct wish {
    uint8_t layer;
    bool offload;
    unsigned queues;
};

/* Makes the descriptor a device's; with *offloads, if the kernel has virtio's header. That header
 * is the device's, not the queue's: those that share one take it in any case. */
static int take_device(int fd, struct ifreq *request, const struct wish *wish, uint32_t *offloads,
                       enum ps_framing *framing)
{
    const int flags = (wish->layer == PS_LAYER_ETHERNET ? IFF_TAP : IFF_TUN) | IFF_NO_PI |
                      (wish->queues > 1 ? IFF_MULTI_QUEUE : 0);
    const int header_size = VIRTIO_HEADER;
    *offloads = 0;
    *framing = PS_FRAMING_DATAGRAM;
    if (wish->offload || wish->queues > 1) {
        request->ifr_flags = (short)(flags | IFF_VNET_HDR);
        if (ioctl(fd, TUNSETIFF, request) == 0) {
            *framing = PS_FRAMING_VIRTIO;
            if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) != 0)
                return -errno;
            if (wish->offload)
                *offloads = wish->queues > 1 ? settle_offloads(fd) : find_offloads(fd);
            return 0;
        }
        if (errno != EINVAL || wish->queues > 1)
            return -errno;
    }
    request->ifr_flags = (short)flags;
    return ioctl(fd, TUNSETIFF, request) != 0 ? -errno : 0;
}

/* The Ethernet address of all that share the device: made from the kernel's own, so that they agree
 * on it without a word. */
static int shared_mac(int fd, uint8_t mac[6])
{
    struct ifreq request = {0};
    if (ioctl(fd, SIOCGIFHWADDR, &request) != 0)
        return -errno;
    memcpy(mac, request.ifr_hwaddr.sa_data, 6);
    mac[0] = (uint8_t)((mac[0] | 2) & ~1); /* locally administered, and no group */
    mac[5] ^= 0x80;
    return 0;
}

static struct queues *share(int fd, const char *name, unsigned count, int *error)
{
    unsigned device = if_nametoindex(name);
    if (device == 0) {
        *error = errno;
        return NULL;
    }
    return queues_join(fd, device, count, error);
}

static ps_nic *on_device(int fd, const char *name, const struct wish *wish, uint32_t mtu,
                         uint32_t offloads, enum ps_framing framing, int *error)
{
    struct queues *queues = NULL;
    uint8_t mac[6];
    if (wish->queues > 1) {
        *error = wish->layer == PS_LAYER_ETHERNET ? -shared_mac(fd, mac) : 0;
        if (*error != 0)
            return NULL;
        queues = share(fd, name, wish->queues, error);
        if (queues == NULL)
            return NULL;
    }
    ps_nic *nic = ps_nic_descriptor(fd, framing, wish->layer, mtu, error);
    if (nic == NULL) {
        if (queues != NULL)
            queues_leave(queues);
        return NULL;
    }
    if (offloads & PS_OFFLOAD_TCP4_LONGEST) {
        struct here here = {0};
        if (here_open(&here) < 0)
            offloads &= ~(uint32_t)PS_OFFLOAD_TCP4_LONGEST;
        descriptor_nic_place(nic, &here);
    }
    if (queues == NULL) {
        descriptor_nic_configure(nic, offloads, configure);
        return nic;
    }
    descriptor_nic_share(nic, offloads, queues);
    nic->has_mac = wish->layer == PS_LAYER_ETHERNET;
    if (nic->has_mac)
        memcpy(nic->mac, mac, sizeof mac);
    return nic;
}

ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, bool offload, unsigned queues,
                      int *error)
{
    struct ifreq request = {0};
    const struct wish wish = {layer, offload, queues};
    uint32_t offloads;
    enum ps_framing framing;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        *error = errno;
        return NULL;
    }
    memcpy(request.ifr_name, name, IFNAMSIZ);
    int result = take_device(fd, &request, &wish, &offloads, &framing);
    if (result == 0) {
        memcpy(name, request.ifr_name, IFNAMSIZ);
        result = settle_mtu(name, &mtu);
    }
    *error = -result;
    ps_nic *nic = result < 0 ? NULL : on_device(fd, name, &wish, mtu, offloads, framing, error);
    if (nic == NULL)
        close(fd);
    return nic;
}
#else
ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, bool offload, unsigned queues,
                      int *error)
{
    (void)name, (void)layer, (void)mtu, (void)offload, (void)queues;
    *error = ENOSYS;
    return NULL;
}
#endif
