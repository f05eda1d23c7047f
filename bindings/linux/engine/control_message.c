// SPDX-License-Identifier: GPL-2.0
/* Ancillary data of sendmsg(2) and recvmsg(2), as engine.h has it. */
#include "engine/control_message.h"

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <string.h>
#include <time.h>

#include "engine/address.h"
#include "engine/linux_option.h"

#define NS_PER_S 1000000000u

static void put(struct msghdr *message, int level, int type, const void *data, size_t size)
{
    struct cmsghdr *header =
        (struct cmsghdr *)((char *)message->msg_control + message->msg_controllen);
    memset(header, 0, CMSG_SPACE(size));
    header->cmsg_level = level;
    header->cmsg_type = type;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), data, size);
    message->msg_controllen += CMSG_SPACE(size);
}

static void put_source(struct msghdr *message, bool is_v4, const struct ps_send_control *control)
{
    const struct ps_address *source = &control->source;
    if (is_v4) {
        struct in_pktinfo info = {.ipi_ifindex = (int)control->interface};
        if (source->family != PS_UNSPECIFIED)
            memcpy(&info.ipi_spec_dst, source->bytes + (source->family == PS_INET ? 0 : 12), 4);
        put(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = control->interface};
        if (source->family == PS_INET6)
            memcpy(&info.ipi6_addr, source->bytes, 16);
        put(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

void control_write(struct msghdr *message, union control_room *room, uint8_t family,
                   const struct ps_address *to, const struct ps_send_control *control)
{
    bool is_v4 = family == PS_INET || (to != NULL && (to->family == PS_INET || is_mapped(to)));
    message->msg_control = room;
    message->msg_controllen = 0;
    if (control->source.family != PS_UNSPECIFIED || control->interface != 0)
        put_source(message, is_v4, control);
    int value = control->ttl;
    if (value >= 0)
        put(message, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_TTL : IPV6_HOPLIMIT, &value,
            sizeof value);
    value = control->tos;
    if (value >= 0)
        put(message, is_v4 ? IPPROTO_IP : IPPROTO_IPV6, is_v4 ? IP_TOS : IPV6_TCLASS, &value,
            sizeof value);
    value = control->dont_fragment;
    if (value >= 0 && !is_v4)
        put(message, IPPROTO_IPV6, IPV6_DONTFRAG, &value, sizeof value);
    if (control->segment_size >= 0) {
        uint16_t size = (uint16_t)control->segment_size;
        put(message, IPPROTO_UDP, LINUX_UDP_SEGMENT, &size, sizeof size);
    }
    memcpy((char *)message->msg_control + message->msg_controllen, control->ancillary,
           control->ancillary_bytes);
    message->msg_controllen += control->ancillary_bytes;
    if (message->msg_controllen == 0)
        message->msg_control = NULL;
}

/* --- receiving ---------------------------------------------------------------------------- */

static int number_in(const struct cmsghdr *header)
{
    int number = 0;
    size_t size = header->cmsg_len - CMSG_LEN(0);
    if (size >= sizeof number)
        memcpy(&number, CMSG_DATA(header), sizeof number);
    else if (size >= 1)
        number = *CMSG_DATA(header);
    return number;
}

static void read_error(const struct cmsghdr *header, struct ps_socket_error *out)
{
    struct sock_extended_err error;
    struct sockaddr_storage offender = {0};
    size_t size = header->cmsg_len - CMSG_LEN(0);
    memcpy(&error, CMSG_DATA(header), sizeof error);
    size -= sizeof error;
    memcpy(&offender, CMSG_DATA(header) + sizeof error,
           size < sizeof offender ? size : sizeof offender);
    *out = (struct ps_socket_error){.error = error.ee_errno,
                                    .origin = error.ee_origin,
                                    .type = error.ee_type,
                                    .code = error.ee_code,
                                    .info = error.ee_info,
                                    .extensions = error.ee_rfc4884.len,
                                    .extensions_broken =
                                        error.ee_rfc4884.flags & SO_EE_RFC4884_FLAG_INVALID};
    from_sockaddr(&out->offender, &offender);
    out->offender.port = 0;
}

/* Control messages without a field in engine.h, as they are; those that don't fit are dropped. */
static void keep(const struct cmsghdr *header, struct ps_message *out)
{
    size_t used = out->ancillary_bytes, size = CMSG_ALIGN(header->cmsg_len);
    if (used + size > sizeof out->ancillary) {
        out->flags |= PS_MSG_CTRUNC;
        return;
    }
    memcpy(out->ancillary + used, header, header->cmsg_len);
    out->ancillary_bytes = (uint16_t)(used + size);
}

static void read_socket_level(const struct cmsghdr *header, uint64_t real_ns,
                              struct ps_message *out)
{
    if (header->cmsg_type == LINUX_SO_TIMESTAMPNS) {
        struct timespec stamp;
        memcpy(&stamp, CMSG_DATA(header), sizeof stamp);
        uint64_t ns = (uint64_t)stamp.tv_sec * NS_PER_S + (uint64_t)stamp.tv_nsec;
        out->time_us = (ns - real_ns) / 1000; /* modulo 2^64: the kernel's may be behind */
    } else if (header->cmsg_type == LINUX_SO_RXQ_OVFL) {
        out->drops = (uint32_t)number_in(header);
    } else {
        keep(header, out);
    }
}

static void set_destination(struct ps_message *out, uint8_t family, const void *ipv4)
{
    uint16_t port = out->to.port;
    set_ip(&out->to, AF_INET, ipv4);
    if (family == PS_INET6) { /* as the socket's user sees it */
        struct ps_address mapped = {.family = PS_INET6, .bytes = {[10] = 0xff, [11] = 0xff}};
        memcpy(mapped.bytes + 12, ipv4, 4);
        out->to = mapped;
    }
    out->to.port = port;
}

static void read_ipv4(const struct cmsghdr *header, uint8_t family, struct ps_message *out,
                      struct ps_socket_error *error)
{
    struct in_pktinfo info;
    struct sockaddr_in destination;
    switch (header->cmsg_type) {
    case IP_PKTINFO:
        memcpy(&info, CMSG_DATA(header), sizeof info);
        set_destination(out, family, &info.ipi_addr);
        out->interface = (uint32_t)info.ipi_ifindex;
        break;
    case IP_ORIGDSTADDR:
        memcpy(&destination, CMSG_DATA(header), sizeof destination);
        out->to.port = ntohs(destination.sin_port);
        break;
    case IP_TTL:
        out->ttl = (uint8_t)number_in(header);
        break;
    case IP_TOS:
        out->tos = (uint8_t)number_in(header);
        break;
    case IP_RECVERR:
        if (error != NULL)
            read_error(header, error);
        break;
    default:
        keep(header, out);
    }
}

static void read_ipv6(const struct cmsghdr *header, struct ps_message *out,
                      struct ps_socket_error *error)
{
    struct in6_pktinfo info;
    struct sockaddr_in6 destination;
    uint16_t port = out->to.port;
    switch (header->cmsg_type) {
    case IPV6_PKTINFO:
        memcpy(&info, CMSG_DATA(header), sizeof info);
        set_ip(&out->to, AF_INET6, &info.ipi6_addr);
        out->to.port = port;
        out->interface = info.ipi6_ifindex;
        break;
    case LINUX_IPV6_RECVORIGDSTADDR:
        memcpy(&destination, CMSG_DATA(header), sizeof destination);
        out->to.port = ntohs(destination.sin6_port);
        break;
    case IPV6_HOPLIMIT:
        out->ttl = (uint8_t)number_in(header);
        break;
    case IPV6_TCLASS:
        out->tos = (uint8_t)number_in(header);
        break;
    case IPV6_RECVERR:
        if (error != NULL)
            read_error(header, error);
        break;
    default:
        keep(header, out);
    }
}

void control_read(struct msghdr *message, uint8_t family, uint64_t real_ns, struct ps_message *out,
                  struct ps_socket_error *error)
{
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level == SOL_SOCKET)
            read_socket_level(header, real_ns, out);
        else if (header->cmsg_level == IPPROTO_IP)
            read_ipv4(header, family, out, error);
        else if (header->cmsg_level == IPPROTO_IPV6)
            read_ipv6(header, out, error);
        else if (header->cmsg_level == IPPROTO_UDP && header->cmsg_type == LINUX_UDP_GRO)
            out->segment_size = (uint16_t)number_in(header);
        else
            keep(header, out);
    }
}
