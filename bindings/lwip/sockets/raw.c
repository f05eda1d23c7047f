/*
 * Raw IP sockets over lwIP's raw PCBs (Linux's raw(7), RFC 3542 for IPv6).
 *
 * A raw socket looks on: it gets a copy, and the packet goes its way, so that lwIP still
 * answers an echo request. An IPv4 socket receives the IP header too, an IPv6 one not.
 */
#include "sockets/raw.h"

#include "base/errors.h"
#include "base/pieces.h"
#include "base/port.h"
#include "ip/path_mtu.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/icmp6.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip6.h"
#include "lwip/raw.h"
#include "sockets/datagram.h"
#include "sockets/error_queue.h"

#define PROTOCOL_RAW 255 /* IPPROTO_RAW: send only, header included */

struct raw_socket {
    struct datagram_socket base;
    struct raw_pcb *pcb;
    uint16_t remote_port; /* kept for getpeername, as Linux does */
    bool address_is_bound, header_included;
    struct raw_socket *next, **link;
};

static struct raw_socket *all; /* an error about a packet looks at these, and at no other sockets */

static struct raw_socket *raw_of(struct port_socket *head)
{
    return (struct raw_socket *)head;
}

static bool is_connected(const struct raw_socket *raw)
{
    return (raw->pcb->flags & RAW_FLAGS_CONNECTED) != 0;
}

/* --- receiving ------------------------------------------------------------------------ */

/* RFC 3542 3.1: what an asked-for checksum does not match is dropped. */
static bool checksum_is_right(const struct raw_socket *raw, struct pbuf *payload)
{
    IF__NETIF_CHECKSUM_ENABLED(ip_current_input_netif(), NETIF_CHECKSUM_CHECK_ICMP6)
    {
        if (raw->pcb->chksum_reqd)
            return ip6_chksum_pseudo(payload, raw->pcb->protocol, payload->tot_len,
                                     ip6_current_src_addr(), ip6_current_dest_addr()) == 0;
    }
    return true;
}

static u8_t on_packet(void *argument, struct raw_pcb *pcb, struct pbuf *p, const ip_addr_t *from)
{
    (void)pcb;
    struct raw_socket *raw = argument;
    const ip_addr_t *to = ip_current_dest_addr();
    if (ip_addr_ismulticast(to) &&
        !multicast_accepts(&raw->base, to, from, interface_index(ip_current_input_netif())))
        return 0;
    if (raw->base.charged + raw->base.head.errors.charged > raw->base.head.options.receive_buffer) {
        raw->base.drops++;
        IP_STATS_INC(ip.memerr);
        return 0;
    }
    struct pbuf *copy = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
    if (copy == NULL) {
        IP_STATS_INC(ip.memerr);
        return 0;
    }
    if (ip_current_is_v6() && (pbuf_remove_header(copy, ip_current_header_tot_len()) != 0 ||
                               !checksum_is_right(raw, copy))) {
        pbuf_free(copy);
        return 0;
    }
    if (!datagram_enqueue(&raw->base, copy, from, 0, 0))
        IP_STATS_INC(ip.memerr);
    return 0;
}

static bool may_have_sent(const struct raw_socket *raw, const struct icmp_report *report)
{
    const struct raw_pcb *pcb = raw->pcb;
    return pcb->protocol == report->protocol &&
           IP_IS_V6(&report->local) == (raw->base.head.family == PS_INET6) &&
           (!is_connected(raw) || ip_addr_eq(&pcb->remote_ip, &report->remote)) &&
           (ip_addr_isany(&pcb->local_ip) || ip_addr_eq(&pcb->local_ip, &report->local));
}

void raw_icmp_error(const struct icmp_report *report)
{
    for (struct raw_socket *raw = all; raw != NULL; raw = raw->next) {
        struct port_socket *head = &raw->base.head;
        if (!may_have_sent(raw, report))
            continue;
        bool wanted = errors_wanted(head, &report->remote);
        if (wanted)
            errors_report(head, report, raw->header_included ? report->quoted : report->transport,
                          0);
        if (wanted || (datagram_is_hard(head, report) && is_connected(raw)))
            socket_fail(head, report->error);
    }
}

bool raw_may_have_sent(uint8_t protocol)
{
    for (const struct raw_socket *raw = all; raw != NULL; raw = raw->next)
        if (raw->base.head.protocol == protocol || raw->header_included)
            return true;
    return false;
}

/* --- names ---------------------------------------------------------------------------- */

static void set_wildcard(const struct raw_socket *raw, ip_addr_t *ip)
{
    ip_addr_set_any(raw->base.head.family == PS_INET6, ip);
}

static int raw_kind_bind(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    (void)port_number; /* a raw socket's port is its protocol */
    struct raw_socket *raw = raw_of(head);
    ip_addr_t local = *ip;
    if (is_connected(raw))
        return -EINVAL;
    if (IP_IS_ANY_TYPE_VAL(local))
        set_wildcard(raw, &local);
    else if (IP_IS_V4(&local) != (head->family == PS_INET))
        return -EADDRNOTAVAIL;
    int result = datagram_check_bind(head, &local);
    if (result < 0)
        return result;
    struct netif *bound = interface_by_index(head->options.bound_interface);
    if (bound != NULL && IP_IS_V6(&local) && ip6_addr_lacks_zone(ip_2_ip6(&local), IP6_UNKNOWN))
        ip6_addr_assign_zone(ip_2_ip6(&local), IP6_UNKNOWN, bound);
    raw->address_is_bound = !ip_addr_isany(&local);
    return port_errno(raw_bind(raw->pcb, &local));
}

static void restore_device(struct raw_socket *raw)
{
    raw->pcb->netif_idx = interface_bound_index(raw->base.head.options.bound_interface);
}

static int raw_kind_connect(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct raw_socket *raw = raw_of(head);
    struct datagram_path path;
    ip_addr_t local, to;
    if (ip == NULL) {
        raw_disconnect(raw->pcb);
        restore_device(raw);
        if (!raw->address_is_bound)
            set_wildcard(raw, &raw->pcb->local_ip);
        return 0;
    }
    if (IP_IS_V4(ip) != (head->family == PS_INET))
        return -EAFNOSUPPORT;
    to = *ip;
    address_replace_unspecified(&raw->pcb->local_ip, &to);
    if (raw->address_is_bound)
        local = raw->pcb->local_ip;
    else
        set_wildcard(raw, &local);
    int result = datagram_check_link(&raw->base, &to);
    if (result == 0)
        result = datagram_route(&raw->base, &local, &to, NULL, 0, &path);
    if (result < 0)
        return result;
    if (!raw->address_is_bound)
        ip_addr_copy(raw->pcb->local_ip, path.source);
    raw->remote_port = port_number;
    return port_errno(raw_connect(raw->pcb, &to));
}

static int raw_kind_shutdown(struct port_socket *head, uint32_t how)
{
    datagram_shut(head, how);
    return is_connected(raw_of(head)) ? 0 : -ENOTCONN;
}

static int raw_kind_name(struct port_socket *head, enum ps_name which, struct ps_address *out)
{
    const struct raw_socket *raw = raw_of(head);
    enum ps_family family = (enum ps_family)head->family;
    if (which == PS_NAME_LOCAL) {
        address_from_lwip(&raw->pcb->local_ip, head->protocol, family, out);
        return 0;
    }
    if (!is_connected(raw) || raw->remote_port == 0) /* Linux takes it for not connected */
        return -ENOTCONN;
    address_from_lwip(&raw->pcb->remote_ip, raw->remote_port, family, out);
    return 0;
}

/* --- sending -------------------------------------------------------------------------- */

/* What Linux fills into a header that the user made: lengths and checksum always, the
 * source where it is zero. */
static int complete_header4(struct pbuf *p, const struct datagram_path *path)
{
    struct ip_hdr *header = p->payload;
    if (p->len < IP_HLEN || IPH_HL_BYTES(header) < IP_HLEN || IPH_HL_BYTES(header) > p->len)
        return -EINVAL;
    if (header->src.addr == 0)
        header->src.addr = ip_2_ip4(&path->source)->addr;
    IPH_LEN_SET(header, lwip_htons(p->tot_len));
    IPH_CHKSUM_SET(header, 0);
    IPH_CHKSUM_SET(header, inet_chksum(header, IPH_HL_BYTES(header)));
    return 0;
}

/* A packet whose header is the user's is never fragmented. */
static int prepare_header(struct raw_socket *raw, struct pbuf *p, const ip_addr_t *to,
                          const struct datagram_path *path)
{
    int result;
    uint16_t mtu = IP_IS_V6(to) ? path->netif->mtu6 : path->netif->mtu;
    if (p->tot_len > mtu && !address_is_ours(to)) {
        errors_too_large(&raw->base.head, to, 0, mtu);
        return -EMSGSIZE;
    }
    if (IP_IS_V6(to))
        result = p->len < IP6_HLEN ? -EINVAL : 0;
    else
        result = complete_header4(p, path);
    if (result == 0)
        result = datagram_may_go(&raw->base.head);
    if (result == 0)
        output_rules = (struct output_rules){.on = true, .mtu = mtu};
    return result;
}

static int prepare_payload(struct raw_socket *raw, struct pbuf *p, const ip_addr_t *to,
                           const struct datagram_path *path, const struct ps_send_control *control)
{
    if (raw->header_included)
        return prepare_header(raw, p, to, path);
    if (IP_IS_V6(to) && raw->pcb->chksum_reqd) {
        size_t offset = raw->pcb->chksum_offset;
        if (offset + sizeof(u16_t) > p->len)
            return -EINVAL;
        memset((uint8_t *)p->payload + offset, 0, sizeof(u16_t));
    }
    return datagram_fit(&raw->base.head, to, 0, path->netif, control,
                        p->tot_len + (IP_IS_V6(to) ? IP6_HLEN : IP_HLEN));
}

static int transmit(struct raw_socket *raw, struct pbuf *p, ip_addr_t *to,
                    const struct ps_send_control *control, uint32_t flags)
{
    struct datagram_path path;
    struct raw_pcb *pcb = raw->pcb;
    int ttl = datagram_ttl(&raw->base, to, control), tos = datagram_tos(&raw->base, to, control);
    if (ttl < 0 || tos < 0)
        return -EINVAL;
    int result = datagram_route(&raw->base, &pcb->local_ip, to, control, flags, &path);
    if (result == 0)
        result = prepare_payload(raw, p, to, &path, control);
    if (result < 0)
        return result;
    pcb->ttl = pcb->mcast_ttl = (u8_t)ttl;
    pcb->tos = (u8_t)tos;
    if (datagram_loops(&raw->base, to, path.netif))
        raw_set_flags(pcb, RAW_FLAGS_MULTICAST_LOOP);
    else
        raw_clear_flags(pcb, RAW_FLAGS_MULTICAST_LOOP);
    uint64_t discards = datagram_discards(path.netif);
    err_t error = raw_sendto_if_src(pcb, p, to, path.netif, &path.source);
    return datagram_sent(error, path.netif, discards);
}

static int64_t raw_kind_send(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                             uint32_t flags, const struct ps_address *to,
                             const struct ps_send_control *control)
{
    struct raw_socket *raw = raw_of(head);
    size_t size = pieces_size(pieces, count);
    ip_addr_t ip;
    int result = datagram_may_send(size, flags);
    if (result < 0)
        return result;
    if (to != NULL) {
        result = datagram_destination(head, to, &raw->pcb->local_ip, control, &ip);
        if (result < 0)
            return result;
        /* RFC 2292 had the protocol there; anything else is a mistake, says Linux. */
        if (head->family == PS_INET6 && to->port != 0 && to->port != head->protocol)
            return -EINVAL;
    } else if (is_connected(raw)) {
        ip = raw->pcb->remote_ip;
    } else {
        return -EDESTADDRREQ;
    }
    if (IP_IS_V4(&ip) != (head->family == PS_INET))
        return -ENETUNREACH;
    size_t header = raw->header_included ? 0 : IP_IS_V6(&ip) ? IP6_HLEN : IP_HLEN;
    if (size + header > UINT16_MAX)
        return datagram_too_large(&raw->base, &raw->pcb->local_ip, &ip, 0, control);
    struct pbuf *p =
        datagram_payload(raw->header_included ? PBUF_LINK : PBUF_IP, pieces, count, size);
    if (p == NULL)
        return -ENOBUFS;
    result = transmit(raw, p, &ip, control, flags);
    pbuf_free(p);
    return result < 0 ? result : (int64_t)size;
}

/* --- life and options ------------------------------------------------------------------ */

static void set_header_included(struct raw_socket *raw, bool on)
{
    raw->header_included = on;
    if (on)
        raw_set_flags(raw->pcb, RAW_FLAGS_HDRINCL);
    else
        raw_clear_flags(raw->pcb, RAW_FLAGS_HDRINCL);
}

static int raw_kind_open(struct port_socket *head)
{
    struct raw_socket *raw = raw_of(head);
    bool is_v6 = head->family == PS_INET6;
    if (head->protocol == 0)
        return -EPROTONOSUPPORT;
    raw->pcb = raw_new_ip_type(is_v6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4, (u8_t)head->protocol);
    if (raw->pcb == NULL)
        return -ENOMEM;
    datagram_open(&raw->base);
    head->options.reuse_address = true; /* as Linux says; a raw socket shares its "port" with all */
    set_header_included(raw, head->protocol == PROTOCOL_RAW);
    if (is_v6 && head->protocol == IP6_NEXTH_ICMP6) {
        raw->pcb->chksum_reqd = 1;
        raw->pcb->chksum_offset = 2;
    }
    raw_recv(raw->pcb, on_packet, raw);
    raw->next = all;
    raw->link = &all;
    if (all != NULL)
        all->link = &raw->next;
    all = raw;
    return 0;
}

static void raw_kind_close(struct port_socket *head)
{
    struct raw_socket *raw = raw_of(head);
    raw_remove(raw->pcb);
    *raw->link = raw->next;
    if (raw->next != NULL)
        raw->next->link = raw->link;
    datagram_close(&raw->base);
}

static int raw_kind_option_get(struct port_socket *head, enum ps_option option, int64_t *value)
{
    const struct raw_socket *raw = raw_of(head);
    if (option == PS_OPT_IP_MTU || option == PS_OPT_IPV6_MTU)
        return socket_path_mtu(head, is_connected(raw) ? &raw->pcb->remote_ip : NULL,
                               &raw->pcb->local_ip, value);
    if (option == PS_OPT_IP_HDRINCL) {
        *value = raw->header_included;
        return 0;
    }
    if (option == PS_OPT_IPV6_CHECKSUM && head->family == PS_INET6) {
        *value = raw->pcb->chksum_reqd ? raw->pcb->chksum_offset : -1;
        return 0;
    }
    return datagram_option_get(head, option, value);
}

static int raw_kind_option_set(struct port_socket *head, enum ps_option option, int64_t value)
{
    struct raw_socket *raw = raw_of(head);
    if (option == PS_OPT_IP_HDRINCL) {
        set_header_included(raw, value != 0);
        return 0;
    }
    if (option == PS_OPT_IPV6_CHECKSUM && head->family == PS_INET6) {
        /* RFC 3542 3.1: ICMPv6's is always the kernel's business, and offsets are even. */
        if (head->protocol == IP6_NEXTH_ICMP6 || value > UINT16_MAX ||
            (value >= 0 && value % 2 != 0))
            return -EINVAL;
        raw->pcb->chksum_reqd = value >= 0;
        raw->pcb->chksum_offset = value >= 0 ? (u16_t)value : 0;
        return 0;
    }
    return datagram_option_set(head, option, value);
}

static int raw_kind_option_changed(struct port_socket *head, enum ps_option option)
{
    struct raw_socket *raw = raw_of(head);
    switch (option) {
    case PS_OPT_BROADCAST:
        if (head->options.broadcast)
            ip_set_option(raw->pcb, SOF_BROADCAST);
        else
            ip_reset_option(raw->pcb, SOF_BROADCAST);
        return 0;
    case PS_OPT_BINDTODEVICE:
        restore_device(raw);
        return 0;
    case PS_OPT_IPV6_V6ONLY:
        head->options.v6only = false;
        return -EINVAL; /* a raw socket has its "port" from the start */
    default:
        return 0;
    }
}

static void raw_kind_describe(struct port_socket *head, struct ps_connection *out)
{
    const struct raw_socket *raw = raw_of(head);
    enum ps_family family = (enum ps_family)head->family;
    memset(out, 0, sizeof *out);
    out->handle = head->handle;
    out->protocol = (uint8_t)head->protocol;
    out->type = head->type;
    address_from_lwip(&raw->pcb->local_ip, head->protocol, family, &out->local);
    address_from_lwip(&raw->pcb->remote_ip, raw->remote_port, family, &out->remote);
    out->receive_queue = datagram_queued(&raw->base);
}

const struct socket_kind raw_kind = {
    .size = sizeof(struct raw_socket),
    .open = raw_kind_open,
    .close = raw_kind_close,
    .bind = raw_kind_bind,
    .connect = raw_kind_connect,
    .send = raw_kind_send,
    .receive = datagram_receive,
    .shutdown = raw_kind_shutdown,
    .name = raw_kind_name,
    .ready = datagram_ready,
    .option_get = raw_kind_option_get,
    .option_set = raw_kind_option_set,
    .option_changed = raw_kind_option_changed,
    .membership = multicast_membership,
    .describe = raw_kind_describe,
};
