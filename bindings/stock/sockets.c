/*
 * Requests about sockets, over stock lwIP's raw API: no more than the lab's cases need.
 */
#include "sockets.h"

#include <string.h>

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
    int number = allocate_entry(kind, v6);
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
        struct udp_pcb *pcb = udp_new_ip_type(type);
        if (pcb != NULL)
            attach_datagrams(entry, pcb);
    } else {
        u8_t protocol = request->count > 3 ? (u8_t)atoi(request->words[3]) : 0;
        struct raw_pcb *pcb = raw_new_ip_type(type, protocol);
        if (pcb != NULL)
            attach_raw(entry, pcb);
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
    attach_listener(entry, listener);
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
        option_request(entry, request);
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
