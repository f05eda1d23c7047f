/*
 * ICMP errors about packets of ours, passed to the sockets that sent them.
 *
 * Two raw PCBs of the port see ICMP and ICMPv6 and let every message pass on to lwIP. Anyone on
 * the network can send one: the checksum must be right, and the quoted packet must be long enough
 * to contain its ports, not be a later fragment, and come from an address of ours.
 */
#include "ip/icmp_error.h"

#include <errno.h>

#include "base/hooks.h"
#include "ip/icmp_redirect.h"
#include "ip/path_mtu.h"
#include "link/address.h"
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/prot/dns.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "lwip/prot/nd6.h"
#include "lwip/raw.h"

#define ICMP_HEADER 8
#define SEQUENCE 4 /* bytes of TCP's sequence number, which follows the ports */
#define PORTS 4    /* bytes that hold both ports, at the front of TCP's and UDP's header */
#define MOST_QUOTED 512
#define MOST_EXTENSIONS 8

static struct icmp_error_users users;

struct verdict {
    int error;
    bool hard;
};

/* RFC 1122 3.2.2.1 and 4.2.3.9; the errno values are those of Linux's icmp(7) family. */
static const struct verdict unreachable4[] = {
    {ENETUNREACH, false},  /* network */
    {EHOSTUNREACH, false}, /* host */
    {ENOPROTOOPT, true},   /* protocol */
    {ECONNREFUSED, true},  /* port */
    {EMSGSIZE, true},      /* fragmentation needed */
    {EOPNOTSUPP, false},   /* source route failed */
    {ENETUNREACH, true},   /* network unknown */
    {EHOSTDOWN, true},     /* host unknown */
    {ENONET, true},        /* source host isolated */
    {ENETUNREACH, true},   /* network prohibited */
    {EHOSTUNREACH, true},  /* host prohibited */
    {ENETUNREACH, false},  /* network, for this type of service */
    {EHOSTUNREACH, false}, /* host, for this type of service */
    {EHOSTUNREACH, true},  /* filtered */
    {EHOSTUNREACH, true},  /* host precedence violation */
    {EHOSTUNREACH, true},  /* precedence cutoff */
};

/* RFC 4443 3.1. */
static const struct verdict unreachable6[] = {
    {ENETUNREACH, false},  /* no route */
    {EACCES, true},        /* prohibited */
    {EHOSTUNREACH, false}, /* beyond the scope of the source */
    {EHOSTUNREACH, false}, /* address */
    {ECONNREFUSED, true},  /* port */
    {EACCES, true},        /* source address failed policy */
    {EACCES, true},        /* reject route */
};

static bool judge4(uint8_t type, uint8_t code, struct verdict *out)
{
    switch (type) {
    case ICMP_DUR:
        if (code >= LWIP_ARRAYSIZE(unreachable4))
            return false;
        *out = unreachable4[code];
        return true;
    case ICMP_TE:
        *out = (struct verdict){EHOSTUNREACH, false};
        return true;
    case ICMP_PP:
        *out = (struct verdict){EPROTO, true};
        return true;
    default:
        return false;
    }
}

static bool judge6(uint8_t type, uint8_t code, struct verdict *out)
{
    switch (type) {
    case ICMP6_TYPE_DUR:
        *out = code < LWIP_ARRAYSIZE(unreachable6) ? unreachable6[code]
                                                   : (struct verdict){EPROTO, true};
        return true;
    case ICMP6_TYPE_PTB:
        *out = (struct verdict){EMSGSIZE, true};
        return true;
    case ICMP6_TYPE_TE:
        *out = (struct verdict){EHOSTUNREACH, false};
        return true;
    case ICMP6_TYPE_PP:
        *out = (struct verdict){EPROTO, true};
        return true;
    default:
        /* RFC 4443 2.4 a: an error of unknown type is passed on all the same. */
        *out = (struct verdict){EPROTO, false};
        return type < ICMP6_TYPE_EREQ;
    }
}

/* The start of the packet that the error is about. */
struct quoted {
    ip_addr_t local, remote;
    uint8_t protocol;
    const uint8_t *transport;
    size_t transport_size;
};

static uint16_t read16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static bool parse4(const uint8_t *bytes, size_t size, struct quoted *out)
{
    enum { OFFSET = 6, PROTOCOL = 9, SOURCE = 12, DESTINATION = 16 };
    if (size < IP_HLEN || bytes[0] >> 4 != 4)
        return false;
    size_t header = (size_t)(bytes[0] & 0xf) * 4;
    if (header < IP_HLEN || header > size || (read16(bytes + OFFSET) & IP_OFFMASK) != 0)
        return false;
    u32_t word;
    memcpy(&word, bytes + SOURCE, sizeof word);
    ip_addr_set_ip4_u32_val(out->local, word);
    memcpy(&word, bytes + DESTINATION, sizeof word);
    ip_addr_set_ip4_u32_val(out->remote, word);
    out->protocol = bytes[PROTOCOL];
    out->transport = bytes + header;
    out->transport_size = size - header;
    return true;
}

static void read_address6(const uint8_t *bytes, ip_addr_t *out)
{
    ip_addr_set_zero_ip6(out);
    memcpy(ip_2_ip6(out)->addr, bytes, sizeof ip_2_ip6(out)->addr);
    ip6_addr_assign_zone(ip_2_ip6(out), IP6_UNICAST, ip_current_input_netif());
}

/* Walks the extension headers to the transport protocol (RFC 8200 4). */
static bool parse6(const uint8_t *bytes, size_t size, struct quoted *out)
{
    enum { NEXT = 6, SOURCE = 8, DESTINATION = 24, FRAGMENT_HEADER = 8 };
    if (size < IP6_HLEN || bytes[0] >> 4 != 6)
        return false;
    read_address6(bytes + SOURCE, &out->local);
    read_address6(bytes + DESTINATION, &out->remote);
    uint8_t next = bytes[NEXT];
    size_t offset = IP6_HLEN;
    for (int i = 0; i < MOST_EXTENSIONS; i++) {
        if (next != IP6_NEXTH_HOPBYHOP && next != IP6_NEXTH_ROUTING && next != IP6_NEXTH_DESTOPTS &&
            next != IP6_NEXTH_FRAGMENT)
            break;
        if (size - offset < FRAGMENT_HEADER)
            return false;
        size_t length = FRAGMENT_HEADER;
        if (next != IP6_NEXTH_FRAGMENT)
            length = ((size_t)bytes[offset + 1] + 1) * 8;
        else if ((read16(bytes + offset + 2) & IP6_FRAG_OFFSET_MASK) != 0)
            return false;
        next = bytes[offset];
        if (length > size - offset)
            return false;
        offset += length;
    }
    out->protocol = next;
    out->transport = bytes + offset;
    out->transport_size = size - offset;
    return true;
}

static uint32_t read32(const uint8_t *bytes)
{
    return (uint32_t)read16(bytes) << 16 | read16(bytes + 2);
}

/* What comes with an error: the MTU, or where the fault is. */
static uint32_t information(const uint8_t *message, bool is_v6)
{
    if (is_v6)
        return read32(message + 4);
    if (message[0] == ICMP_DUR && message[1] == ICMP_DUR_FRAG)
        return read16(message + 6);
    return message[0] == ICMP_PP ? message[4] : 0;
}

/* The sockets say whether they have sent it. */
static bool is_from_here(const ip_addr_t *local)
{
    return address_is_ours(local) || users.speaks_for_others();
}

/* `message`: the ICMP message as it lies in the packet from `offset` on. */
static void pass_on(const struct quoted *quoted, const struct verdict *verdict, struct pbuf *packet,
                    const uint8_t *message, u16_t offset)
{
    if (!is_from_here(&quoted->local))
        return;
    struct icmp_report report = {
        .error = verdict->error,
        .hard = verdict->hard,
        .type = message[0],
        .code = message[1],
        .info = information(message, ip_current_is_v6()),
        .packet = packet,
        .message = offset,
        .quoted = (u16_t)(offset + ICMP_HEADER),
        .transport = (u16_t)(offset + (quoted->transport - message)),
        .local = quoted->local,
        .remote = quoted->remote,
        .protocol = quoted->protocol,
    };
    users.raw(&report);
    if (quoted->transport_size < PORTS)
        return;
    report.local_port = read16(quoted->transport);
    report.remote_port = read16(quoted->transport + 2);
    if (quoted->protocol == IP_PROTO_TCP) {
        if (quoted->transport_size < PORTS + SEQUENCE)
            return;
        report.sequence = read32(quoted->transport + PORTS);
        users.tcp(&report);
        return;
    }
    if (quoted->protocol == IP_PROTO_UDP && report.remote_port == DNS_SERVER_PORT &&
        verdict->error != EMSGSIZE)
        users.dns(report.local_port, &quoted->remote);
    if (quoted->protocol == IP_PROTO_UDP || quoted->protocol == IP_PROTO_UDPLITE)
        users.udp(&report);
}

/* Of ICMP's we answer requests by ourselves, and send errors. All else a raw socket sends. */
static bool others_may_be_ours(const struct quoted *quoted)
{
    int type = quoted->transport_size != 0 ? quoted->transport[0] : -1;
    if (quoted->protocol == IP_PROTO_ICMP && type != ICMP_ECHO)
        return true;
    if (quoted->protocol == IP6_NEXTH_ICMP6 && type != ICMP6_TYPE_EREQ)
        return true;
    return users.raw_may_have_sent(quoted->protocol);
}

/* Whether a packet of ours may be what a router says was too big (RFC 8201 4), or to be sent
 * elsewhere. `believes`: and one of a socket that believes such reports. */
static bool may_be_ours(const struct quoted *quoted, bool believes)
{
    if (!is_from_here(&quoted->local))
        return false;
    bool is_udp = quoted->protocol == IP_PROTO_UDP || quoted->protocol == IP_PROTO_UDPLITE;
    if (quoted->protocol != IP_PROTO_TCP && !is_udp)
        return others_may_be_ours(quoted);
    if (quoted->transport_size < 2 * PORTS)
        return false;
    uint16_t local_port = read16(quoted->transport);
    uint16_t remote_port = read16(quoted->transport + 2);
    if (is_udp)
        return users.udp_may_have_sent(&quoted->local, local_port, &quoted->remote, remote_port,
                                       believes);
    uint32_t sequence = read32(quoted->transport + PORTS);
    return users.tcp_may_have_sent(&quoted->local, local_port, &quoted->remote, remote_port,
                                   sequence);
}

static void packet_too_big(const struct quoted *quoted, const uint8_t *message)
{
    if (may_be_ours(quoted, true))
        path_mtu_reduce(&quoted->remote, information(message, IP_IS_V6(&quoted->remote)));
}

bool hook_nd_redirect(const struct pbuf *message, const ip6_addr_t *destination)
{
    enum { REDIRECTED = 4, OPTION_HEADER = 8 };
    uint8_t bytes[MOST_QUOTED];
    u16_t offset = sizeof(struct redirect_header);
    while (offset < message->tot_len) { /* the options are whole */
        u16_t length = (u16_t)(pbuf_get_at(message, (u16_t)(offset + 1)) * 8);
        if (pbuf_get_at(message, offset) != REDIRECTED) {
            offset = (u16_t)(offset + length);
            continue;
        }
        struct quoted quoted;
        size_t size =
            pbuf_copy_partial(message, bytes, (u16_t)LWIP_MIN(length - OPTION_HEADER, MOST_QUOTED),
                              (u16_t)(offset + OPTION_HEADER));
        return parse6(bytes, size, &quoted) && ip6_addr_eq(ip_2_ip6(&quoted.remote), destination) &&
               may_be_ours(&quoted, false);
    }
    return true;
}

static bool checksum_is_right(struct pbuf *p, u16_t header)
{
    bool is_v6 = ip_current_is_v6(), right = true;
    IF__NETIF_CHECKSUM_ENABLED(ip_current_input_netif(),
                               is_v6 ? NETIF_CHECKSUM_CHECK_ICMP6 : NETIF_CHECKSUM_CHECK_ICMP)
    {
        if (pbuf_remove_header(p, header) != 0)
            return false;
        right = is_v6 ? ip6_chksum_pseudo(p, IP6_NEXTH_ICMP6, p->tot_len, ip6_current_src_addr(),
                                          ip6_current_dest_addr()) == 0
                      : inet_chksum_pbuf(p) == 0;
        pbuf_add_header_force(p, header);
    }
    return right;
}

/* For packets with a better next hop. The network's code is taken as the host's
 * (RFC 1122 3.3.1.2). */
static void follow_redirect(const struct quoted *quoted, const uint8_t *message)
{
    ip4_addr_t gateway;
    memcpy(&gateway.addr, message + 4, sizeof gateway.addr);
    if (may_be_ours(quoted, false))
        redirect_follow(ip_current_input_netif(), ip4_current_src_addr(), ip_2_ip4(&quoted->remote),
                        &gateway);
}

/* Only looks: lwIP and the user's raw sockets get the packet all the same. */
static u8_t on_icmp(void *argument, struct raw_pcb *pcb, struct pbuf *p, const ip_addr_t *from)
{
    (void)argument;
    (void)pcb;
    (void)from;
    uint8_t bytes[ICMP_HEADER + MOST_QUOTED];
    u16_t header = ip_current_header_tot_len();
    size_t size = pbuf_copy_partial(p, bytes, sizeof bytes, header);
    bool is_v6 = ip_current_is_v6();
    struct verdict verdict;
    struct quoted quoted;
    if (size < ICMP_HEADER)
        return 0;
    bool is_redirect = !is_v6 && bytes[0] == ICMP_RD && bytes[1] <= 3;
    if (!is_redirect && !(is_v6 ? judge6 : judge4)(bytes[0], bytes[1], &verdict))
        return 0;
    if (!(is_v6 ? parse6 : parse4)(bytes + ICMP_HEADER, size - ICMP_HEADER, &quoted))
        return 0;
    if (!checksum_is_right(p, header))
        return 0;
    if (is_redirect) {
        follow_redirect(&quoted, bytes);
        return 0;
    }
    if (verdict.error == EMSGSIZE)
        packet_too_big(&quoted, bytes);
    pass_on(&quoted, &verdict, p, bytes, header);
    return 0;
}

static struct raw_pcb *icmp, *icmp6;

int icmp_error_init(const struct icmp_error_users *given)
{
    users = *given;
    icmp = raw_new_ip_type(IPADDR_TYPE_V4, IP_PROTO_ICMP);
    icmp6 = raw_new_ip_type(IPADDR_TYPE_V6, IP6_NEXTH_ICMP6);
    if (icmp == NULL || icmp6 == NULL) {
        icmp_error_close();
        return -ENOMEM;
    }
    raw_recv(icmp, on_icmp, NULL);
    raw_recv(icmp6, on_icmp, NULL);
    return 0;
}

void icmp_error_close(void)
{
    if (icmp != NULL)
        raw_remove(icmp);
    if (icmp6 != NULL)
        raw_remove(icmp6);
    icmp = icmp6 = NULL;
}
