/*
 * TCP connections as netstat shows them: sockets, and what no socket holds.
 */
#include "link/address.h"
#include "tcp/tcp_handshake.h"

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
    out->state = socket->pcb != NULL       ? tcp_state_number(socket->pcb->state)
                 : socket->shaking != NULL ? PS_TCP_SYN_RECEIVED
                                           : PS_TCP_CLOSED;
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
