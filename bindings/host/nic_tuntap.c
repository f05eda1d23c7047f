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

ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, int *error)
{
    struct ifreq request = {0};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        *error = errno;
        return NULL;
    }
    memcpy(request.ifr_name, name, IFNAMSIZ);
    request.ifr_flags = (short)((layer == PS_LAYER_ETHERNET ? IFF_TAP : IFF_TUN) | IFF_NO_PI);
    int result = ioctl(fd, TUNSETIFF, &request) != 0 ? -errno : 0;
    if (result == 0) {
        memcpy(name, request.ifr_name, IFNAMSIZ);
        result = settle_mtu(name, &mtu);
    }
    if (result < 0) {
        close(fd);
        *error = -result;
        return NULL;
    }
    ps_nic *nic = ps_nic_descriptor(fd, PS_FRAMING_DATAGRAM, layer, mtu, error);
    if (nic == NULL)
        close(fd);
    return nic;
}
#else
ps_nic *ps_nic_tuntap(char name[16], uint8_t layer, uint32_t mtu, int *error)
{
    (void)name, (void)layer, (void)mtu;
    *error = ENOSYS;
    return NULL;
}
#endif
