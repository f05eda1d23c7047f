/*
 * TCP sockets: options, and the row in netstat.
 */
#include "tcp_handshake.h"

static bool connected(const struct tcp_socket *socket)
{
    return socket->pcb != NULL && socket->phase != TCP_LISTENING;
}

u8_t tcp_ttl(const struct tcp_socket *socket, bool is_v6)
{
    int64_t initial = is_v6 ? tunables.ip6_hop_limit : tunables.ip_ttl;
    s16_t set = is_v6 ? socket->hop_limit : socket->ttl;
    return (u8_t)(set < 0 ? initial : set);
}

u8_t tcp_tos(const struct tcp_socket *socket, bool is_v6)
{
    return is_v6 ? socket->traffic_class : socket->tos;
}

/* What it speaks; an IPv6 socket may be connected to an address of IPv4. */
static bool is_version6(const struct tcp_socket *socket)
{
    return socket->pcb->state == CLOSED || socket->pcb->state == LISTEN
               ? socket->head.family == PS_INET6
               : IP_IS_V6_VAL(socket->pcb->remote_ip);
}

/* The settings as lwIP's PCB has them. */
void tcp_apply_options(struct tcp_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    const struct port_socket *head = &socket->head;
    bool is_v6 = is_version6(socket);
    pcb->ttl = tcp_ttl(socket, is_v6);
    pcb->tos = tcp_tos(socket, is_v6);
    pcb->netif_idx = (u8_t)head->bound_interface;
    if (head->reuse_address || head->reuse_port) /* tcp_port_is_taken() tells them apart */
        ip_set_option(pcb, SOF_REUSEADDR);
    else
        ip_reset_option(pcb, SOF_REUSEADDR);
    if (socket->keep_alive)
        ip_set_option(pcb, SOF_KEEPALIVE);
    else
        ip_reset_option(pcb, SOF_KEEPALIVE);
    if (pcb->state == LISTEN)
        return; /* a listening PCB ends here; children inherit the rest from the socket */
    pcb->keep_idle = socket->keep_idle_ms;
    pcb->keep_intvl = socket->keep_interval_ms;
    pcb->keep_cnt = socket->keep_count;
    pcb->timer.user_timeout_ms = socket->user_timeout_ms;
    pcb->timer.linger2_s = socket->linger2_s;
    pcb->timer.watches_unsent = socket->not_sent_low_water != 0;
    tcp_timer_touch(pcb);
    if (socket->no_delay)
        tcp_nagle_disable(pcb);
    else
        tcp_nagle_enable(pcb);
    if (pcb->state == CLOSED) {
        /* Before the handshake the window is all of the buffer that 16 bits can say. */
        pcb->rcv_wnd = pcb->rcv_ann_wnd = TCPWND_MIN16(tcp_window_most(socket));
    }
}

int tcp_option_changed(struct port_socket *head, enum ps_option option)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (option == PS_OPT_IPV6_V6ONLY) {
        if (socket->bound || socket->phase != TCP_FRESH)
            return -EINVAL;
        if (socket->pcb != NULL) {
            IP_SET_TYPE_VAL(socket->pcb->local_ip, head->v6only ? IPADDR_TYPE_V6 : IPADDR_TYPE_ANY);
            IP_SET_TYPE_VAL(socket->pcb->remote_ip,
                            head->v6only ? IPADDR_TYPE_V6 : IPADDR_TYPE_ANY);
        }
        return 0;
    }
    if (option == PS_OPT_RCVBUF)
        socket->tuning.receive_is_fixed = true;
    if (option == PS_OPT_SNDBUF)
        socket->tuning.send_is_fixed = true;
    if (socket->pcb == NULL)
        return 0;
    if (option == PS_OPT_RCVBUF && connected(socket) && socket->pcb->state != CLOSED) {
        tcp_open_window(socket);
        return 0;
    }
    tcp_apply_options(socket);
    if (option == PS_OPT_SNDBUF)
        socket_event(head);
    return 0;
}

/* TCP_DEFER_ACCEPT: seconds as timeouts of a SYN-ACK, each twice the one before, and back (Linux). */
#define FIRST_TIMEOUT_S 1
#define LONGEST_TIMEOUT_S (TCP_RTO_MAX_MS / 1000)

static u8_t seconds_in_timeouts(int64_t seconds)
{
    int64_t timeout = FIRST_TIMEOUT_S, period = timeout;
    u8_t count = seconds > 0 ? 1 : 0;
    while (seconds > period && count < UINT8_MAX) {
        count++;
        timeout = LWIP_MIN(2 * timeout, LONGEST_TIMEOUT_S);
        period += timeout;
    }
    return count;
}

static int64_t timeouts_in_seconds(u8_t count)
{
    int64_t timeout = FIRST_TIMEOUT_S, period = count > 0 ? timeout : 0;
    while (count > 1) {
        count--;
        timeout = LWIP_MIN(2 * timeout, LONGEST_TIMEOUT_S);
        period += timeout;
    }
    return period;
}

int tcp_option_get(struct port_socket *head, enum ps_option option, int64_t *value)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    switch (option) {
    case PS_OPT_LISTENING:
        *value = socket->phase == TCP_LISTENING;
        return 0;
    case PS_OPT_KEEPALIVE:
        *value = socket->keep_alive;
        return 0;
    case PS_OPT_TCP_NODELAY:
        *value = socket->no_delay;
        return 0;
    case PS_OPT_TCP_CORK:
        *value = socket->cork;
        return 0;
    case PS_OPT_TCP_QUICKACK:
        *value = !socket->slow_acks;
        return 0;
    case PS_OPT_TCP_MAXSEG:
        if (connected(socket) && socket->pcb->state != CLOSED)
            hook_tcp_path(socket->pcb, tcp_path_route(socket->pcb));
        *value = connected(socket) && socket->pcb->state != CLOSED ? tcp_mss(socket->pcb)
                 : socket->largest_segment != 0                    ? socket->largest_segment
                                                                   : 536;
        return 0;
    case PS_OPT_TCP_USER_TIMEOUT:
        *value = socket->user_timeout_ms;
        return 0;
    case PS_OPT_TCP_KEEPIDLE:
        *value = socket->keep_idle_ms / 1000;
        return 0;
    case PS_OPT_TCP_KEEPINTVL:
        *value = socket->keep_interval_ms / 1000;
        return 0;
    case PS_OPT_TCP_KEEPCNT:
        *value = socket->keep_count;
        return 0;
    case PS_OPT_TCP_SYNCNT:
        *value = socket->syn_retries != 0 ? socket->syn_retries : tunables.tcp_syn_retries;
        return 0;
    case PS_OPT_TCP_LINGER2:
        *value = socket->linger2_s != 0 ? socket->linger2_s : (int64_t)TCP_FIN_WAIT_TIMEOUT / 1000;
        return 0;
    case PS_OPT_TCP_DEFER_ACCEPT:
        *value = timeouts_in_seconds(socket->defer_retries);
        return 0;
    case PS_OPT_TCP_NOTSENT_LOWAT:
        *value = (int32_t)socket->not_sent_low_water;
        return 0;
    case PS_OPT_TCP_WINDOW_CLAMP:
        *value = socket->window_clamp == 0 && connected(socket) && socket->pcb->state != CLOSED
                     ? socket->head.receive_buffer
                     : socket->window_clamp;
        return 0;
    case PS_OPT_TCP_FASTOPEN:
        *value = socket->fast_open;
        return 0;
    case PS_OPT_BYTES_NOT_SENT:
        *value = tcp_not_sent(socket);
        return socket->phase == TCP_LISTENING ? -EINVAL : 0;
    case PS_OPT_AT_MARK:
        *value = tcp_urgent_is_next(socket);
        return 0;
    case PS_OPT_IP_TTL:
    case PS_OPT_IPV6_UNICAST_HOPS:
        *value = tcp_ttl(socket, option == PS_OPT_IPV6_UNICAST_HOPS);
        return 0;
    case PS_OPT_IP_TOS:
    case PS_OPT_IPV6_TCLASS:
        *value = tcp_tos(socket, option == PS_OPT_IPV6_TCLASS);
        return 0;
    case PS_OPT_IP_MTU:
    case PS_OPT_IPV6_MTU:
        return path_mtu_get(head, socket->phase == TCP_CONNECTED ? &socket->remote : NULL,
                            &socket->local, value);
    case PS_OPT_BYTES_QUEUED:
        *value = (int64_t)socket->queued;
        return socket->phase == TCP_LISTENING ? -EINVAL : 0;
    case PS_OPT_BYTES_UNSENT:
        *value = tcp_unacknowledged(socket);
        return socket->phase == TCP_LISTENING ? -EINVAL : 0;
    default:
        return -ENOPROTOOPT;
    }
}

#define TOS_WITHOUT_ECN 0xfcu
#define LONGEST_LINGER2_S 120
#define LEAST_CLAMP 1152U /* half of Linux's least receive buffer */

/* Linux bounds these to what its 16-bit jiffies of seconds can say. */
static int seconds(int64_t value, int64_t most, u32_t *milliseconds)
{
    if (value < 1 || value > most)
        return -EINVAL;
    *milliseconds = (u32_t)value * 1000;
    return 0;
}

int tcp_option_set(struct port_socket *head, enum ps_option option, int64_t value)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    int result = 0;
    switch (option) {
    case PS_OPT_KEEPALIVE:
        socket->keep_alive = value != 0;
        break;
    case PS_OPT_TCP_NODELAY:
        socket->no_delay = value != 0;
        break;
    case PS_OPT_TCP_CORK:
        socket->cork = value != 0;
        break;
    case PS_OPT_TCP_QUICKACK:
        socket->slow_acks = value == 0;
        if (value != 0 && connected(socket) && socket->phase == TCP_CONNECTED)
            tcp_ack_now(socket->pcb);
        break;
    case PS_OPT_TCP_SYNCNT:
        if (value < 1 || value > 127)
            return -EINVAL;
        socket->syn_retries = (u8_t)value;
        break;
    case PS_OPT_TCP_LINGER2:
        socket->linger2_s = value < 0 ? -1 : (s32_t)LWIP_MIN(value, LONGEST_LINGER2_S);
        break;
    case PS_OPT_TCP_DEFER_ACCEPT:
        socket->defer_retries = seconds_in_timeouts(value);
        return 0;
    case PS_OPT_TCP_NOTSENT_LOWAT:
        socket->not_sent_low_water = (u32_t)value;
        break;
    case PS_OPT_TCP_WINDOW_CLAMP:
        if (value == 0 && socket->phase != TCP_FRESH)
            return -EINVAL;
        socket->window_clamp = value == 0 ? 0 : LWIP_MAX((u32_t)LWIP_MAX(value, 0), LEAST_CLAMP);
        if (socket->phase == TCP_CONNECTED && connected(socket))
            tcp_open_window(socket);
        break;
    case PS_OPT_TCP_FASTOPEN:
        if (value < 0 || (socket->phase != TCP_FRESH && socket->phase != TCP_LISTENING))
            return -EINVAL;
        socket->fast_open = (u32_t)LWIP_MIN(value, tunables.tcp_max_backlog);
        return 0;
    case PS_OPT_TCP_KEEPIDLE:
        result = seconds(value, 32767, &socket->keep_idle_ms);
        break;
    case PS_OPT_TCP_KEEPINTVL:
        result = seconds(value, 32767, &socket->keep_interval_ms);
        break;
    case PS_OPT_TCP_KEEPCNT:
        if (value < 1 || value > 127)
            return -EINVAL;
        socket->keep_count = (u32_t)value;
        break;
    case PS_OPT_TCP_USER_TIMEOUT:
        if (value < 0)
            return -EINVAL;
        socket->user_timeout_ms = (u32_t)value;
        break;
    case PS_OPT_TCP_MAXSEG: /* for connections to come; 0 takes it back; Linux's bounds */
        if (value != 0 && (value < 88 || value > 32767))
            return -EINVAL;
        socket->largest_segment = (u16_t)value;
        break;
    case PS_OPT_IP_TTL:
        if (value != -1 && (value < 1 || value > UINT8_MAX))
            return -EINVAL;
        socket->ttl = (s16_t)value;
        break;
    case PS_OPT_IPV6_UNICAST_HOPS:
        if (value < -1 || value > UINT8_MAX)
            return -EINVAL;
        socket->hop_limit = (s16_t)value;
        break;
    case PS_OPT_IP_TOS: /* Linux keeps the low byte; ECN's bits are TCP's own */
        socket->tos = (u8_t)value & TOS_WITHOUT_ECN;
        break;
    case PS_OPT_IPV6_TCLASS:
        if (value < -1 || value > UINT8_MAX)
            return -EINVAL;
        socket->traffic_class = value < 0 ? 0 : (u8_t)value & TOS_WITHOUT_ECN;
        break;
    default:
        return -ENOPROTOOPT;
    }
    if (result < 0 || socket->pcb == NULL)
        return result;
    tcp_apply_options(socket);
    if (socket->phase != TCP_CONNECTED)
        return 0;
    /* What Nagle or a cork held back may go now. */
    if (option == PS_OPT_TCP_NOTSENT_LOWAT)
        socket_event(head);
    if (option == PS_OPT_TCP_CORK)
        socket->pcb->timer.hold = socket->cork ? TCP_HOLD_CORK : 0;
    if (option == PS_OPT_TCP_NODELAY && socket->no_delay)
        tcp_timer_release(socket->pcb);
    else
        tcp_output(socket->pcb);
    return 0;
}

/* --- what it looks like from outside --------------------------------------------------------- */

u8_t tcp_state_number(enum tcp_state state)
{
    static const u8_t numbers[] = {
        [CLOSED] = PS_TCP_CLOSED,           [LISTEN] = PS_TCP_LISTEN,
        [SYN_SENT] = PS_TCP_SYN_SENT,       [SYN_RCVD] = PS_TCP_SYN_RECEIVED,
        [ESTABLISHED] = PS_TCP_ESTABLISHED, [FIN_WAIT_1] = PS_TCP_FIN_WAIT_1,
        [FIN_WAIT_2] = PS_TCP_FIN_WAIT_2,   [CLOSE_WAIT] = PS_TCP_CLOSE_WAIT,
        [CLOSING] = PS_TCP_CLOSING,         [LAST_ACK] = PS_TCP_LAST_ACK,
        [TIME_WAIT] = PS_TCP_TIME_WAIT,
    };
    return numbers[state];
}

void tcp_socket_describe(struct port_socket *head, struct ps_connection *out)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    address_from_lwip(&socket->local, socket->local_port, head->family, &out->local);
    if (socket->phase == TCP_FRESH || socket->phase == TCP_LISTENING)
        address_from_lwip(IP_ANY_TYPE, 0, head->family, &out->remote);
    else
        address_from_lwip(&socket->remote, socket->remote_port, head->family, &out->remote);
    out->state = socket->pcb != NULL ? tcp_state_number(socket->pcb->state) : PS_TCP_CLOSED;
    if (socket->phase == TCP_LISTENING) {
        out->receive_queue = socket->waiting;
        out->send_queue = socket->backlog - 1;
    } else {
        out->receive_queue = (uint32_t)socket->queued;
        out->send_queue = tcp_unacknowledged(socket);
    }
}

/* Whether a socket of the user's shows this PCB in the listing already. */
static bool has_socket(const struct tcp_pcb *pcb)
{
    const struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    return socket != NULL && socket->pcb == pcb;
}

int tcp_orphan_at(size_t position, struct ps_connection *out)
{
    /* A listing asks for 0, 1, 2 ... under one hold of the lock: go on from the last one. */
    static size_t next_position;
    static struct tcp_pcb *next_pcb;
    static bool in_time_wait;
    if (position == 0 || position != next_position) {
        next_position = 0;
        next_pcb = tcp_active_pcbs;
        in_time_wait = false;
    }
    for (;;) {
        if (next_pcb == NULL) {
            if (in_time_wait)
                return handshake_at(position - next_position, out);
            in_time_wait = true;
            next_pcb = tcp_tw_pcbs;
            continue;
        }
        struct tcp_pcb *pcb = next_pcb;
        next_pcb = pcb->next;
        if (has_socket(pcb) || next_position++ < position)
            continue;
        enum ps_family family = IP_IS_V6_VAL(pcb->local_ip) ? PS_INET6 : PS_INET;
        memset(out, 0, sizeof *out);
        out->handle = -1;
        out->protocol = IP_PROTO_TCP;
        out->type = PS_STREAM;
        out->state = tcp_state_number(pcb->state);
        address_from_lwip(&pcb->local_ip, pcb->local_port, family, &out->local);
        address_from_lwip(&pcb->remote_ip, pcb->remote_port, family, &out->remote);
        out->send_queue = TCP_SND_BUF - pcb->snd_buf;
        return 1;
    }
}
