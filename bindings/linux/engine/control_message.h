// SPDX-License-Identifier: GPL-2.0
/* Ancillary data of sendmsg(2) and recvmsg(2), as engine.h has it. */
#ifndef PYSTACK_LINUX_CONTROL_MESSAGE_H
#define PYSTACK_LINUX_CONTROL_MESSAGE_H

#include <sys/socket.h>

#include "engine/linux.h"

union control_room {
    struct cmsghdr aligned;
    char bytes[512];
};

/* Into `room`, which the message refers to from then on. */
void control_write(struct msghdr *message, union control_room *room, uint8_t family,
                   const struct ps_address *to, const struct ps_send_control *control);
/* `real_ns`: how far time stamps are ahead of the host's clock, modulo 2^64. `error` may be NULL.
 */
void control_read(struct msghdr *message, uint8_t family, uint64_t real_ns, struct ps_message *out,
                  struct ps_socket_error *error);

#endif
