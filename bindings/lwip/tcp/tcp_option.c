/*
 * TCP sockets: options.
 */
#include <errno.h>

#include "base/tunables.h"
#include "link/interface.h"
#include "sockets/option_field.h"
#include "tcp/tcp_path.h"
#include "tcp/tcp_socket.h"

static bool connected(const struct tcp_socket *socket)
{
    return socket->pcb != NULL && socket->phase != TCP_LISTENING;
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
    pcb->netif_idx = interface_bound_index(head->options.bound_interface);
    if (head->options.reuse_address ||
        head->options.reuse_port) /* tcp_port_is_taken() tells them apart */
        ip_set_option(pcb, SOF_REUSEADDR);
    else
        ip_reset_option(pcb, SOF_REUSEADDR);
    if (socket->options.keep_alive)
        ip_set_option(pcb, SOF_KEEPALIVE);
    else
        ip_reset_option(pcb, SOF_KEEPALIVE);
    if (pcb->state == LISTEN)
        return; /* a listening PCB ends here; children inherit the rest from the socket */
    pcb->keep_idle = socket->options.keep_idle_ms;
    pcb->keep_intvl = socket->options.keep_interval_ms;
    pcb->keep_cnt = socket->options.keep_count;
    pcb->timer.user_timeout_ms = socket->options.user_timeout_ms;
    pcb->timer.linger2_s = socket->options.linger2_s;
    pcb->timer.watches_unsent = socket->options.not_sent_low_water != 0;
    tcp_timer_touch(pcb);
    if (socket->options.no_delay)
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
        bool is_free = socket->phase == TCP_FRESH || socket->phase == TCP_OVER;
        if (socket->bound || !is_free)
            return -EINVAL;
        if (socket->pcb != NULL) {
            IP_SET_TYPE_VAL(socket->pcb->local_ip,
                            head->options.v6only ? IPADDR_TYPE_V6 : IPADDR_TYPE_ANY);
            IP_SET_TYPE_VAL(socket->pcb->remote_ip,
                            head->options.v6only ? IPADDR_TYPE_V6 : IPADDR_TYPE_ANY);
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

/* TCP_DEFER_ACCEPT: seconds as timeouts of a SYN-ACK, each twice the last, and back (Linux). */
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

#define FLAG(option, field) OPTION_FLAG(option, struct tcp_socket, options.field)
#define NUMBER(option, field, least, most) \
    OPTION_NUMBER(option, struct tcp_socket, options.field, least, most)

/* Those that are a field and no more, but for what tcp_apply_options() makes of them. */
static const struct option_field fields[] = {
    FLAG(PS_OPT_KEEPALIVE, keep_alive),
    FLAG(PS_OPT_TCP_NODELAY, no_delay),
    FLAG(PS_OPT_TCP_CORK, cork),
    NUMBER(PS_OPT_TCP_KEEPCNT, keep_count, 1, 127),
    NUMBER(PS_OPT_TCP_SYNCNT, syn_retries, 1, 127),
    NUMBER(PS_OPT_TCP_USER_TIMEOUT, user_timeout_ms, 0, UINT32_MAX),
    NUMBER(PS_OPT_TCP_NOTSENT_LOWAT, not_sent_low_water, INT32_MIN, UINT32_MAX),
    NUMBER(PS_OPT_IPV6_UNICAST_HOPS, hop_limit, -1, UINT8_MAX),
    {0},
};

int tcp_option_get(struct port_socket *head, enum ps_option option, int64_t *value)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    switch (option) {
    case PS_OPT_LISTENING:
        *value = socket->phase == TCP_LISTENING;
        return 0;
    case PS_OPT_TCP_QUICKACK:
        *value = !socket->options.slow_acks;
        return 0;
    case PS_OPT_TCP_MAXSEG:
        if (connected(socket) && socket->pcb->state != CLOSED)
            hook_tcp_path(socket->pcb, tcp_path_route(socket->pcb));
        *value = connected(socket) && socket->pcb->state != CLOSED ? tcp_mss(socket->pcb)
                 : socket->options.largest_segment != 0            ? socket->options.largest_segment
                                                                   : 536;
        return 0;
    case PS_OPT_TCP_KEEPIDLE:
        *value = socket->options.keep_idle_ms / 1000;
        return 0;
    case PS_OPT_TCP_KEEPINTVL:
        *value = socket->options.keep_interval_ms / 1000;
        return 0;
    case PS_OPT_TCP_SYNCNT:
        *value = socket->options.syn_retries != 0 ? socket->options.syn_retries
                                                  : tunables.tcp_syn_retries;
        return 0;
    case PS_OPT_TCP_LINGER2:
        *value = socket->options.linger2_s != 0 ? socket->options.linger2_s
                                                : (int64_t)TCP_FIN_WAIT_TIMEOUT / 1000;
        return 0;
    case PS_OPT_TCP_DEFER_ACCEPT:
        *value = timeouts_in_seconds(socket->defer_retries);
        return 0;
    case PS_OPT_TCP_WINDOW_CLAMP:
        *value =
            socket->options.window_clamp == 0 && connected(socket) && socket->pcb->state != CLOSED
                ? socket->head.options.receive_buffer
                : socket->options.window_clamp;
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
        return socket_path_mtu(head, socket->phase == TCP_CONNECTED ? &socket->remote : NULL,
                               &socket->local, value);
    case PS_OPT_BYTES_QUEUED:
        *value = (int64_t)socket->queued;
        return socket->phase == TCP_LISTENING ? -EINVAL : 0;
    case PS_OPT_BYTES_UNSENT:
        *value = tcp_unacknowledged(socket);
        return socket->phase == TCP_LISTENING ? -EINVAL : 0;
    default:
        return option_field_get(fields, socket, option, value);
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
    case PS_OPT_TCP_QUICKACK:
        socket->options.slow_acks = value == 0;
        if (value != 0 && connected(socket) && socket->phase == TCP_CONNECTED)
            tcp_ack_now(socket->pcb);
        break;
    case PS_OPT_TCP_LINGER2:
        socket->options.linger2_s = value < 0 ? -1 : (s32_t)LWIP_MIN(value, LONGEST_LINGER2_S);
        break;
    case PS_OPT_TCP_DEFER_ACCEPT:
        socket->defer_retries = seconds_in_timeouts(value);
        return 0;
    case PS_OPT_TCP_WINDOW_CLAMP:
        if (value == 0 && socket->phase != TCP_FRESH)
            return -EINVAL;
        socket->options.window_clamp =
            value == 0 ? 0 : LWIP_MAX((u32_t)LWIP_MAX(value, 0), LEAST_CLAMP);
        if (socket->phase == TCP_CONNECTED && connected(socket))
            tcp_open_window(socket);
        break;
    case PS_OPT_TCP_FASTOPEN:
        if (value < 0 || (socket->phase != TCP_FRESH && socket->phase != TCP_LISTENING))
            return -EINVAL;
        socket->fast_open = (u32_t)LWIP_MIN(value, tunables.tcp_max_backlog);
        return 0;
    case PS_OPT_TCP_KEEPIDLE:
        result = seconds(value, 32767, &socket->options.keep_idle_ms);
        break;
    case PS_OPT_TCP_KEEPINTVL:
        result = seconds(value, 32767, &socket->options.keep_interval_ms);
        break;
    case PS_OPT_TCP_MAXSEG: /* for connections to come; 0 takes it back; Linux's bounds */
        if (value != 0 && (value < 88 || value > 32767))
            return -EINVAL;
        socket->options.largest_segment = (u16_t)value;
        break;
    case PS_OPT_IP_TTL:
        if (value != -1 && (value < 1 || value > UINT8_MAX))
            return -EINVAL;
        socket->options.ttl = (s16_t)value;
        break;
    case PS_OPT_IP_TOS: /* Linux keeps the low byte; ECN's bits are TCP's own */
        socket->options.tos = (u8_t)value & TOS_WITHOUT_ECN;
        break;
    case PS_OPT_IPV6_TCLASS:
        if (value < -1 || value > UINT8_MAX)
            return -EINVAL;
        socket->options.traffic_class = value < 0 ? 0 : (u8_t)value & TOS_WITHOUT_ECN;
        break;
    default:
        result = option_field_set(fields, socket, option, value);
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
        socket->pcb->timer.hold = socket->options.cork ? TCP_HOLD_CORK : 0;
    if (option == PS_OPT_TCP_NODELAY && socket->options.no_delay)
        tcp_timer_release(socket->pcb);
    else
        tcp_output(socket->pcb);
    return 0;
}
