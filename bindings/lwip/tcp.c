/*
 * TCP sockets: from open to close.
 *
 * lwIP frees a PCB on its own accord (a reset, a timeout, the end of TIME-WAIT). The
 * socket learns of every such end through the PCB's extension argument, so that its
 * pointer is never stale.
 */
#include "hooks.h"
#include "tcp_socket.h"

/* --- the bond between a socket and its PCB --------------------------------------------- */

static void on_freed(u8_t id, void *data)
{
    (void)id;
    if (data != NULL)
        ((struct tcp_socket *)data)->pcb = NULL;
}

const struct tcp_ext_arg_callbacks tcp_owner_callbacks = {.destroy = on_freed};

/* lwIP says that the connection has ended; it frees the PCB after this. */
static void on_error(void *argument, err_t error)
{
    struct tcp_socket *socket = argument;
    /* What Linux gives for a reset depends on the state. lwIP frees the PCB before it tells of any
     * other end. */
    int reset = socket->phase == TCP_CONNECTING                           ? ECONNREFUSED
                : socket->pcb != NULL && socket->pcb->state == CLOSE_WAIT ? EPIPE
                                                                          : ECONNRESET;
    socket->phase = TCP_OVER;
    /* A listener's table of waiting connections, and the reader, still need the rest. */
    if (error == ERR_RST)
        socket->head.error = reset;
    else if (error == ERR_ABRT && socket->head.error == 0)
        socket->head.error = socket->head.soft_error != 0 ? socket->head.soft_error : ETIMEDOUT;
    /* ERR_CLSD: both sides have closed in order. */
    socket->pcb = NULL;
    socket_event(&socket->head);
}

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

void tcp_callbacks(struct tcp_socket *socket)
{
    tcp_arg(socket->pcb, socket);
    tcp_err(socket->pcb, on_error);
    tcp_recv(socket->pcb, tcp_on_receive);
    tcp_sent(socket->pcb, tcp_on_sent);
}

void tcp_own(struct tcp_socket *socket, struct tcp_pcb *pcb)
{
    socket->pcb = pcb;
    tcp_ext_arg_set_callbacks(pcb, OWNER, &tcp_owner_callbacks);
    tcp_ext_arg_set(pcb, OWNER, socket);
}

void tcp_disown(struct tcp_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    tcp_ext_arg_set(pcb, OWNER, NULL);
    tcp_arg(pcb, NULL);
    if (pcb->state != LISTEN) {
        tcp_err(pcb, NULL);
        tcp_recv(pcb, NULL);
        tcp_sent(pcb, NULL);
    }
    socket->pcb = NULL;
}

int tcp_need_pcb(struct tcp_socket *socket)
{
    if (socket->pcb != NULL)
        return 0;
    struct tcp_pcb *pcb = tcp_new_ip_type(socket->head.family == PS_INET ? IPADDR_TYPE_V4
                                          : socket->head.v6only          ? IPADDR_TYPE_V6
                                                                         : IPADDR_TYPE_ANY);
    if (pcb == NULL)
        return -ENOBUFS;
    tcp_own(socket, pcb);
    tcp_callbacks(socket);
    tcp_apply_options(socket);
    return 0;
}

/* --- windows, asked by lwIP (lwipopts.h) ------------------------------------------------ */

static const struct tcp_socket *owner(const struct tcp_pcb *pcb)
{
    return pcb == NULL ? NULL : pcb->ext_args[OWNER].data;
}

uint32_t port_tcp_window(const struct tcp_pcb *pcb)
{
    const struct tcp_socket *socket = owner(pcb);
    return socket ? tcp_window_most(socket) : (uint32_t)tunables.tcp_receive_buffer;
}

uint32_t port_tcp_window_update_threshold(const struct tcp_pcb *pcb)
{
    /* What has come since is acknowledged anyway, and that tells of the window. A sender that waits
     * for room should hear of it soon: when what it may send has become twice as much. */
    uint32_t left = pcb->rcv_ann_right_edge - pcb->rcv_nxt;
    return LWIP_MIN(port_tcp_window(pcb) / 4, LWIP_MAX(left, 4U * pcb->mss));
}

/* --- what a user has set, asked by lwIP ----------------------------------------------------- */

uint16_t port_tcp_mss(const struct tcp_pcb *pcb, uint16_t mss)
{
    const struct tcp_socket *socket = owner(pcb);
    return socket == NULL || socket->largest_segment == 0 ? mss
                                                          : LWIP_MIN(mss, socket->largest_segment);
}

/* --- open, bind, connect ---------------------------------------------------------------- */

static int open_socket(struct port_socket *head)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (head->protocol != 0 && head->protocol != IP_PROTO_TCP)
        return -EPROTONOSUPPORT;
    head->protocol = IP_PROTO_TCP;
    head->send_buffer = (uint32_t)tunables.tcp_send_buffer;
    head->receive_buffer = (uint32_t)tunables.tcp_receive_buffer;
    socket->ttl = socket->hop_limit = -1;
    socket->keep_idle_ms = TCP_KEEPIDLE_DEFAULT;
    socket->keep_interval_ms = TCP_KEEPINTVL_DEFAULT;
    socket->keep_count = TCP_KEEPCNT_DEFAULT;
    ip_addr_set(&socket->local, head->family == PS_INET ? IP4_ADDR_ANY : IP6_ADDR_ANY);
    return tcp_need_pcb(socket);
}

/* An address that is on every link means nothing without one (RFC 4007). */
static bool lacks_link(const struct port_socket *head, const ip_addr_t *ip)
{
    return IP_IS_V6(ip) && ip6_addr_lacks_zone(ip_2_ip6(ip), IP6_UNKNOWN) &&
           head->bound_interface == 0;
}

/* Another link than the socket's, or one that leads only here. */
static int check_link(const struct port_socket *head, const ip_addr_t *ip)
{
    uint32_t zone =
        IP_IS_V6(ip) && ip6_addr_has_zone(ip_2_ip6(ip)) ? ip6_addr_zone(ip_2_ip6(ip)) : 0;
    if (lacks_link(head, ip) ||
        (zone != 0 && head->bound_interface != 0 && zone != head->bound_interface))
        return -EINVAL;
    uint32_t index = zone != 0 ? zone : head->bound_interface;
    struct netif *netif = index != 0 ? interface_by_index(index) : NULL;
    return netif != NULL && interface_of(netif) == NULL && !address_is_ours(ip) ? -ENETUNREACH : 0;
}

/* A connect that has told of its failure leaves the socket as it was before, as in Linux. */
static void forget_attempt(struct port_socket *head)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    socket->phase = TCP_FRESH;
    socket->end_of_stream = head->shut_read = head->shut_write = false;
    if (!socket->bound) {
        ip_addr_set(&socket->local, head->family == PS_INET ? IP4_ADDR_ANY : IP6_ADDR_ANY);
        socket->local_port = 0;
    }
}

static int bind_socket(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    bool foreign =
        !ip_addr_isany(ip) && !head->free_bind && !head->transparent && !address_is_ours(ip);
    if (foreign && head->family == PS_INET) /* the first that Linux looks at, for IPv4 */
        return -EADDRNOTAVAIL;
    if (socket->phase == TCP_OVER && !socket->bound)
        forget_attempt(head);
    if (socket->phase != TCP_FRESH || socket->bound)
        return -EINVAL;
    if (IP_IS_V6(ip) && (ip_addr_ismulticast(ip) || lacks_link(head, ip)))
        return -EINVAL;
    if (foreign)
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
    ip_addr_copy(socket->local, *ip);
    socket->local_port = socket->pcb->local_port;
    return 0;
}

static void discard_pcb(struct tcp_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    tcp_disown(socket);
    tcp_abandon(pcb, pcb->state != CLOSED && pcb->state != SYN_SENT);
}

static int connect_socket(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (socket->phase == TCP_CONNECTING)
        return -EALREADY;
    if (socket->phase == TCP_CONNECTED && !socket->connect_told) {
        socket->connect_told = true; /* as Linux says once that a connect in steps has ended */
        return 0;
    }
    if (socket->phase == TCP_CONNECTED || socket->phase == TCP_LISTENING ||
        (socket->phase == TCP_OVER && socket->connect_told))
        return -EISCONN;
    if (head->error != 0 || socket->phase == TCP_OVER) {
        int error = socket_take_error(head);
        if (socket->phase == TCP_OVER)
            forget_attempt(head);
        return error != 0 ? error : -ECONNABORTED; /* somebody else was told why */
    }
    if (ip == NULL) /* AF_UNSPEC: nothing to dissolve */
        return 0;
    ip_addr_t any, target;
    ip_addr_copy(any, *IP_ANY_TYPE);
    ip_addr_copy(target, *ip);
    const ip_addr_t *local = socket->bound ? &socket->local : &any;
    address_replace_unspecified(local, &target);
    if (ip_addr_ismulticast(&target) || address_is_broadcast(&target))
        return -ENETUNREACH;
    int result = address_may_reach(local, &target);
    if (result == 0)
        result = check_link(head, &target);
    if (result < 0)
        return result;
    bool renewed = socket->pcb == NULL;
    result = tcp_need_pcb(socket);
    if (result < 0)
        return result;
    if (renewed && socket->bound) {
        result = port_errno(tcp_bind(socket->pcb, &socket->local, socket->local_port));
        if (result < 0)
            return result;
    }
    if (socket->bound && head->free_bind && !head->transparent && IP_IS_V4(&socket->local) &&
        !ip_addr_isany(&socket->local) && !address_is_ours(&socket->local))
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

/* In TIME-WAIT there is nothing left to talk to. */
static bool is_connected(const struct tcp_socket *socket)
{
    return socket->phase == TCP_CONNECTED && socket->pcb != NULL && socket->pcb->state != TIME_WAIT;
}

/* Whoever waits in connect hears of a reset; the socket is as it was before. */
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
            socket->phase = TCP_FRESH;
            socket_event(head);
        }
        return 0;
    }
    if (socket->phase == TCP_CONNECTING) {
        abort_attempt(socket);
        return 0;
    }
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
    bool unread = socket->queued > 0;
    tcp_drop_received(socket);
    struct tcp_pcb *pcb = socket->pcb;
    if (pcb == NULL)
        return;
    tcp_disown(socket);
    /* RFC 1122 4.2.2.13: bytes that nobody read, or a linger of 0, end in a reset. */
    if (pcb->state >= SYN_RCVD && pcb->state != TIME_WAIT && (unread || head->linger_s == 0)) {
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
        if (!is_connected(socket))
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
    if (socket->queued >= head->receive_low_water)
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

bool hook_tcp_minds_hops;

bool hook_tcp_too_far(const struct tcp_pcb *pcb)
{
    const struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    return socket != NULL && tcp_comes_too_far(socket);
}

void hook_tcp_came(struct tcp_pcb *pcb, const struct pbuf *segment)
{
    pcb->timer.hold &= TCP_HOLD_CORK;
    tcp_figures_received(pcb, segment);
}

bool tcp_comes_too_far(const struct tcp_socket *socket)
{
    return ip_current_is_v6() ? IP6H_HOPLIM(ip6_current_header()) < socket->head.least_hops
                              : IPH_TTL(ip4_current_header()) < socket->head.least_ttl;
}

/* --- news from below ---------------------------------------------------------------------- */

/* The connection that may have sent a segment of this number. Who guesses at ports does not know what
 * is under way: what is acknowledged isn't, nor what was never sent (RFC 5927 4.1). */
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
     * retransmitting, for the path may heal. Who asked for errors hears of each (ip(7)). */
    bool wanted = errors_wanted(&socket->head, &report->remote);
    bool our_own =
        address_is_ours(ip_current_src_addr()); /* nobody has answered for the next hop */
    if (pcb->state == SYN_SENT && (report->hard || wanted || our_own)) {
        if (wanted || IP_IS_V4(&report->remote)) /* of IPv4 Linux queues this one unasked */
            errors_report(&socket->head, report, report->transport, report->remote_port);
        tcp_disown(socket);
        tcp_abandon(pcb, 0);
        socket->phase = TCP_OVER;
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
