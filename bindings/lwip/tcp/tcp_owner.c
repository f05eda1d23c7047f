/*
 * The bond between a TCP socket and its PCB, and what lwIP's PCB has of the socket's settings.
 *
 * lwIP frees a PCB on its own accord (a reset, a timeout, the end of TIME-WAIT). The
 * socket learns of every such end through the PCB's extension argument, so that its
 * pointer is never stale.
 */
#include "base/hooks.h"
#include "base/tunables.h"
#include "tcp/tcp_socket.h"

static void on_freed(u8_t id, void *data)
{
    (void)id;
    if (data != NULL)
        ((struct tcp_socket *)data)->pcb = NULL;
}

static const struct tcp_ext_arg_callbacks owner_callbacks = {.destroy = on_freed};

void tcp_own(struct tcp_socket *socket, struct tcp_pcb *pcb)
{
    socket->pcb = pcb;
    tcp_ext_arg_set_callbacks(pcb, OWNER, &owner_callbacks);
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
    /* Data received since is acknowledged anyway, which updates the window. A sender that waits for
     * room should learn of it soon: once it may send twice as much. */
    uint32_t left = pcb->rcv_ann_right_edge - pcb->rcv_nxt;
    return LWIP_MIN(port_tcp_window(pcb) / 4, LWIP_MAX(left, 4U * pcb->mss));
}

/* --- what a user has set ------------------------------------------------------------------ */

uint16_t port_tcp_mss(const struct tcp_pcb *pcb, uint16_t mss)
{
    const struct tcp_socket *socket = owner(pcb);
    return socket == NULL || socket->options.largest_segment == 0
               ? mss
               : LWIP_MIN(mss, socket->options.largest_segment);
}

u8_t tcp_ttl(const struct tcp_socket *socket, bool is_v6)
{
    int64_t initial = is_v6 ? tunables.ip6_hop_limit : tunables.ip_ttl;
    s16_t set = is_v6 ? socket->options.hop_limit : socket->options.ttl;
    return (u8_t)(set < 0 ? initial : set);
}

u8_t tcp_tos(const struct tcp_socket *socket, bool is_v6)
{
    return is_v6 ? socket->options.traffic_class : socket->options.tos;
}

/* --- what comes from too far ---------------------------------------------------------------- */

bool hook_tcp_too_far(const struct tcp_pcb *pcb)
{
    const struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    return socket != NULL && tcp_comes_too_far(socket);
}

bool tcp_comes_too_far(const struct tcp_socket *socket)
{
    return ip_current_is_v6() ? IP6H_HOPLIM(ip6_current_header()) < socket->head.options.least_hops
                              : IPH_TTL(ip4_current_header()) < socket->head.options.least_ttl;
}

/* --- what is on its way, and what there is room for ------------------------------------------- */

u32_t tcp_unacknowledged(const struct tcp_socket *socket)
{
    return socket->pcb != NULL && socket->phase == TCP_CONNECTED
               ? socket->send_limit - socket->pcb->snd_buf
               : 0;
}

u32_t tcp_not_sent(const struct tcp_socket *socket)
{
    return socket->pcb != NULL && socket->phase == TCP_CONNECTED && socket->pcb->unsent != NULL
               ? socket->pcb->snd_lbb - socket->pcb->snd_nxt
               : 0;
}

u32_t tcp_send_room(const struct tcp_socket *socket)
{
    u32_t waiting = tcp_unacknowledged(socket);
    if (socket->options.not_sent_low_water != 0 &&
        tcp_not_sent(socket) >= socket->options.not_sent_low_water)
        return 0;
    if (waiting >= socket->head.options.send_buffer ||
        socket->pcb->snd_queuelen >= TCP_SND_QUEUELEN)
        return 0;
    return socket->head.options.send_buffer - waiting;
}

bool tcp_is_writable(const struct tcp_socket *socket)
{
    /* As in Linux, it has to be worth waking up for. */
    u32_t most = socket->options.not_sent_low_water;
    return tcp_send_room(socket) > socket->head.options.send_buffer / 3 &&
           (most == 0 || 2ULL * tcp_not_sent(socket) < most);
}
