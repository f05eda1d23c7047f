/*
 * Sockets over stock lwIP's raw API: no more of them than the lab's cases need.
 *
 * lwIP's callbacks only write down what happened; the requests that come later read it.
 */
#include <errno.h>
#include <string.h>

#include "lwip/igmp.h"
#include "lwip/raw.h"
#include "lwip/tcp.h"
#include "lwip/udp.h"
#include "stock.h"

#define SOCKETS_MAXIMUM 64
#define DATA_MAXIMUM 65536
#define QUEUE_MAXIMUM 32

enum kind { FREE, STREAM, LISTENER, DATAGRAM, RAW };

struct datagram {
    struct pbuf *packet;
    ip_addr_t from;
    u16_t port;
};

struct entry {
    enum kind kind;
    bool v6, bound, connecting, connected, ended, reused;
    const char *error; /* pending, as errno's name */
    union {
        struct tcp_pcb *tcp;
        struct udp_pcb *udp;
        struct raw_pcb *raw;
        void *any;
    } pcb;
    struct pbuf *stream;        /* received, not read */
    int waiting[QUEUE_MAXIMUM]; /* a listener's: accepted by lwIP, not by the program */
    struct datagram queue[QUEUE_MAXIMUM];
    int count; /* of whichever of the two */
};

static struct entry entries[SOCKETS_MAXIMUM];

/* Linux's numbers for options; the system's own headers name lwIP's types over again. */
enum {
    SOL_SOCKET = 1,
    SO_REUSEADDR = 2,
    SO_ERROR = 4,
    SO_BROADCAST = 6,
    SO_KEEPALIVE = 9,
    IPPROTO_IP = 0,
    IP_TOS = 1,
    IP_TTL = 2,
    IP_ADD_MEMBERSHIP = 35,
    IP_DROP_MEMBERSHIP = 36,
    IPPROTO_TCP = 6,
    TCP_NODELAY = 1,
};

static int errno_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } names[] = {{"ECONNREFUSED", ECONNREFUSED},
                 {"ECONNRESET", ECONNRESET},
                 {"ETIMEDOUT", ETIMEDOUT},
                 {"ECONNABORTED", ECONNABORTED}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].number;
    return EIO;
}

static int allocate(enum kind kind, bool v6)
{
    for (int i = 0; i < SOCKETS_MAXIMUM; i++)
        if (entries[i].kind == FREE) {
            memset(&entries[i], 0, sizeof entries[i]);
            entries[i].kind = kind;
            entries[i].v6 = v6;
            return i;
        }
    return -1;
}

/* --- lwIP's callbacks ------------------------------------------------------------------------ */

static err_t stream_received(void *argument, struct tcp_pcb *pcb, struct pbuf *packet, err_t error)
{
    struct entry *entry = argument;
    (void)pcb;
    (void)error;
    if (packet == NULL)
        entry->ended = true;
    else if (entry->stream == NULL)
        entry->stream = packet;
    else
        pbuf_cat(entry->stream, packet);
    return ERR_OK;
}

static void stream_failed(void *argument, err_t error)
{
    struct entry *entry = argument;
    if (entry == NULL)
        return;
    entry->pcb.any = NULL;
    entry->error = error == ERR_RST ? (entry->connecting ? "ECONNREFUSED" : "ECONNRESET")
                                    : (entry->connecting ? "ETIMEDOUT" : "ECONNABORTED");
    entry->connecting = entry->connected = false;
}

static err_t stream_connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct entry *entry = argument;
    (void)pcb;
    (void)error;
    entry->connecting = false;
    entry->connected = true;
    return ERR_OK;
}

static void attach_stream(struct entry *entry, struct tcp_pcb *pcb)
{
    entry->pcb.tcp = pcb;
    tcp_arg(pcb, entry);
    tcp_recv(pcb, stream_received);
    tcp_err(pcb, stream_failed);
}

static err_t stream_accepted(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct entry *listener = argument;
    int number;
    if (error != ERR_OK || pcb == NULL)
        return ERR_VAL;
    number = listener->count < QUEUE_MAXIMUM ? allocate(STREAM, listener->v6) : -1;
    if (number < 0)
        return ERR_MEM;
    entries[number].connected = true;
    attach_stream(&entries[number], pcb);
    listener->waiting[listener->count++] = number;
    return ERR_OK;
}

static void enqueue(struct entry *entry, struct pbuf *packet, const ip_addr_t *from, u16_t port)
{
    if (entry->count == QUEUE_MAXIMUM) {
        pbuf_free(packet);
        return;
    }
    struct datagram *place = &entry->queue[entry->count++];
    place->packet = packet;
    ip_addr_copy(place->from, *from);
    place->port = port;
}

static void datagram_received(void *argument, struct udp_pcb *pcb, struct pbuf *packet,
                              const ip_addr_t *from, u16_t port)
{
    (void)pcb;
    enqueue(argument, packet, from, port);
}

static u8_t raw_received(void *argument, struct raw_pcb *pcb, struct pbuf *packet,
                         const ip_addr_t *from)
{
    struct pbuf *copy = pbuf_clone(PBUF_RAW, PBUF_RAM, packet);
    (void)pcb;
    if (copy != NULL)
        enqueue(argument, copy, from, 0);
    return 0; /* a raw socket sees a packet, and does not take it */
}

/* --- requests -------------------------------------------------------------------------------- */

static struct entry *entry_of(const struct request *request)
{
    int number = request->count > 1 ? atoi(request->words[1]) : -1;
    if (number < 0 || number >= SOCKETS_MAXIMUM || entries[number].kind == FREE) {
        refuse("EBADF", "no such socket");
        return NULL;
    }
    return &entries[number];
}

static void open_socket(const struct request *request)
{
    if (request->count < 3) {
        refuse("EINVAL", "a family and a type");
        return;
    }
    bool v6 = strcmp(request->words[1], "inet6") == 0;
    u8_t type = v6 ? IPADDR_TYPE_V6 : IPADDR_TYPE_V4;
    const char *name = request->words[2];
    enum kind kind = strcmp(name, "stream") == 0  ? STREAM
                     : strcmp(name, "dgram") == 0 ? DATAGRAM
                                                  : RAW;
    int number = allocate(kind, v6);
    if (number < 0) {
        refuse("EMFILE", "no more sockets");
        return;
    }
    struct entry *entry = &entries[number];
    if (kind == STREAM) {
        struct tcp_pcb *pcb = tcp_new_ip_type(type);
        if (pcb != NULL)
            attach_stream(entry, pcb);
    } else if (kind == DATAGRAM) {
        entry->pcb.udp = udp_new_ip_type(type);
        if (entry->pcb.udp != NULL)
            udp_recv(entry->pcb.udp, datagram_received, entry);
    } else {
        u8_t protocol = request->count > 3 ? (u8_t)atoi(request->words[3]) : 0;
        entry->pcb.raw = raw_new_ip_type(type, protocol);
        if (entry->pcb.raw != NULL)
            raw_recv(entry->pcb.raw, raw_received, entry);
    }
    if (entry->pcb.any == NULL) {
        entry->kind = FREE;
        refuse("ENOMEM", "no PCB");
        return;
    }
    answer("%d", number);
}

static bool address_of(const struct request *request, int at, ip_addr_t *address, u16_t *port)
{
    if (request->count < at + 2 || !parse_address(request->words[at], address)) {
        refuse("EINVAL", "no address");
        return false;
    }
    *port = (u16_t)atoi(request->words[at + 1]);
    return true;
}

static void bind_socket(struct entry *entry, const struct request *request)
{
    ip_addr_t address;
    u16_t port;
    err_t error = ERR_ARG;
    if (!address_of(request, 2, &address, &port))
        return;
    if (entry->pcb.any == NULL)
        error = ERR_CLSD;
    else if (entry->kind == STREAM)
        error = tcp_bind(entry->pcb.tcp, &address, port);
    else if (entry->kind == DATAGRAM)
        error = udp_bind(entry->pcb.udp, &address, port);
    else if (entry->kind == RAW)
        error = raw_bind(entry->pcb.raw, &address);
    settle(error);
}

static void listen_socket(struct entry *entry, const struct request *request)
{
    int backlog = request->count > 2 ? atoi(request->words[2]) : 8;
    if (entry->kind == LISTENER) {
        done();
        return;
    }
    struct tcp_pcb *listener = entry->kind == STREAM && entry->pcb.tcp != NULL
                                   ? tcp_listen_with_backlog(entry->pcb.tcp, (u8_t)backlog)
                                   : NULL;
    if (listener == NULL) {
        refuse("EOPNOTSUPP", "it can't listen");
        return;
    }
    entry->kind = LISTENER;
    entry->pcb.tcp = listener;
    tcp_arg(listener, entry);
    tcp_accept(listener, stream_accepted);
    done();
}

static void accept_socket(struct entry *entry)
{
    if (entry->kind != LISTENER) {
        refuse("EINVAL", "it does not listen");
        return;
    }
    if (entry->count == 0) {
        refuse("EAGAIN", "nobody waits");
        return;
    }
    int number = entry->waiting[0];
    entry->count--;
    memmove(entry->waiting, entry->waiting + 1, (size_t)entry->count * sizeof entry->waiting[0]);
    struct tcp_pcb *pcb = entries[number].pcb.tcp;
    answer("%d %s %u", number, pcb == NULL ? "0.0.0.0" : ipaddr_ntoa(&pcb->remote_ip),
           pcb == NULL ? 0u : (unsigned)pcb->remote_port);
}

static void connect_socket(struct entry *entry, const struct request *request)
{
    ip_addr_t address;
    u16_t port;
    if (!address_of(request, 2, &address, &port))
        return;
    if (entry->kind == DATAGRAM) {
        settle(udp_connect(entry->pcb.udp, &address, port));
        return;
    }
    if (entry->kind != STREAM || entry->pcb.tcp == NULL) {
        refuse("EOPNOTSUPP", "it can't connect");
        return;
    }
    if (entry->connected || entry->connecting) {
        refuse(entry->connected ? "EISCONN" : "EALREADY", "it is connected, or will be");
        return;
    }
    err_t error = tcp_connect(entry->pcb.tcp, &address, port, stream_connected);
    if (error != ERR_OK) {
        refuse_lwip(error);
        return;
    }
    entry->connecting = true;
    refuse("EINPROGRESS", "the handshake is under way");
}

static bool pending_error(struct entry *entry)
{
    if (entry->error == NULL)
        return false;
    refuse(entry->error, "the connection is over");
    entry->error = NULL;
    entry->ended = true;
    return true;
}

static void send_stream(struct entry *entry, const unsigned char *data, size_t size)
{
    if (pending_error(entry))
        return;
    if (!entry->connected || entry->pcb.tcp == NULL) {
        refuse(entry->connecting ? "EAGAIN" : "EPIPE", "not connected");
        return;
    }
    size_t room = tcp_sndbuf(entry->pcb.tcp);
    if (room == 0) {
        refuse("EAGAIN", "the buffer is full");
        return;
    }
    if (size > room)
        size = room;
    err_t error = tcp_write(entry->pcb.tcp, data, (u16_t)size, TCP_WRITE_FLAG_COPY);
    if (error == ERR_OK)
        error = tcp_output(entry->pcb.tcp);
    if (error == ERR_CONN)
        refuse("EPIPE", "shut down");
    else if (error == ERR_MEM)
        refuse("EAGAIN", "the queue is full");
    else if (error != ERR_OK)
        refuse_lwip(error);
    else
        answer("%zu", size);
}

static void send_datagram(struct entry *entry, const unsigned char *data, size_t size,
                          const struct request *request)
{
    ip_addr_t address;
    u16_t port = 0;
    bool named = request->count > 3;
    if (named && !address_of(request, 3, &address, &port))
        return;
    struct pbuf *packet = pbuf_alloc(PBUF_TRANSPORT, (u16_t)size, PBUF_RAM);
    if (packet == NULL) {
        refuse("ENOBUFS", "no buffer");
        return;
    }
    pbuf_take(packet, data, (u16_t)size);
    err_t error = entry->kind == RAW ? raw_sendto(entry->pcb.raw, packet, &address)
                  : named            ? udp_sendto(entry->pcb.udp, packet, &address, port)
                                     : udp_send(entry->pcb.udp, packet);
    pbuf_free(packet);
    if (error == ERR_OK)
        answer("%zu", size);
    else
        refuse_lwip(error);
}

static void send_socket(struct entry *entry, const struct request *request)
{
    static unsigned char data[DATA_MAXIMUM];
    size_t size = request->count > 2 && strcmp(request->words[2], "-") != 0
                      ? hex_to_bytes(request->words[2], data, sizeof data)
                      : 0;
    if (entry->kind == STREAM)
        send_stream(entry, data, size);
    else if (entry->kind == LISTENER || (entry->kind == RAW && request->count < 5))
        refuse("EDESTADDRREQ", "where to?");
    else
        send_datagram(entry, data, size, request);
}

static void print_bytes(struct pbuf *packet, size_t size)
{
    fputs(size == 0 ? "ok -" : "ok ", stdout);
    for (size_t i = 0; i < size; i++)
        printf("%02x", pbuf_get_at(packet, (u16_t)i));
}

static void receive_socket(struct entry *entry, const struct request *request)
{
    size_t most = request->count > 2 ? strtoul(request->words[2], NULL, 10) : DATA_MAXIMUM;
    if (entry->kind == DATAGRAM || entry->kind == RAW) {
        if (entry->count == 0) {
            refuse("EAGAIN", "nothing has come");
            return;
        }
        struct datagram first = entry->queue[0];
        entry->count--;
        memmove(entry->queue, entry->queue + 1, (size_t)entry->count * sizeof entry->queue[0]);
        print_bytes(first.packet, LWIP_MIN(most, first.packet->tot_len));
        if (strcmp(request->words[0], "recvfrom") == 0)
            printf(" %s %u", ipaddr_ntoa(&first.from), (unsigned)first.port);
        putchar('\n');
        pbuf_free(first.packet);
        return;
    }
    if (entry->stream != NULL) {
        size_t size = LWIP_MIN(most, entry->stream->tot_len);
        print_bytes(entry->stream, size);
        putchar('\n');
        entry->stream = pbuf_free_header(entry->stream, (u16_t)size);
        if (entry->pcb.tcp != NULL)
            tcp_recved(entry->pcb.tcp, (u16_t)size);
        return;
    }
    if (pending_error(entry))
        return;
    if (entry->ended)
        answer("-");
    else if (entry->connected)
        refuse("EAGAIN", "nothing has come");
    else
        refuse(entry->connecting ? "EAGAIN" : "ENOTCONN", "not connected");
}

static void shut_socket(struct entry *entry, const struct request *request)
{
    const char *how = request->count > 2 ? request->words[2] : "";
    if (entry->kind != STREAM || entry->pcb.tcp == NULL || !entry->connected) {
        refuse("ENOTCONN", "not connected");
        return;
    }
    bool both = strcmp(how, "rdwr") == 0;
    settle(tcp_shutdown(entry->pcb.tcp, both || strcmp(how, "rd") == 0,
                        both || strcmp(how, "wr") == 0));
    if (both)
        entry->pcb.tcp = NULL;
}

static void close_socket(struct entry *entry)
{
    struct tcp_pcb *pcb = entry->pcb.tcp;
    if (entry->kind == STREAM || entry->kind == LISTENER) {
        if (entry->kind == LISTENER)
            for (int i = 0; i < entry->count; i++)
                close_socket(&entries[entry->waiting[i]]);
        if (pcb != NULL) {
            tcp_arg(pcb, NULL);
            if (entry->kind == STREAM) {
                tcp_recv(pcb, NULL);
                tcp_err(pcb, NULL);
            }
            if (tcp_close(pcb) != ERR_OK)
                tcp_abort(pcb);
        }
        if (entry->stream != NULL)
            pbuf_free(entry->stream);
    } else {
        for (int i = 0; i < entry->count; i++)
            pbuf_free(entry->queue[i].packet);
        if (entry->kind == DATAGRAM)
            udp_remove(entry->pcb.udp);
        else
            raw_remove(entry->pcb.raw);
    }
    entry->kind = FREE;
}

static void name_socket(struct entry *entry, bool remote)
{
    const ip_addr_t *address = NULL;
    u16_t port = 0;
    if (entry->pcb.any == NULL) {
        refuse("ENOTCONN", "it is over");
        return;
    }
    if (entry->kind == DATAGRAM) {
        address = remote ? &entry->pcb.udp->remote_ip : &entry->pcb.udp->local_ip;
        port = remote ? entry->pcb.udp->remote_port : entry->pcb.udp->local_port;
    } else if (entry->kind == RAW) {
        address = remote ? &entry->pcb.raw->remote_ip : &entry->pcb.raw->local_ip;
    } else {
        if (remote && !entry->connected) {
            refuse("ENOTCONN", "not connected");
            return;
        }
        address = remote ? &entry->pcb.tcp->remote_ip : &entry->pcb.tcp->local_ip;
        port = entry->pcb.tcp->local_port;
        if (remote)
            port = entry->pcb.tcp->remote_port;
    }
    answer("%s %u", ipaddr_ntoa(address), (unsigned)port);
}

static void switch_option(struct entry *entry, u8_t option, bool on)
{
    struct ip_pcb *pcb = entry->pcb.any;
    if (on)
        ip_set_option(pcb, option);
    else
        ip_reset_option(pcb, option);
    done();
}

static void change_membership(bool join, const char *word)
{
    unsigned char bytes[8] = {0};
    ip4_addr_t group;
    hex_to_bytes(word[0] == 'x' ? word + 1 : word, bytes, sizeof bytes);
    IP4_ADDR(&group, bytes[0], bytes[1], bytes[2], bytes[3]);
    settle(join ? igmp_joingroup_netif(&wires[0], &group)
                : igmp_leavegroup_netif(&wires[0], &group));
}

/* Levels and names are Linux's numbers, as in the protocol. */
static void option_socket(struct entry *entry, const struct request *request)
{
    int level = request->count > 2 ? atoi(request->words[2]) : -1;
    int name = request->count > 3 ? atoi(request->words[3]) : -1;
    bool set = strcmp(request->words[0], "setsockopt") == 0 && request->count > 4;
    bool on = set && atoi(request->words[4]) != 0;
    if (!set && level == SOL_SOCKET && name == SO_ERROR) {
        answer("%d", entry->error == NULL ? 0 : errno_of(entry->error));
        entry->error = NULL;
    } else if (!set || entry->pcb.any == NULL) {
        refuse("ENOPROTOOPT", "not here");
    } else if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
        switch_option(entry, SOF_KEEPALIVE, on);
    } else if (level == SOL_SOCKET && name == SO_REUSEADDR) {
        switch_option(entry, SOF_REUSEADDR, on);
    } else if (level == SOL_SOCKET && name == SO_BROADCAST) {
        switch_option(entry, SOF_BROADCAST, on);
    } else if (level == IPPROTO_TCP && name == TCP_NODELAY && entry->kind == STREAM) {
        if (on)
            tcp_nagle_disable(entry->pcb.tcp);
        else
            tcp_nagle_enable(entry->pcb.tcp);
        done();
    } else if (level == IPPROTO_IP && name == IP_TTL) {
        ((struct ip_pcb *)entry->pcb.any)->ttl = (u8_t)atoi(request->words[4]);
        done();
    } else if (level == IPPROTO_IP && name == IP_TOS) {
        ((struct ip_pcb *)entry->pcb.any)->tos = (u8_t)atoi(request->words[4]);
        done();
    } else if (level == IPPROTO_IP && (name == IP_ADD_MEMBERSHIP || name == IP_DROP_MEMBERSHIP)) {
        change_membership(name == IP_ADD_MEMBERSHIP, request->words[4]);
    } else {
        refuse("ENOPROTOOPT", "not here");
    }
}

bool socket_request(const struct request *request)
{
    static const char *const verbs[] = {"bind",        "listen",      "accept",     "connect",
                                        "send",        "sendto",      "recv",       "recvfrom",
                                        "close",       "shutdown",    "getsockopt", "setsockopt",
                                        "getsockname", "getpeername", "nonblock"};
    const char *verb = request->words[0];
    if (strcmp(verb, "socket") == 0) {
        open_socket(request);
        return true;
    }
    size_t which = 0;
    while (which < sizeof verbs / sizeof verbs[0] && strcmp(verb, verbs[which]) != 0)
        which++;
    if (which == sizeof verbs / sizeof verbs[0])
        return false;
    struct entry *entry = entry_of(request);
    if (entry == NULL)
        return true;
    switch (which) {
    case 0:
        bind_socket(entry, request);
        break;
    case 1:
        listen_socket(entry, request);
        break;
    case 2:
        accept_socket(entry);
        break;
    case 3:
        connect_socket(entry, request);
        break;
    case 4:
    case 5:
        send_socket(entry, request);
        break;
    case 6:
    case 7:
        receive_socket(entry, request);
        break;
    case 8:
        close_socket(entry);
        done();
        break;
    case 9:
        shut_socket(entry, request);
        break;
    case 10:
    case 11:
        option_socket(entry, request);
        break;
    case 12:
    case 13:
        name_socket(entry, which == 13);
        break;
    default:
        done(); /* they never block */
    }
    return true;
}
