/*
 * The queue of received datagrams, and the options of IP, for UDP and raw sockets.
 *
 * The queue keeps lwIP's own pbufs. Like Linux it takes a datagram as long as what is
 * already queued does not exceed the receive buffer, so that one datagram always fits.
 */
#include "sockets/datagram.h"

#include "base/memory.h"
#include "base/pieces.h"
#include "base/port.h"
#include "base/tunables.h"
#include "link/address.h"
#include "link/interface.h"
#include "sockets/option_field.h"

/* As many as Linux makes one of (UDP_GRO_CNT_MAX). */
#define MOST_PARTS 64

struct datagram {
    struct datagram *next;
    struct pbuf *data, *tail; /* the first one's `tot_len` alone counts */
    struct ps_message message;
    uint32_t charge;
    uint16_t part_size; /* of a datagram that others may be put behind; 0: none may */
    uint8_t parts;
};

void datagram_open(struct datagram_socket *socket)
{
    socket->head.options.receive_buffer = (uint32_t)tunables.datagram_receive_buffer;
    socket->head.options.send_buffer = (uint32_t)tunables.datagram_send_buffer;
    socket->ttl = socket->hop_limit = -1;
    socket->multicast_ttl = socket->multicast_hop_limit = 1;
    socket->multicast_loop4 = socket->multicast_loop6 = true;
    socket->multicast_all4 = socket->head.family == PS_INET;
    socket->multicast_all6 = true;
}

static void drop_first(struct datagram_socket *socket)
{
    struct datagram *datagram = socket->first;
    socket->first = datagram->next;
    if (socket->first == NULL)
        socket->last = NULL;
    socket->charged -= datagram->charge;
    pbuf_free(datagram->data);
    port_free(datagram);
}

void datagram_close(struct datagram_socket *socket)
{
    multicast_leave_all(socket);
    while (socket->first != NULL)
        drop_first(socket);
}

static void describe_arrival(const struct datagram_socket *socket, const ip_addr_t *from,
                             uint16_t port_number, uint16_t local_port, struct ps_message *message)
{
    enum ps_family family = (enum ps_family)socket->head.family;
    address_from_lwip(from, port_number, family, &message->from);
    address_from_lwip(ip_current_dest_addr(), local_port, family, &message->to);
    message->interface = interface_index(ip_current_input_netif());
    message->time_us = port.now_us;
    if (ip_current_is_v6()) {
        message->ttl = IP6H_HOPLIM(ip6_current_header());
        message->tos = (uint8_t)IP6H_TC(ip6_current_header());
    } else {
        message->ttl = IPH_TTL(ip4_current_header());
        message->tos = IPH_TOS(ip4_current_header());
    }
}

/* --- datagrams that are received as one (UDP_GRO) --------------------------------------------- */

static uint32_t charge_of(const struct pbuf *p)
{
    return (uint32_t)(p->tot_len + pbuf_clen(p) * sizeof(struct pbuf));
}

static struct pbuf *tail_of(struct pbuf *p)
{
    while (p->next != NULL)
        p = p->next;
    return p;
}

static bool is_alike(const struct ps_message *a, const struct ps_message *b)
{
    return memcmp(&a->from, &b->from, sizeof a->from) == 0 &&
           memcmp(&a->to, &b->to, sizeof a->to) == 0 && a->interface == b->interface &&
           a->ttl == b->ttl && a->tos == b->tos && a->drops == b->drops;
}

/* Puts a datagram behind the newest that waits, if that is of the same flow and size. */
static bool coalesce(struct datagram_socket *socket, struct pbuf *p,
                     const struct ps_message *message)
{
    struct datagram *last = socket->last;
    if (last == NULL || p->tot_len == 0 || p->tot_len > last->part_size ||
        last->parts == MOST_PARTS || last->data->tot_len + p->tot_len > UINT16_MAX ||
        !is_alike(&last->message, message))
        return false;
    uint32_t charge = charge_of(p);
    last->message.segment_size = last->part_size;
    if (p->tot_len < last->part_size)
        last->part_size = 0; /* that was the last one */
    last->parts++;
    last->data->tot_len = (u16_t)(last->data->tot_len + p->tot_len);
    last->tail->next = p;
    last->tail = tail_of(p);
    last->charge += charge;
    socket->charged += charge;
    return true;
}

static bool coalesces(struct datagram_socket *socket, struct pbuf *p, const ip_addr_t *from,
                      uint16_t port_number, uint16_t local_port)
{
    struct ps_message message = {.drops = socket->drops};
    if (socket->charged + socket->head.errors.charged > socket->head.options.receive_buffer)
        return false;
    describe_arrival(socket, from, port_number, local_port, &message);
    if (!coalesce(socket, p, &message))
        return false;
    socket_event(&socket->head);
    return true;
}

bool datagram_enqueue(struct datagram_socket *socket, struct pbuf *p, const ip_addr_t *from,
                      uint16_t port_number, uint16_t local_port)
{
    struct datagram *datagram = NULL;
    if (socket->coalesces && coalesces(socket, p, from, port_number, local_port))
        return true;
    if (socket->charged + socket->head.errors.charged <= socket->head.options.receive_buffer)
        datagram = port_allocate(sizeof *datagram);
    if (datagram == NULL) {
        socket->drops++;
        pbuf_free(p);
        return false;
    }
    describe_arrival(socket, from, port_number, local_port, &datagram->message);
    datagram->message.drops = socket->drops;
    datagram->data = p;
    datagram->charge = charge_of(p) + (uint32_t)sizeof *datagram;
    if (socket->coalesces) {
        datagram->tail = tail_of(p);
        datagram->part_size = p->tot_len;
        datagram->parts = 1;
    }
    socket->charged += datagram->charge;
    if (socket->last == NULL)
        socket->first = datagram;
    else
        socket->last->next = datagram;
    socket->last = datagram;
    socket_news(&socket->head);
    return true;
}

int64_t datagram_receive(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                         uint32_t flags, struct ps_message *message)
{
    struct datagram_socket *socket = (struct datagram_socket *)head;
    if (head->error != 0)
        return socket_take_error(head);
    const struct datagram *datagram = socket->first;
    if (datagram == NULL) {
        if (message != NULL)
            memset(message, 0, sizeof *message);
        return head->shut_read ? -ESHUTDOWN : -EAGAIN;
    }
    size_t whole = datagram->data->tot_len, room = pieces_size(pieces, count);
    size_t size = LWIP_MIN(whole, room);
    pieces_from_pbuf(pieces, count, datagram->data, 0, size);
    if (message != NULL) {
        *message = datagram->message;
        if (!socket->coalesces)
            message->segment_size = 0; /* not asked for any more */
        if (size < whole)
            message->flags |= PS_MSG_TRUNC;
    }
    if (!(flags & PS_MSG_PEEK))
        drop_first(socket);
    return (int64_t)(flags & PS_MSG_TRUNC ? whole : size);
}

uint32_t datagram_ready(struct port_socket *head)
{
    const struct datagram_socket *socket = (const struct datagram_socket *)head;
    /* A send hands the datagram to the wire at once, so there is always room for one. */
    uint32_t mask = PS_READY_WRITE | PS_READY_DRAINED;
    if (socket->first != NULL)
        mask |= PS_READY_READ;
    if (head->shut_read)
        mask |= PS_READY_READ | PS_READY_ENDED;
    if (head->error != 0)
        mask |= PS_READY_ERROR;
    if (head->errors.first != NULL)
        mask |= PS_READY_ERROR;
    if (head->shut_read && head->shut_write)
        mask |= PS_READY_HANGUP;
    return mask;
}

void datagram_shut(struct port_socket *head, uint32_t how)
{
    head->shut_read |= (how & PS_SHUT_READ) != 0;
    head->shut_write |= (how & PS_SHUT_WRITE) != 0;
    socket_event(head);
}

uint32_t datagram_next_size(const struct datagram_socket *socket)
{
    return socket->first != NULL ? socket->first->data->tot_len : 0;
}

uint32_t datagram_queued(const struct datagram_socket *socket)
{
    return (uint32_t)LWIP_MIN(socket->charged, (uint64_t)UINT32_MAX);
}

/* --- options -------------------------------------------------------------------------- */

static bool is_option6(enum ps_option option)
{
    return (option >= PS_OPT_IPV6_V6ONLY && option <= PS_OPT_IPV6_CHECKSUM) ||
           option == PS_OPT_IPV6_MULTICAST_ALL || option == PS_OPT_IPV6_UNICAST_IF;
}

#define FLAG(option, field) OPTION_FLAG(option, struct datagram_socket, field)
#define NUMBER(option, field, least, most) \
    OPTION_NUMBER(option, struct datagram_socket, field, least, most)

/* Those that are a field and no more, or are so when they are read. */
static const struct option_field fields[] = {
    FLAG(PS_OPT_KEEPALIVE, keep_alive),
    FLAG(PS_OPT_IP_MULTICAST_LOOP, multicast_loop4),
    NUMBER(PS_OPT_IPV6_MULTICAST_LOOP, multicast_loop6, 0, 1),
    NUMBER(PS_OPT_IP_MULTICAST_ALL, multicast_all4, 0, 1),
    FLAG(PS_OPT_IPV6_MULTICAST_ALL, multicast_all6),
    NUMBER(PS_OPT_IPV6_UNICAST_HOPS, hop_limit, -1, UINT8_MAX),
    NUMBER(PS_OPT_IP_TOS, tos, 0, UINT8_MAX),
    NUMBER(PS_OPT_IPV6_TCLASS, traffic_class, 0, UINT8_MAX),
    NUMBER(PS_OPT_IP_MULTICAST_TTL, multicast_ttl, 0, UINT8_MAX),
    NUMBER(PS_OPT_IPV6_MULTICAST_HOPS, multicast_hop_limit, 0, UINT8_MAX),
    {0},
};

int datagram_option_get(struct port_socket *head, enum ps_option option, int64_t *value)
{
    const struct datagram_socket *socket = (const struct datagram_socket *)head;
    if (is_option6(option) && head->family != PS_INET6)
        return -ENOPROTOOPT;
    switch (option) {
    case PS_OPT_IP_TTL:
        *value = socket->ttl < 0 ? tunables.ip_ttl : socket->ttl;
        return 0;
    case PS_OPT_IP_MULTICAST_IF:
        *value = socket->multicast_interface4;
        return 0;
    case PS_OPT_IPV6_UNICAST_HOPS:
        *value = socket->hop_limit < 0 ? tunables.ip6_hop_limit : socket->hop_limit;
        return 0;
    case PS_OPT_IPV6_MULTICAST_IF:
        *value = socket->multicast_interface6;
        return 0;
    case PS_OPT_IP_UNICAST_IF:
        *value = socket->unicast_interface4;
        return 0;
    case PS_OPT_IPV6_UNICAST_IF:
        *value = socket->unicast_interface6;
        return 0;
    case PS_OPT_LISTENING:
        *value = 0;
        return 0;
    case PS_OPT_BYTES_QUEUED:
        *value = datagram_next_size(socket);
        return 0;
    case PS_OPT_BYTES_UNSENT:
        *value = 0;
        return 0;
    default:
        return option_field_get(fields, socket, option, value);
    }
}

static int set_multicast_interface(const struct port_socket *head, int64_t value, uint32_t *out)
{
    if (value < 0 || value > UINT32_MAX)
        return -ENODEV;
    if (value != 0 && interface_by_index((uint32_t)value) == NULL)
        return -ENODEV;
    if (head->options.bound_interface != 0 && value != 0 && value != head->options.bound_interface)
        return -EINVAL;
    *out = (uint32_t)value;
    return 0;
}

static int set_unicast_interface(const struct port_socket *head, int64_t value, uint32_t *out)
{
    int result = set_multicast_interface(head, value, out);
    return result == -ENODEV ? -EADDRNOTAVAIL : result;
}

/* Both -1, "the default", and the option's own range. */
static int set_byte(int64_t value, int64_t least, uint8_t initial, uint8_t *out)
{
    if (value == -1) {
        *out = initial;
        return 0;
    }
    if (value < least || value > UINT8_MAX)
        return -EINVAL;
    *out = (uint8_t)value;
    return 0;
}

int datagram_option_set(struct port_socket *head, enum ps_option option, int64_t value)
{
    struct datagram_socket *socket = (struct datagram_socket *)head;
    if (is_option6(option) && head->family != PS_INET6)
        return -ENOPROTOOPT;
    switch (option) {
    case PS_OPT_IP_TTL:
        if (value != -1 && (value < 1 || value > UINT8_MAX))
            return -EINVAL;
        socket->ttl = (int16_t)value;
        return 0;
    case PS_OPT_IP_TOS:
        socket->tos = (uint8_t)value; /* Linux keeps the low byte */
        return 0;
    case PS_OPT_IP_MULTICAST_TTL:
        return set_byte(value, 0, 1, &socket->multicast_ttl);
    case PS_OPT_IP_MULTICAST_IF:
        return set_multicast_interface(head, value, &socket->multicast_interface4);
    case PS_OPT_IPV6_MULTICAST_HOPS:
        return set_byte(value, 0, 1, &socket->multicast_hop_limit);
    case PS_OPT_IPV6_MULTICAST_IF:
        return set_multicast_interface(head, value, &socket->multicast_interface6);
    case PS_OPT_IPV6_TCLASS:
        return set_byte(value, 0, 0, &socket->traffic_class);
    case PS_OPT_IP_UNICAST_IF:
        return set_unicast_interface(head, value, &socket->unicast_interface4);
    case PS_OPT_IPV6_UNICAST_IF:
        return set_unicast_interface(head, value, &socket->unicast_interface6);
    default:
        return option_field_set(fields, socket, option, value);
    }
}
