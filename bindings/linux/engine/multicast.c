// SPDX-License-Identifier: GPL-2.0
/* Membership of multicast groups (RFC 3678's protocol-independent calls). */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/address.h"
#include "engine/socket_table.h"
#include "engine/system_call.h"

int engine_membership(ps_engine *self, int64_t handle, bool join,
                      const struct ps_membership *membership)
{
    SOCKET(socket, fd);
    (void)socket;
    const struct ps_address *group = &membership->group, *source = &membership->source;
    int level = group->family == PS_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    if (source->family == PS_UNSPECIFIED) {
        struct group_req request = {.gr_interface = membership->interface};
        to_sockaddr(&request.gr_group, group, group->family);
        return (int)CALL(NR_setsockopt, fd, level, join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP,
                         &request, sizeof request);
    }
    struct group_source_req request = {.gsr_interface = membership->interface};
    to_sockaddr(&request.gsr_group, group, group->family);
    to_sockaddr(&request.gsr_source, source, source->family);
    return (int)CALL(NR_setsockopt, fd, level,
                     join ? MCAST_JOIN_SOURCE_GROUP : MCAST_LEAVE_SOURCE_GROUP, &request,
                     sizeof request);
}
