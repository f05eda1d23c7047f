/*
 * TCP sockets: from open to close.
 */
#include "tcp/tcp_socket.h"

#include <errno.h>

#include "base/errors.h"
#include "base/hooks.h"
#include "base/tunables.h"
#include "ip/route.h"
#include "link/address.h"
#include "link/interface.h"
#include "sockets/error_queue.h"
#include "tcp/tcp_handshake.h"

static err_t on_connected(void *argument, struct tcp_pcb *pcb, err_t error)
{
    (void)error; /* lwIP only ever passes ERR_OK */
    struct tcp_socket *socket = argument;
    socket->phase = TCP_CONNECTED;
    pcb->mss = port_tcp_mss(pcb, pcb->mss);
    ip_addr_copy(socket->local, pcb->local_ip);
    socket->local_port = pcb->local_port;
    socket_event(&socket->head);
    return ERR_OK;
}

/* --- open, bind, connect ---------------------------------------------------------------- */

static int open_socket(struct port_socket *head)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (head->protocol != 0 && head->protocol != IP_PROTO_TCP)
        return -EPROTONOSUPPORT;
    head->protocol = IP_PROTO_TCP;
    tcp_socket_init(socket);
    return tcp_need_pcb(socket);
}

void tcp_socket_init(struct tcp_socket *socket)
{
    struct port_socket *head = &socket->head;
    head->options.send_buffer = (uint32_t)tunables.tcp_send_buffer;
    head->options.receive_buffer = (uint32_t)tunables.tcp_receive_buffer;
    socket->options.ttl = socket->options.hop_limit = -1;
    socket->options.keep_idle_ms = TCP_KEEPIDLE_DEFAULT;
    socket->options.keep_interval_ms = TCP_KEEPINTVL_DEFAULT;
    socket->options.keep_count = TCP_KEEPCNT_DEFAULT;
    ip_addr_set(&socket->bound_to, head->family == PS_INET ? IP4_ADDR_ANY : IP6_ADDR_ANY);
    ip_addr_copy(socket->local, socket->bound_to);
}

/* An address that is on every link means nothing without one (RFC 4007). */
static bool lacks_link(const struct port_socket *head, const ip_addr_t *ip)
{
    return IP_IS_V6(ip) && ip6_addr_lacks_zone(ip_2_ip6(ip), IP6_UNKNOWN) &&
           head->options.bound_interface == 0;
}

/* Another link than the socket's, one that leads only here, or nowhere near the address. */
static int check_link(const struct port_socket *head, const ip_addr_t *local, const ip_addr_t *ip)
{
    uint32_t zone =
        IP_IS_V6(ip) && ip6_addr_has_zone(ip_2_ip6(ip)) ? ip6_addr_zone(ip_2_ip6(ip)) : 0;
    if (lacks_link(head, ip) ||
        (zone != 0 && head->options.bound_interface != 0 && zone != head->options.bound_interface))
        return -EINVAL;
    uint32_t index = zone != 0 ? zone : head->options.bound_interface;
    struct netif *netif = index != 0 ? interface_by_index(index) : NULL;
    if (index != 0 && netif == NULL)
        return IP_IS_V6(ip) ? -ENETUNREACH : -ENODEV;
    bool ours = address_is_ours(ip);
    if (netif != NULL && interface_of(netif) == NULL && !ours)
        return -ENETUNREACH;
    if (netif == NULL && !ours)
        netif = ip_route(local, ip);
    if (IP_IS_V6(ip))
        return netif != NULL && !route_reaches6(netif, ip) ? -ENETUNREACH : 0;
    /* RFC 1122 3.2.1.3 g: the loopback's addresses never appear outside a host. */
    bool strange = !ours && !IP_IS_ANY_TYPE_VAL(*local) && ip_addr_isloopback(local);
    return strange && netif != NULL ? -EINVAL : 0; /* without a way tcp_connect() says so */
}

/* A connect that has told of its failure leaves the socket as it was before, as in Linux. */
static void forget_attempt(struct port_socket *head)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    socket->phase = TCP_FRESH;
    socket->end_of_stream = head->shut_read = head->shut_write = false;
    /* A port that it wasn't bound to is no longer its own, and named until it has another, as by
     * Linux. */
    ip_addr_copy(socket->local, socket->bound_to);
    socket->bound &= socket->port_is_bound;
    if (socket->bound)
        tcp_need_pcb(socket); /* keeps the port; without memory the next attempt tries again */
}

/* In TIME-WAIT there is nothing left to talk to. */
static bool is_connected(const struct tcp_socket *socket)
{
    return socket->phase == TCP_CONNECTED && socket->pcb != NULL && socket->pcb->state != TIME_WAIT;
}

/* A connection that is over frees its port, and its socket may be bound again. */
static void leave_connection(struct tcp_socket *socket)
{
    if (socket->phase != TCP_CONNECTED || is_connected(socket))
        return;
    if (socket->pcb != NULL)
        tcp_disown(socket);
    tcp_socket_over(socket);
}

static void discard_pcb(struct tcp_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    tcp_disown(socket);
    tcp_abandon(pcb, pcb->state != CLOSED && pcb->state != SYN_SENT);
}

static int bind_socket(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    bool foreign = !ip_addr_isany(ip) && !head->options.free_bind && !head->options.transparent &&
                   !address_is_ours(ip);
    if (foreign && head->family == PS_INET) /* the first that Linux looks at, for IPv4 */
        return -EADDRNOTAVAIL;
    leave_connection(socket);
    if ((socket->phase != TCP_FRESH && socket->phase != TCP_OVER) || socket->bound)
        return -EINVAL;
    if (IP_IS_V6(ip) && (ip_addr_ismulticast(ip) || lacks_link(head, ip)))
        return -EINVAL;
    if (head->family == PS_INET6 && !ip_addr_isany(ip) && head->options.bound_interface != 0 &&
        interface_by_index(head->options.bound_interface) == NULL)
        return -ENODEV;
    if (foreign || address_is_elsewhere(ip, head->options.bound_interface))
        return -EADDRNOTAVAIL;
    int result = tcp_need_pcb(socket);
    if (result < 0)
        return result;
    if (port_number == 0) {
        ip_addr_set(&socket->pcb->local_ip, ip);
        result = tcp_bind_ephemeral(socket->pcb);
        if (result == -EADDRNOTAVAIL)
            result = -EADDRINUSE;
    } else if (tcp_port_is_taken(socket, ip, port_number)) {
        result = -EADDRINUSE;
    } else {
        result = port_errno(tcp_bind(socket->pcb, ip, port_number));
    }
    if (result < 0)
        return result;
    socket->bound = true;
    socket->port_is_bound = port_number != 0;
    ip_addr_copy(socket->bound_to, *ip);
    ip_addr_copy(socket->local, *ip);
    socket->local_port = socket->pcb->local_port;
    return 0;
}

static int may_connect(struct port_socket *head)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (socket->phase == TCP_CONNECTING)
        return -EALREADY;
    if (socket->phase == TCP_CONNECTED && !socket->connect_told) {
        socket->connect_told = true; /* as Linux says once that a connect in steps has ended */
        return 1;
    }
    if (socket->phase == TCP_CONNECTED || socket->phase == TCP_LISTENING ||
        (socket->phase == TCP_OVER && socket->connect_told))
        return -EISCONN;
    if (socket->is_spent)
        return -EINVAL;
    if (head->error != 0 || socket->phase == TCP_OVER) {
        int error = socket_take_error(head);
        if (socket->phase == TCP_OVER)
            forget_attempt(head);
        return error != 0 ? error : -ECONNABORTED; /* another call was told why */
    }
    return 0;
}

static int connect_socket(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (ip == NULL) /* AF_UNSPEC: nothing to dissolve */
        return LWIP_MIN(may_connect(head), 0);
    ip_addr_t local, target;
    ip_addr_copy(local, socket->bound_to);
    if (!socket->bound && ip_addr_isany(&local))
        ip_addr_copy(local, *IP_ANY_TYPE);
    ip_addr_copy(target, *ip);
    address_replace_unspecified(&local, &target);
    if (ip_addr_ismulticast(&target) || address_is_broadcast(&target))
        return -ENETUNREACH;
    int result = address_may_reach(&local, &target);
    if (result == 0)
        result = check_link(head, &local, &target);
    if (result < 0)
        return result;
    result = tcp_need_pcb(socket);
    if (result < 0)
        return result;
    if (socket->bound && head->options.free_bind && !head->options.transparent &&
        IP_IS_V4(&socket->local) && !ip_addr_isany(&socket->local) &&
        !address_is_ours(&socket->local))
        return -ENETUNREACH; /* as for datagrams (datagram_send.c) */
    if (!socket->bound) {
        result = tcp_bind_toward(socket->pcb, &target, port_number);
        if (result < 0)
            return result;
    }
    socket->send_limit = socket->pcb->snd_buf;
    ip_addr_copy(socket->remote, target);
    socket->remote_port = port_number;
    socket->phase = TCP_CONNECTING;
    socket->connect_told = false;
    socket->pcb->ttl = tcp_ttl(socket, IP_IS_V6(&target));
    socket->pcb->tos = tcp_tos(socket, IP_IS_V6(&target));
    err_t error = tcp_connect(socket->pcb, &target, port_number, on_connected);
    if (error != ERR_OK) {
        socket->phase = TCP_FRESH;
        if (!socket->bound)
            discard_pcb(socket); /* with the port that it had for this attempt */
        return error == ERR_USE ? -EADDRNOTAVAIL : port_errno(error);
    }
    ip_addr_copy(socket->local, socket->pcb->local_ip);
    socket->local_port = socket->pcb->local_port;
    return -EINPROGRESS;
}

/* --- the end ---------------------------------------------------------------------------- */

/* A call waiting in connect hears of a reset; the socket is as it was before. */
static void abort_attempt(struct tcp_socket *socket)
{
    discard_pcb(socket);
    forget_attempt(&socket->head);
    socket_fail(&socket->head, ECONNRESET);
}

static int shutdown_socket(struct port_socket *head, uint32_t how)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (socket->phase == TCP_LISTENING) {
        if (how & PS_SHUT_READ) { /* as in Linux: it stops listening */
            tcp_listener_close(socket);
            forget_attempt(head);
            socket_event(head);
        }
        return 0;
    }
    if (socket->shaking != NULL) { /* it follows when the connection is there */
        head->shut_read |= (how & PS_SHUT_READ) != 0;
        head->shut_write |= (how & PS_SHUT_WRITE) != 0;
        return 0;
    }
    if (socket->phase == TCP_CONNECTING) {
        abort_attempt(socket);
        return 0;
    }
    /* Nobody is told of the connect any more; a failed one leaves a socket that can't try again. */
    if (socket->phase == TCP_OVER && !socket->connect_told)
        socket->is_spent = true;
    socket->connect_told |= socket->phase == TCP_CONNECTED;
    head->shut_read |= (how & PS_SHUT_READ) != 0;
    head->shut_write |= (how & PS_SHUT_WRITE) != 0;
    if (how & PS_SHUT_WRITE && is_connected(socket))
        tcp_shutdown(socket->pcb, 0, 1); /* without memory for the FIN lwIP's timer sends it */
    socket_event(head);
    return is_connected(socket) ? 0 : -ENOTCONN;
}

static void close_socket(struct port_socket *head)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (socket->phase == TCP_LISTENING) {
        tcp_listener_close(socket);
        return;
    }
    if (socket->shaking != NULL)
        handshake_abandon(socket);
    bool unread = socket->queued > 0;
    tcp_drop_received(socket);
    struct tcp_pcb *pcb = socket->pcb;
    if (pcb == NULL)
        return;
    tcp_disown(socket);
    /* RFC 1122 4.2.2.13: unread bytes, or a linger of 0, end in a reset. */
    if (pcb->state >= SYN_RCVD && pcb->state != TIME_WAIT &&
        (unread || head->options.linger_s == 0)) {
        tcp_abort(pcb);
        return;
    }
    /* lwIP resets when its window isn't at rest; without unread bytes it should be. */
    pcb->rcv_wnd = TCP_WND_MAX(pcb);
    if (pcb->state >= SYN_RCVD && pcb->state != TIME_WAIT)
        tcp_orphan_add(pcb);
    if (tcp_close(pcb) != ERR_OK)
        tcp_abort(pcb);
    tcp_orphan_limit();
}

static int name_socket(struct port_socket *head, enum ps_name which, struct ps_address *out)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (which == PS_NAME_REMOTE) {
        if (!is_connected(socket) && socket->shaking == NULL)
            return -ENOTCONN;
        address_from_lwip(&socket->remote, socket->remote_port, head->family, out);
        return 0;
    }
    address_from_lwip(&socket->local, socket->local_port, head->family, out);
    return 0;
}

u32_t tcp_socket_ready(struct port_socket *head)
{
    const struct tcp_socket *socket = tcp_socket_of(head);
    u32_t mask = 0;
    if (head->error != 0)
        mask |= PS_READY_ERROR;
    if (head->errors.first != NULL)
        mask |= PS_READY_ERROR;
    switch (socket->phase) {
    case TCP_LISTENING:
        if (socket->waiting_first != NULL)
            mask |= PS_READY_READ;
        return mask;
    case TCP_CONNECTING:
        return mask;
    case TCP_FRESH:
        if (head->shut_read)
            mask |= PS_READY_READ | PS_READY_ENDED;
        return mask | PS_READY_WRITE | PS_READY_HANGUP | PS_READY_DRAINED;
    case TCP_OVER:
        return mask | PS_READY_READ | PS_READY_WRITE | PS_READY_HANGUP | PS_READY_ENDED |
               PS_READY_DRAINED;
    case TCP_CONNECTED:
        break;
    }
    if (tcp_urgent_is_unread(socket))
        mask |= PS_READY_URGENT;
    if (socket->queued >= head->options.receive_low_water)
        mask |= PS_READY_READ;
    if (socket->end_of_stream || head->shut_read || socket->pcb == NULL)
        mask |= PS_READY_READ | PS_READY_ENDED;
    if (socket->pcb == NULL || head->shut_write) {
        mask |= PS_READY_WRITE;
        if (mask & PS_READY_ENDED)
            mask |= PS_READY_HANGUP;
    } else if (tcp_is_writable(socket)) {
        mask |= PS_READY_WRITE;
    }
    if (socket->pcb == NULL || (socket->pcb->unsent == NULL && socket->pcb->unacked == NULL))
        mask |= PS_READY_DRAINED;
    return mask;
}

const struct socket_kind tcp_kind = {
    .size = sizeof(struct tcp_socket),
    .open = open_socket,
    .close = close_socket,
    .bind = bind_socket,
    .listen = tcp_socket_listen,
    .accept = tcp_socket_accept,
    .may_connect = may_connect,
    .connect = connect_socket,
    .send = tcp_socket_send,
    .receive = tcp_socket_receive,
    .shutdown = shutdown_socket,
    .name = name_socket,
    .ready = tcp_socket_ready,
    .option_get = tcp_option_get,
    .option_set = tcp_option_set,
    .option_changed = tcp_option_changed,
    .describe = tcp_socket_describe,
};

/* --- what comes from too far ---------------------------------------------------------------- */

/* --- news from below ---------------------------------------------------------------------- */

/* The connection that may have sent a segment of this number. An attacker guessing ports does not
 * know what is in flight: neither acknowledged data, nor data never sent (RFC 5927 4.1). */
static struct tcp_pcb *sender_of(const ip_addr_t *local, uint16_t local_port,
                                 const ip_addr_t *remote, uint16_t remote_port, uint32_t sequence)
{
    struct tcp_pcb *pcb = hook_tcp_lookup(local, local_port, remote, remote_port);
    if (pcb == NULL || pcb->state == TIME_WAIT || TCP_SEQ_LT(sequence, pcb->lastack) ||
        TCP_SEQ_GEQ(sequence, pcb->snd_nxt))
        return NULL;
    return pcb;
}

void tcp_icmp_error(const struct icmp_report *report)
{
    struct tcp_pcb *pcb = sender_of(&report->local, report->local_port, &report->remote,
                                    report->remote_port, report->sequence);
    struct tcp_socket *socket = pcb != NULL ? pcb->ext_args[OWNER].data : NULL;
    if (socket == NULL || report->error == EMSGSIZE)
        return;
    /* RFC 1122 4.2.3.9, RFC 5927: only a connection that isn't one yet gives up; any other goes on
     * retransmitting, for the path may heal. IP_RECVERR reports each (ip(7)). */
    bool wanted = errors_wanted(&socket->head, &report->remote);
    bool our_own = address_is_ours(ip_current_src_addr()); /* the next hop did not resolve */
    if (pcb->state == SYN_SENT && (report->hard || wanted || our_own)) {
        if (wanted || IP_IS_V4(&report->remote)) /* of IPv4 Linux queues this one unasked */
            errors_report(&socket->head, report, report->transport, report->remote_port);
        tcp_disown(socket);
        tcp_abandon(pcb, 0);
        tcp_socket_over(socket);
    } else if (!wanted) {
        socket->head.soft_error = report->error; /* SO_ERROR tells, and a timeout later on */
        return;
    }
    socket_fail(&socket->head, report->error);
}

bool tcp_may_have_sent(const ip_addr_t *local, uint16_t local_port, const ip_addr_t *remote,
                       uint16_t remote_port, uint32_t sequence)
{
    return sender_of(local, local_port, remote, remote_port, sequence) != NULL;
}
