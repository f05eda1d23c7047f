/*
 * UDP and UDP-Lite sockets over lwIP's UDP PCBs (RFC 768, RFC 3828, Linux's udp(7)).
 *
 * Linux's rules decide here which sockets may share a port. Every PCB of ours then carries
 * lwIP's SOF_REUSEADDR, which also makes lwIP hand a multicast or broadcast datagram to
 * each socket on the port. lwIP has one space of ports for UDP and UDP-Lite.
 */
#include "base/errors.h"
#include "base/pieces.h"
#include "base/port.h"
#include "link/address.h"
#include "link/offload.h"
#include "lwip/inet_chksum.h"
#include "lwip/prot/udp.h"
#include "sockets/udp_socket.h"

/* --- names ----------------------------------------------------------------------------- */

static int udp_kind_bind(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct udp_socket *udp = udp_of(head);
    int result = datagram_check_bind(head, ip);
    /* The address is the first that Linux looks at, for IPv4. */
    if (udp->pcb->local_port != 0 && (result == 0 || head->family == PS_INET6))
        return -EINVAL;
    if (result < 0)
        return result;
    ip_addr_t local = *ip;
    struct netif *bound = interface_by_index(head->options.bound_interface);
    if (bound != NULL && IP_IS_V6(&local) && ip6_addr_lacks_zone(ip_2_ip6(&local), IP6_UNKNOWN))
        ip6_addr_assign_zone(ip_2_ip6(&local), IP6_UNKNOWN, bound);
    result = udp_take_port(udp, &local, port_number);
    if (result < 0)
        return result;
    udp->port_is_bound = port_number != 0;
    udp->address_is_bound = IP_IS_ANY_TYPE_VAL(*ip) ? false : !ip_addr_isany(ip);
    udp->v4_is_bound = IP_IS_V4(ip) && ip_addr_isany(ip);
    return 0;
}

/* --- connecting ----------------------------------------------------------------------- */

static void restore_device(struct udp_socket *udp)
{
    udp->pcb->netif_idx = interface_bound_index(udp->base.head.options.bound_interface);
}

static void disconnect(struct udp_socket *udp)
{
    udp_disconnect(udp->pcb);
    restore_device(udp);
    if (!udp->address_is_bound)
        udp_set_wildcard(udp, &udp->pcb->local_ip);
    if (!udp->port_is_bound)
        udp_give_port_back(udp);
}

/* Linux takes a port before it looks at where to. */
static int udp_kind_may_connect(struct port_socket *head)
{
    return udp_take_any_port(udp_of(head));
}

static int udp_kind_connect(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct udp_socket *udp = udp_of(head);
    struct datagram_path path;
    ip_addr_t local, to;
    if (ip == NULL) {
        if (udp_is_connected(udp))
            disconnect(udp);
        return 0;
    }
    to = *ip;
    if (udp->address_is_bound)
        local = udp->pcb->local_ip;
    else
        udp_set_wildcard(udp, &local);
    address_replace_unspecified(&local, &to);
    int result = datagram_check_link(&udp->base, &to);
    if (result == 0)
        result = datagram_route(&udp->base, &local, &to, NULL, 0, &path);
    if (result < 0)
        return result;
    if (!udp->address_is_bound)
        ip_addr_copy(udp->pcb->local_ip, path.source);
    result = port_errno(udp_connect(udp->pcb, &to, port_number));
    restore_device(udp);
    return result;
}

static int udp_kind_shutdown(struct port_socket *head, uint32_t how)
{
    datagram_shut(head, how);
    return udp_is_connected(udp_of(head)) ? 0 : -ENOTCONN;
}

static int udp_kind_name(struct port_socket *head, enum ps_name which, struct ps_address *out)
{
    const struct udp_socket *udp = udp_of(head);
    enum ps_family family = (enum ps_family)head->family;
    if (which == PS_NAME_LOCAL) {
        address_from_lwip(&udp->pcb->local_ip, udp->pcb->local_port, family, out);
        return 0;
    }
    if (!udp_is_connected(udp) || udp->pcb->remote_port == 0) /* Linux takes it for not connected */
        return -ENOTCONN;
    address_from_lwip(&udp->pcb->remote_ip, udp->pcb->remote_port, family, out);
    return 0;
}

/* --- sending -------------------------------------------------------------------------- */

/* lwIP counts an IP packet, header included, in 16 bits; RFC 8200 would allow 40 more. */
static size_t headers(const ip_addr_t *to)
{
    return UDP_HLEN + (IP_IS_V6(to) ? IP6_HLEN : IP_HLEN);
}

static int destination(struct udp_socket *udp, const struct ps_address *to,
                       const struct ps_send_control *control, ip_addr_t *ip, uint16_t *port_number)
{
    if (udp->pending != NULL) {
        *ip = udp->pending_to;
        *port_number = udp->pending_port;
        return 0;
    }
    if (to != NULL) {
        int result = datagram_destination(&udp->base.head, to, &udp->pcb->local_ip, control, ip);
        *port_number = to->port;
        return to->port == 0 && (result == 0 || to->scope != 0) ? -EINVAL : result;
    }
    if (!udp_is_connected(udp))
        return -EDESTADDRREQ;
    *ip = udp->pcb->remote_ip;
    *port_number = udp->pcb->remote_port;
    bool is_mapped = udp->base.head.family == PS_INET6 && IP_IS_V4(ip);
    return is_mapped && *port_number == 0 ? -EINVAL : 0; /* which Linux sees in these alone */
}

/* The port that a local error names: of IPv4, Linux knows the one that is connected to alone. */
static uint16_t port_of_error(const struct udp_socket *udp, const ip_addr_t *to,
                              uint16_t port_number)
{
    if (IP_IS_V6(to))
        return port_number;
    return udp_is_connected(udp) ? udp->pcb->remote_port : 0;
}

static int transmit(struct udp_socket *udp, struct pbuf *p, ip_addr_t *to, uint16_t port_number,
                    const struct ps_send_control *control, uint32_t flags)
{
    struct datagram_path path;
    struct udp_pcb *pcb = udp->pcb;
    int ttl = datagram_ttl(&udp->base, to, control), tos = datagram_tos(&udp->base, to, control);
    if (ttl < 0 || tos < 0)
        return -EINVAL;
    int result = datagram_route(&udp->base, &pcb->local_ip, to, control, flags, &path);
    if (result == 0)
        result = datagram_fit(&udp->base.head, to, port_of_error(udp, to, port_number), path.netif,
                              control, p->tot_len + headers(to));
    if (result < 0)
        return result;
    pcb->ttl = pcb->mcast_ttl = (u8_t)ttl;
    pcb->tos = (u8_t)tos;
    if (datagram_loops(&udp->base, to, path.netif))
        udp_set_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    else
        udp_clear_flags(pcb, UDP_FLAGS_MULTICAST_LOOP);
    uint64_t discards = datagram_discards(path.netif);
    err_t error = udp_sendto_if_src(pcb, p, to, port_number, path.netif, &path.source);
    return datagram_sent(error, path.netif, discards);
}

/* As many as Linux takes (udp(7), UDP_SEGMENT). */
#define MOST_SEGMENTS 128

/* One datagram, or those that it is to be cut into. */
static int transmit_all(struct udp_socket *udp, struct pbuf *p, ip_addr_t *to, uint16_t port_number,
                        const struct ps_send_control *control, uint32_t flags)
{
    size_t part = control != NULL && control->segment_size >= 0 ? (size_t)control->segment_size
                                                                : udp->segment_size;
    if (part == 0 || p->tot_len <= part)
        return transmit(udp, p, to, port_number, control, flags);
    const struct netif *netif = ip_route(&udp->pcb->local_ip, to);
    if (p->tot_len > part * MOST_SEGMENTS)
        return -EINVAL;
    if (netif != NULL &&
        part + headers(to) > datagram_mtu(&udp->base.head, to, netif, part + headers(to)))
        return -EMSGSIZE; /* as Linux; older ones say EINVAL to this, too */
    int result = 0;
    offload_burst(true);
    for (size_t done = 0; done < p->tot_len && result == 0; done += part) {
        u16_t size = (u16_t)LWIP_MIN(part, p->tot_len - done);
        struct pbuf *each = pbuf_alloc(PBUF_TRANSPORT, size, PBUF_RAM);
        if (each == NULL) {
            result = -ENOBUFS;
            break;
        }
        pbuf_copy_partial(p, each->payload, size, (u16_t)done);
        result = transmit(udp, each, to, port_number, control, flags);
        pbuf_free(each);
    }
    offload_burst(false);
    return result;
}

static int64_t udp_kind_send(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                             uint32_t flags, const struct ps_address *to,
                             const struct ps_send_control *control)
{
    struct udp_socket *udp = udp_of(head);
    size_t size = pieces_size(pieces, count);
    ip_addr_t ip;
    uint16_t port_number = 0;
    /* As in Linux: a port comes first; then IPv4 looks at what is sent, and IPv6 at where to, and
     * takes MSG_OOB. */
    int result = udp_take_any_port(udp);
    if (result == 0 && head->family == PS_INET)
        result = datagram_may_send(size, flags);
    if (result == 0)
        result = destination(udp, to, control, &ip, &port_number);
    if (result == 0 && head->family == PS_INET6 && IP_IS_V4(&ip))
        result = datagram_may_send(size, flags);
    if (result < 0)
        return result;
    if (size + (udp->pending ? udp->pending->tot_len : 0) + headers(&ip) > UINT16_MAX)
        return datagram_too_large(&udp->base, &udp->pcb->local_ip, &ip,
                                  port_of_error(udp, &ip, port_number), control);
    if (udp->cork)
        flags |= PS_MSG_MORE;
    if (flags & PS_MSG_MORE && (result = datagram_may_go(head)) < 0)
        return result;
    if (flags & PS_MSG_MORE && udp->pending == NULL && size == 0)
        return 0; /* nothing, to which nothing can be added: as on Linux */
    struct pbuf *p = datagram_payload(PBUF_TRANSPORT, pieces, count, size);
    if (p == NULL)
        return -ENOBUFS;
    if (udp->pending != NULL) {
        pbuf_cat(udp->pending, p);
        p = udp->pending;
    }
    if (flags & PS_MSG_MORE) {
        udp->pending = p;
        udp->pending_to = ip;
        udp->pending_port = port_number;
        return (int64_t)size;
    }
    udp->pending = NULL;
    result = transmit_all(udp, p, &ip, port_number, control, flags);
    pbuf_free(p);
    return result < 0 ? result : (int64_t)size;
}

/* --- life and options ------------------------------------------------------------------ */

static int udp_kind_open(struct port_socket *head)
{
    struct udp_socket *udp = udp_of(head);
    if (head->protocol == 0)
        head->protocol = IP_PROTO_UDP;
    if (head->protocol != IP_PROTO_UDP && head->protocol != IP_PROTO_UDPLITE)
        return -EPROTONOSUPPORT;
    udp->pcb = udp_new();
    if (udp->pcb == NULL)
        return -ENOMEM;
    datagram_open(&udp->base);
    udp_set_wildcard(udp, &udp->pcb->local_ip);
    udp_set_wildcard(udp, &udp->pcb->remote_ip);
    ip_set_option(udp->pcb, SOF_REUSEADDR);
    if (head->protocol == IP_PROTO_UDPLITE)
        udp_set_flags(udp->pcb, UDP_FLAGS_UDPLITE);
    udp_recv(udp->pcb, udp_on_datagram, udp);
    return 0;
}

static void udp_kind_close(struct port_socket *head)
{
    struct udp_socket *udp = udp_of(head);
    if (udp->pending != NULL)
        pbuf_free(udp->pending);
    udp_remove(udp->pcb);
    datagram_close(&udp->base);
}

static int udp_kind_option_changed(struct port_socket *head, enum ps_option option)
{
    struct udp_socket *udp = udp_of(head);
    switch (option) {
    case PS_OPT_BROADCAST:
        if (head->options.broadcast)
            ip_set_option(udp->pcb, SOF_BROADCAST);
        else
            ip_reset_option(udp->pcb, SOF_BROADCAST);
        return 0;
    case PS_OPT_BINDTODEVICE:
        restore_device(udp);
        return 0;
    case PS_OPT_IPV6_V6ONLY:
        if (udp->pcb->local_port != 0)
            return -EINVAL;
        udp_set_wildcard(udp, &udp->pcb->local_ip);
        return 0;
    default:
        return 0; /* read where it is used */
    }
}

static int udp_kind_option_get(struct port_socket *head, enum ps_option option, int64_t *value)
{
    const struct udp_socket *udp = udp_of(head);
    if (option == PS_OPT_IP_MTU || option == PS_OPT_IPV6_MTU)
        return socket_path_mtu(head, udp_is_connected(udp) ? &udp->pcb->remote_ip : NULL,
                               &udp->pcb->local_ip, value);
    if (option == PS_OPT_UDP_CORK || option == PS_OPT_UDP_GRO) {
        *value = option == PS_OPT_UDP_CORK ? udp->cork : udp->base.coalesces;
        return 0;
    }
    if (option != PS_OPT_UDP_SEGMENT)
        return datagram_option_get(head, option, value);
    *value = udp->segment_size;
    return 0;
}

/* Sends the corked data; as on Linux, a failure is not reported. */
static void uncork(struct udp_socket *udp)
{
    struct pbuf *p = udp->pending;
    udp->cork = false;
    if (p == NULL)
        return;
    udp->pending = NULL;
    transmit_all(udp, p, &udp->pending_to, udp->pending_port, NULL, 0);
    pbuf_free(p);
}

static int udp_kind_option_set(struct port_socket *head, enum ps_option option, int64_t value)
{
    if (option == PS_OPT_UDP_CORK) {
        if (value != 0)
            udp_of(head)->cork = true;
        else
            uncork(udp_of(head));
        return 0;
    }
    if (option == PS_OPT_UDP_GRO) {
        udp_of(head)->base.coalesces = value != 0;
        return 0;
    }
    if (option != PS_OPT_UDP_SEGMENT)
        return datagram_option_set(head, option, value);
    if (value < 0 || value > UINT16_MAX)
        return -EINVAL;
    udp_of(head)->segment_size = (uint16_t)value;
    return 0;
}

static void udp_kind_describe(struct port_socket *head, struct ps_connection *out)
{
    const struct udp_socket *udp = udp_of(head);
    enum ps_family family = (enum ps_family)head->family;
    memset(out, 0, sizeof *out);
    out->handle = head->handle;
    out->protocol = (uint8_t)head->protocol;
    out->type = head->type;
    address_from_lwip(&udp->pcb->local_ip, udp->pcb->local_port, family, &out->local);
    address_from_lwip(&udp->pcb->remote_ip, udp->pcb->remote_port, family, &out->remote);
    out->receive_queue = datagram_queued(&udp->base);
}

const struct socket_kind udp_kind = {
    .size = sizeof(struct udp_socket),
    .open = udp_kind_open,
    .close = udp_kind_close,
    .bind = udp_kind_bind,
    .may_connect = udp_kind_may_connect,
    .connect = udp_kind_connect,
    .send = udp_kind_send,
    .receive = datagram_receive,
    .shutdown = udp_kind_shutdown,
    .name = udp_kind_name,
    .ready = datagram_ready,
    .option_get = udp_kind_option_get,
    .option_set = udp_kind_option_set,
    .option_changed = udp_kind_option_changed,
    .membership = multicast_membership,
    .describe = udp_kind_describe,
};
