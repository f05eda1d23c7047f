/*
 * Datagrams carried between a Stack's socket and one of the kernel's, many in a call: from Python
 * each would cost two calls and two turns of the GIL.
 *
 * An error that the network reports about an earlier datagram comes before what waits to be read,
 * and in the place of what is being sent. Whoever hears of it ends the flow: so all that is there
 * is carried first.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "channel/channel.h"
#include "stack/stack.h"

#define LARGEST 65535
/* So many of a flow that has failed: there is no end of them where they come as fast. */
#define MOST_LAST 4096

/* No room for it, or it is too long for the path: lost, as any datagram may be. */
static bool is_loss(int64_t error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR || error == ENOBUFS ||
           error == EMSGSIZE;
}

/* What the network says of an earlier one. */
static bool is_report(int64_t error)
{
    return error == ECONNREFUSED || error == EHOSTUNREACH || error == ENETUNREACH ||
           error == EACCES || error == EPROTO || error == EOPNOTSUPP;
}

/* 0, or the error; if it was an earlier one's, this one is sent all the same. */
static int send_outside(int descriptor, const uint8_t *data, size_t size)
{
    const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    if (send(descriptor, data, size, flags) >= 0 || is_loss(errno))
        return 0;
    int error = errno;
    if (is_report(error))
        (void)!send(descriptor, data, size, flags); /* whose error would be the same news */
    return error;
}

static int64_t send_inside(ps_stack *stack, int64_t handle, const uint8_t *data, size_t size)
{
    int64_t result = ps_send_plain(stack, handle, data, size, NULL, 0);
    if (result >= 0 || is_loss(-result))
        return 0;
    if (is_report(-result))
        ps_send_plain(stack, handle, data, size, NULL, 0);
    return result;
}

int64_t ps_datagrams_out(ps_stack *stack, int64_t handle, int descriptor, uint32_t most, int *error)
{
    uint8_t *data = malloc(LARGEST);
    int64_t count = 0, failed = 0;
    *error = 0;
    if (data == NULL)
        return -ENOMEM;
    while (count < (failed != 0 || *error != 0 ? MOST_LAST : most)) {
        int64_t size = ps_receive_plain(stack, handle, data, LARGEST, 0);
        if (size == -EAGAIN)
            break;
        if (size < 0) {
            bool is_first = failed == 0;
            failed = is_first ? size : failed;
            if (is_first && is_report(-size))
                continue;
            break;
        }
        count++;
        int sent = send_outside(descriptor, data, (size_t)size);
        if (*error == 0)
            *error = sent;
        if (sent != 0 && !is_report(sent))
            break;
    }
    free(data);
    return failed < 0 ? failed : count;
}

int64_t ps_datagrams_in(ps_stack *stack, int64_t handle, int descriptor, uint32_t most, int *error)
{
    uint8_t *data = malloc(LARGEST);
    int64_t count = 0, failed = 0;
    *error = 0;
    if (data == NULL)
        return -ENOMEM;
    while (count < (failed != 0 || *error != 0 ? MOST_LAST : most)) {
        ssize_t size = recv(descriptor, data, LARGEST, MSG_DONTWAIT);
        if (size < 0) {
            if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
                break;
            bool is_first = *error == 0;
            *error = is_first ? errno : *error;
            if (is_first && is_report(*error))
                continue;
            break;
        }
        count++;
        int64_t sent = send_inside(stack, handle, data, (size_t)size);
        if (failed == 0)
            failed = sent;
        if (sent < 0 && !is_report(-sent))
            break;
    }
    free(data);
    return failed < 0 ? failed : count;
}
