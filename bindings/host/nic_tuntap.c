/*
 * TAP and TUN devices of Linux.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#endif

#include "nic.h"
#include "nic_api.h"

#ifdef __linux__
/* Gives the device the MTU that was asked for, or learns the one it has (`*mtu` 0). Devices
 * that others have made may not be changed by us: then theirs holds. */
static int settle_mtu(const char *name, uint32_t *mtu)
{
    struct ifreq request = {0};
    memcpy(request.ifr_name, name, IFNAMSIZ);
    int socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
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
    return ioctl(fd, TUNSETOFFLOAD, flags) != 0 ? -errno : 0;
}

/* The best that this kernel does, tried and undone again: a Stack asks for it. */
static uint32_t find_offloads(int fd)
{
    static const uint32_t choices[] = {PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4 | PS_OFFLOAD_TCP6,
                                       PS_OFFLOAD_CHECKSUM | PS_OFFLOAD_TCP4, PS_OFFLOAD_CHECKSUM};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        if (configure(fd, choices[i]) == 0)
            return configure(fd, 0) == 0 ? choices[i] : 0;
    return 0;
}

/* Makes the descriptor a device's; with *offloads, if the kernel has virtio's header. */
static int take_device(int fd, struct ifreq *request, uint8_t layer, bool offload,
                       uint32_t *offloads, enum ps_framing *framing)
{
    const int flags = (layer == PS_LAYER_ETHERNET ? IFF_TAP : IFF_TUN) | IFF_NO_PI;
    const int header_size = VIRTIO_HEADER;
    *offloads = 0;
    *framing = PS_FRAMING_DATAGRAM;
    if (offload) {
        request->ifr_flags = (short)(flags | IFF_VNET_HDR);
        if (ioctl(fd, TUNSETIFF, request) == 0) {
            *framing = PS_FRAMING_VIRTIO;
            if (ioctl(fd, TUNSETVNETHDRSZ, &header_size) != 0)
                return -errno;
            *offloads = find_offloads(fd);
            return 0;
        }
        if (errno != EINVAL)
            return -errno;
    }
    request->ifr_flags = (short)flags;
    return ioctl(fd, TUNSETIFF, request) != 0 ? -errno : 0;
}

ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, bool offload, int *error)
{
    struct ifreq request = {0};
    uint32_t offloads;
    enum ps_framing framing;
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        *error = errno;
        return NULL;
    }
    memcpy(request.ifr_name, name, IFNAMSIZ);
    int result = take_device(fd, &request, layer, offload, &offloads, &framing);
    if (result == 0) {
        memcpy(name, request.ifr_name, IFNAMSIZ);
        result = settle_mtu(name, &mtu);
    }
    if (result < 0) {
        close(fd);
        *error = -result;
        return NULL;
    }
    ps_nic *nic = ps_nic_descriptor(fd, framing, layer, mtu, error);
    if (nic == NULL)
        close(fd);
    else
        descriptor_nic_configure(nic, offloads, configure);
    return nic;
}
#else
ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, bool offload, int *error)
{
    (void)name, (void)layer, (void)mtu, (void)offload;
    *error = ENOSYS;
    return NULL;
}
#endif
