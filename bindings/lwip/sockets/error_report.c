/*
 * Filling and reading the error queue: ICMP errors with their extensions (RFC 4884), and datagrams
 * too large for their path.
 */
#include <errno.h>

#include "base/entries.h"
#include "base/memory.h"
#include "base/pieces.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/icmp6.h"
#include "sockets/error_queue.h"

#define ICMP_HEADER 8
#define LEAST_DATAGRAM 128 /* octets before extensions (RFC 4884 4.1) */
#define EXTENSION_VERSION 2
#define EXTENSION_HEADER 4 /* octets, of the structure and of each object in it */
#define MOST_EXTENSIONS 1024

/* RFC 4884 7, 8: whether what begins there is a structure of extensions. */
static bool extensions_are_right(const struct pbuf *packet, u16_t begin)
{
    uint8_t bytes[MOST_EXTENSIONS];
    u16_t size = pbuf_copy_partial(packet, bytes, sizeof bytes, begin), offset = EXTENSION_HEADER;
    if (bytes[0] >> 4 != EXTENSION_VERSION)
        return true; /* unknown: Linux doesn't say either */
    if (size < packet->tot_len - begin)
        return false;
    if ((bytes[2] | bytes[3]) != 0 && inet_chksum(bytes, size) != 0)
        return false;
    while (offset < size) {
        u16_t length = 0;
        if (size - offset >= EXTENSION_HEADER)
            length = (u16_t)(bytes[offset] << 8 | bytes[offset + 1]);
        if (length < EXTENSION_HEADER || length > size - offset)
            return false;
        offset = (u16_t)(offset + length);
    }
    return true;
}

/* Where the extensions begin, counted from the data that the user gets (RFC 4884 4). */
static void find_extensions(const struct icmp_report *report, u16_t data,
                            struct ps_socket_error *error)
{
    bool is_v6 = ip_current_is_v6();
    bool may_have =
        is_v6 ? report->type == ICMP6_TYPE_DUR || report->type == ICMP6_TYPE_TE
              : report->type == ICMP_DUR || report->type == ICMP_TE || report->type == ICMP_PP;
    u16_t length = pbuf_get_at(report->packet, (u16_t)(report->message + (is_v6 ? 4 : 5)));
    length = (u16_t)(length * (is_v6 ? 8 : 4));
    u32_t begin = (u32_t)report->quoted + length;
    if (!may_have || length < LEAST_DATAGRAM || begin < data ||
        begin + EXTENSION_HEADER > report->packet->tot_len)
        return;
    error->extensions = (uint16_t)(begin - data);
    error->extensions_broken = !extensions_are_right(report->packet, (u16_t)begin);
}

void errors_report(struct port_socket *socket, const struct icmp_report *report, u16_t data,
                   uint16_t remote_port)
{
    bool is_v6 = ip_current_is_v6();
    u16_t end = report->packet->tot_len;
    u16_t begin = LWIP_MIN(data, end), size = (u16_t)(end - begin);
    struct queued_error *made = error_queue_add(socket, &report->remote, remote_port, size);
    if (made == NULL)
        return;
    enum ps_family family = (enum ps_family)socket->family;
    struct ps_message *message = &made->message;
    address_from_lwip(ip_current_dest_addr(), 0, family, &message->to);
    message->interface = interface_index(ip_current_input_netif());
    message->ttl = is_v6 ? IP6H_HOPLIM(ip6_current_header()) : IPH_TTL(ip4_current_header());
    message->tos = is_v6 ? (uint8_t)IP6H_TC(ip6_current_header()) : IPH_TOS(ip4_current_header());
    made->error.error = (uint32_t)report->error;
    made->error.origin = is_v6 ? PS_ERROR_ICMP6 : PS_ERROR_ICMP;
    made->error.type = report->type;
    made->error.code = report->code;
    made->error.info = report->info;
    address_from_lwip(ip_current_src_addr(), 0, family, &made->error.offender);
    if (is_v6 ? socket->errors.extensions6 : socket->errors.extensions4)
        find_extensions(report, begin, &made->error);
    pbuf_copy_partial(report->packet, made->data, size, begin);
}

void errors_too_large(struct port_socket *socket, const ip_addr_t *remote, uint16_t remote_port,
                      uint32_t mtu)
{
    if (!errors_wanted(socket, remote))
        return;
    struct queued_error *made = error_queue_add(socket, remote, remote_port, 0);
    if (made == NULL)
        return;
    made->error.error = EMSGSIZE;
    made->error.origin = PS_ERROR_LOCAL;
    made->error.info = mtu;
    socket_news(socket);
}

static bool is_icmp(const struct queued_error *error)
{
    return error != NULL && error->error.origin != PS_ERROR_LOCAL;
}

int64_t engine_socket_receive_error(ps_engine *engine, int64_t handle,
                                    const struct ps_piece *pieces, size_t count,
                                    struct ps_message *message, struct ps_socket_error *error)
{
    (void)engine;
    struct port_socket *socket = socket_find(handle);
    if (socket == NULL)
        return -EBADF;
    if (socket->errors.first == NULL)
        return -EAGAIN;
    struct queued_error *taken = error_queue_take(&socket->errors);
    /* SO_ERROR goes with the queue: it is the next one's, or over (as in Linux). */
    if (is_icmp(socket->errors.first))
        socket->error = (int)socket->errors.first->error.error;
    else if (is_icmp(taken))
        socket->error = 0;
    size_t size = LWIP_MIN((size_t)taken->size, pieces_size(pieces, count)), left = size;
    const uint8_t *data = taken->data;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t part = LWIP_MIN(pieces[i].size, left);
        memcpy(pieces[i].base, data, part);
        data += part;
        left -= part;
    }
    if (message != NULL) {
        *message = taken->message;
        if (size < taken->size)
            message->flags |= PS_MSG_TRUNC;
    }
    if (error != NULL)
        *error = taken->error;
    port_free(taken);
    if (socket->errors.first != NULL)
        socket_news(socket);
    else
        socket_event(socket);
    return (int64_t)size;
}
