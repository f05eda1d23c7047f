/*
 * Datagrams carried between a Stack's socket and one of the kernel's, many in a call: from Python
 * each would cost two calls and two turns of the GIL.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "channel/channel.h"
#include "stack/stack.h"

#define LARGEST 65535

/* No room for it, or it is too long for the path: lost, as any datagram may be. */
static bool is_loss(int64_t error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS ||
           error == EMSGSIZE;
}

int64_t ps_datagrams_out(ps_stack *stack, int64_t handle, int descriptor, uint32_t most, int *error)
{
    uint8_t *data = malloc(LARGEST);
    int64_t count = 0, size = 0;
    *error = 0;
    if (data == NULL)
        return -ENOMEM;
    while (count < most && *error == 0) {
        size = ps_receive_plain(stack, handle, data, LARGEST, 0);
        if (size < 0)
            break;
        count++;
        if (send(descriptor, data, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
            !is_loss(errno))
            *error = errno;
    }
    free(data);
    return size < 0 && size != -EAGAIN ? size : count;
}

int64_t ps_datagrams_in(ps_stack *stack, int64_t handle, int descriptor, uint32_t most, int *error)
{
    uint8_t *data = malloc(LARGEST);
    int64_t count = 0, result = 0;
    *error = 0;
    if (data == NULL)
        return -ENOMEM;
    while (count < most && result >= 0) {
        ssize_t size = recv(descriptor, data, LARGEST, MSG_DONTWAIT);
        if (size < 0) {
            *error = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : errno;
            break;
        }
        count++;
        result = ps_send_plain(stack, handle, data, (size_t)size, NULL, 0);
        if (result < 0 && is_loss(-result))
            result = 0;
    }
    free(data);
    return result < 0 ? result : count;
}
