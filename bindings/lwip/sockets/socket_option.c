/*
 * Socket options that mean the same for every kind of socket; the rest go to the kind.
 */
#include <errno.h>

#include "base/entries.h"
#include "base/hooks.h"
#include "base/tunables.h"
#include "ip/path_mtu.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/ip.h"
#include "sockets/error_queue.h"
#include "sockets/option_field.h"

bool hook_tcp_minds_hops;

/* --- the queue of errors -------------------------------------------------------------------- */

static bool *error_switch(struct error_queue *errors, enum ps_option option)
{
    switch (option) {
    case PS_OPT_IP_RECVERR:
        return &errors->on4;
    case PS_OPT_IPV6_RECVERR:
        return &errors->on6;
    case PS_OPT_IP_RECVERR_RFC4884:
        return &errors->extensions4;
    default:
        return &errors->extensions6;
    }
}

static bool is_error_option6(enum ps_option option)
{
    return option == PS_OPT_IPV6_RECVERR || option == PS_OPT_IPV6_RECVERR_RFC4884;
}

static int get_error_option(struct port_socket *socket, enum ps_option option, int64_t *value)
{
    if (is_error_option6(option) && socket->family != PS_INET6)
        return -ENOPROTOOPT;
    *value = *error_switch(&socket->errors, option);
    return 0;
}

static int set_error_option(struct port_socket *socket, enum ps_option option, int64_t value)
{
    bool is_queue = option == PS_OPT_IP_RECVERR || option == PS_OPT_IPV6_RECVERR;
    if (is_error_option6(option) && socket->family != PS_INET6)
        return -ENOPROTOOPT;
    if (!is_queue && value != 0 && value != 1)
        return -EINVAL;
    *error_switch(&socket->errors, option) = value != 0;
    if (is_queue && value == 0)
        errors_drop(socket);
    return 0;
}

/* --- the MTU of paths ----------------------------------------------------------------------- */

static int set_discovery(struct port_socket *socket, enum ps_option option, int64_t value)
{
    enum { LEAST_MTU6 = 1280 };
    struct discovery *discovery = &socket->discovery;
    if (option != PS_OPT_IP_MTU_DISCOVER && socket->family != PS_INET6)
        return -ENOPROTOOPT;
    switch (option) {
    case PS_OPT_IPV6_DONTFRAG:
        discovery->dont_fragment6 = value != 0;
        return 0;
    case PS_OPT_IPV6_MTU:
        if (value != 0 && value < LEAST_MTU6)
            return -EINVAL;
        discovery->least6 = (uint32_t)value;
        return 0;
    default:
        if (value < PMTU_DONT || value > PMTU_OMIT)
            return -EINVAL;
        *(option == PS_OPT_IP_MTU_DISCOVER ? &discovery->mode4 : &discovery->mode6) =
            (uint8_t)value;
        return 0;
    }
}

/* RFC 5082: a neighbour sends with 255, and routers decrement that. */
static int set_least(struct port_socket *socket, enum ps_option option, int64_t value)
{
    if (option == PS_OPT_IPV6_MINHOPCOUNT && socket->family != PS_INET6)
        return -ENOPROTOOPT;
    if (value < 0 || value > UINT8_MAX)
        return -EINVAL;
    *(option == PS_OPT_IP_MINTTL ? &socket->options.least_ttl : &socket->options.least_hops) =
        (uint8_t)value;
    hook_tcp_minds_hops |= value != 0;
    return 0;
}

/* --- fields ----------------------------------------------------------------------------------- */

#define FLAG(option, field) OPTION_FLAG(option, struct port_socket, options.field)

static const struct option_field fields[] = {
    FLAG(PS_OPT_REUSEADDR, reuse_address),
    FLAG(PS_OPT_REUSEPORT, reuse_port),
    FLAG(PS_OPT_BROADCAST, broadcast),
    FLAG(PS_OPT_OOBINLINE, out_of_band_inline),
    FLAG(PS_OPT_DONTROUTE, dont_route),
    FLAG(PS_OPT_FREEBIND, free_bind),
    FLAG(PS_OPT_TRANSPARENT, transparent),
    OPTION_NUMBER(PS_OPT_PRIORITY, struct port_socket, priority, INT32_MIN, INT32_MAX),
    {0},
};

/* --- get and set ------------------------------------------------------------------------------ */

int engine_option_get(ps_engine *engine, int64_t handle, enum ps_option option, int64_t *value)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    switch (option) {
    case PS_OPT_ERROR:
        *value = -socket_take_error(socket);
        if (*value == 0) {
            *value = socket->soft_error;
            socket->soft_error = 0;
        }
        return 0;
    case PS_OPT_TYPE:
        *value = socket->type;
        return 0;
    case PS_OPT_PROTOCOL:
        *value = socket->protocol;
        return 0;
    case PS_OPT_FAMILY:
        *value = socket->family;
        return 0;
    case PS_OPT_SNDBUF:
        *value = socket->options.send_buffer;
        return 0;
    case PS_OPT_RCVBUF:
        *value = socket->options.receive_buffer;
        return 0;
    case PS_OPT_RCVLOWAT:
        *value = socket->options.receive_low_water;
        return 0;
    case PS_OPT_LINGER:
        *value = socket->options.linger_s;
        return 0;
    case PS_OPT_BINDTODEVICE:
        *value = socket->options.bound_interface;
        return 0;
    case PS_OPT_IPV6_V6ONLY:
        if (socket->family != PS_INET6)
            return -ENOPROTOOPT;
        *value = socket->options.v6only;
        return 0;
    case PS_OPT_IP_RECVERR:
    case PS_OPT_IP_RECVERR_RFC4884:
    case PS_OPT_IPV6_RECVERR:
    case PS_OPT_IPV6_RECVERR_RFC4884:
        return get_error_option(socket, option, value);
    case PS_OPT_IP_MINTTL:
        *value = socket->options.least_ttl;
        return 0;
    case PS_OPT_IPV6_MINHOPCOUNT:
        *value = socket->options.least_hops;
        return socket->family == PS_INET6 ? 0 : -ENOPROTOOPT;
    case PS_OPT_IP_MTU_DISCOVER:
        *value = socket->discovery.mode4;
        return 0;
    case PS_OPT_IPV6_MTU_DISCOVER:
    case PS_OPT_IPV6_DONTFRAG:
        if (socket->family != PS_INET6)
            return -ENOPROTOOPT;
        *value = option == PS_OPT_IPV6_DONTFRAG ? socket->discovery.dont_fragment6
                                                : socket->discovery.mode6;
        return 0;
    default:
        if (option_field_get(fields, socket, option, value) == 0)
            return 0;
        return socket->kind->option_get ? socket->kind->option_get(socket, option, value)
                                        : -ENOPROTOOPT;
    }
}

static int set_buffer(struct port_socket *socket, enum ps_option option, int64_t value)
{
    bool stream = socket->type == PS_STREAM, sending = option == PS_OPT_SNDBUF;
    int64_t most = !stream   ? tunables.datagram_buffer_max
                   : sending ? tunables.tcp_send_buffer_max
                             : tunables.tcp_receive_buffer_max;
    /* As in Linux, a size out of range is brought into it. The least holds one segment. */
    const int64_t least = 2048;
    value = value < least ? least : value > most ? most : value;
    if (sending)
        socket->options.send_buffer = (uint32_t)value;
    else
        socket->options.receive_buffer = (uint32_t)value;
    return 0;
}

/* Another type of service brings its priority, as in Linux (rt_tos2priority): by the four bits that
 * RFC 1349 gave it. */
static void follow_tos(struct port_socket *socket, int64_t before, int64_t after)
{
    static const uint8_t priorities[] = {0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4};
    if (after != before)
        socket->priority = priorities[(after & 0x1e) >> 1];
}

static int set_of_kind(struct port_socket *socket, enum ps_option option, int64_t value)
{
    const struct socket_kind *kind = socket->kind;
    int64_t before = 0, after = 0;
    if (kind->option_set == NULL)
        return -ENOPROTOOPT;
    bool is_tos = option == PS_OPT_IP_TOS && kind->option_get(socket, option, &before) == 0;
    int result = kind->option_set(socket, option, value);
    if (result == 0 && is_tos && kind->option_get(socket, option, &after) == 0)
        follow_tos(socket, before, after);
    return result;
}

int engine_option_set(ps_engine *engine, int64_t handle, enum ps_option option, int64_t value)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    const struct port_socket before = *socket;
    switch (option) {
    case PS_OPT_ERROR:
    case PS_OPT_TYPE:
    case PS_OPT_PROTOCOL:
    case PS_OPT_FAMILY:
    case PS_OPT_LISTENING:
        return -ENOPROTOOPT;
    case PS_OPT_SNDBUF:
    case PS_OPT_RCVBUF:
        set_buffer(socket, option, value);
        break;
    case PS_OPT_RCVLOWAT:
        if (value < 0 && socket->type != PS_STREAM)
            value = INT32_MAX; /* as in Linux, and without effect there, too */
        socket->options.receive_low_water = value < 1           ? 1
                                            : value > INT32_MAX ? INT32_MAX
                                                                : (uint32_t)value;
        break;
    case PS_OPT_LINGER:
        socket->options.linger_s = value < 0 ? -1 : value > INT32_MAX ? INT32_MAX : (int)value;
        return 0;
    case PS_OPT_BINDTODEVICE:
        /* As in Linux, there need not be such an interface, and what then goes by it fails. */
        if (value < 0 || value > INT32_MAX)
            return -EINVAL;
        socket->options.bound_interface = (uint32_t)value;
        break;
    case PS_OPT_IPV6_V6ONLY:
        if (socket->family != PS_INET6)
            return -ENOPROTOOPT;
        socket->options.v6only = value != 0;
        break;
    case PS_OPT_IP_RECVERR:
    case PS_OPT_IP_RECVERR_RFC4884:
    case PS_OPT_IPV6_RECVERR:
    case PS_OPT_IPV6_RECVERR_RFC4884:
        return set_error_option(socket, option, value);
    case PS_OPT_IP_MINTTL:
    case PS_OPT_IPV6_MINHOPCOUNT:
        return set_least(socket, option, value);
    case PS_OPT_IP_MTU:
        return -ENOPROTOOPT;
    case PS_OPT_IP_MTU_DISCOVER:
    case PS_OPT_IPV6_MTU_DISCOVER:
    case PS_OPT_IPV6_DONTFRAG:
    case PS_OPT_IPV6_MTU:
        return set_discovery(socket, option, value);
    default:
        if (option_field_set(fields, socket, option, value) == 0)
            break;
        return set_of_kind(socket, option, value);
    }
    /* Kept here; the kind puts it into effect, or refuses it in the state that it is in. */
    int result = socket->kind->option_changed ? socket->kind->option_changed(socket, option) : 0;
    if (result < 0)
        *socket = before;
    return result;
}

/* --- IP_MTU ----------------------------------------------------------------------------------- */

int socket_path_mtu(const struct port_socket *socket, const ip_addr_t *remote,
                    const ip_addr_t *local, int64_t *value)
{
    const struct netif *netif = interface_by_index(socket->options.bound_interface);
    if (remote == NULL)
        return -ENOTCONN;
    if (netif == NULL && IP_IS_V6(remote) && ip6_addr_has_zone(ip_2_ip6(remote)))
        netif = interface_by_index(ip6_addr_zone(ip_2_ip6(remote)));
    if (netif == NULL)
        netif = ip_route(local, remote);
    if (netif == NULL)
        return -ENETUNREACH;
    *value = address_is_ours(remote)
                 ? UINT16_MAX
                 : path_mtu(remote, IP_IS_V6(remote) ? netif->mtu6 : netif->mtu);
    return 0;
}
