/*
 * TCP listeners: the backlog, and connections that wait for accept().
 *
 * A connection that shakes hands has neither socket nor PCB (tcp_handshake.c). With the handshake's
 * last ACK it gets both.
 */
#include <errno.h>

#include "base/errors.h"
#include "base/tunables.h"
#include "link/address.h"
#include "tcp/tcp_handshake.h"

static void inherit(struct tcp_socket *child, const struct tcp_socket *listener)
{
    child->head.options = listener->head.options;
    child->options = listener->options;
    child->head.discovery = listener->head.discovery;
    child->tuning.send_is_fixed = listener->tuning.send_is_fixed;
    child->tuning.receive_is_fixed = listener->tuning.receive_is_fixed;
    child->head.errors.on4 = listener->head.errors.on4;
    child->head.errors.on6 = listener->head.errors.on6;
}

void tcp_socket_connected(struct tcp_socket *socket, struct tcp_pcb *pcb)
{
    tcp_own(socket, pcb);
    tcp_callbacks(socket);
    ip_addr_copy(socket->remote, pcb->remote_ip);
    tcp_apply_options(socket);
    socket->phase = TCP_CONNECTED;
    socket->connect_told = true;
    socket->send_limit = pcb->snd_buf;
    ip_addr_copy(socket->local, pcb->local_ip);
    socket->local_port = pcb->local_port;
    socket->remote_port = pcb->remote_port;
}

/* The handshake is done. */
static err_t on_accept(void *argument, struct tcp_pcb *pcb, err_t error)
{
    struct tcp_socket *listener = argument;
    if (error != ERR_OK || listener == NULL || pcb == NULL)
        return ERR_VAL;
    struct tcp_socket *child = tcp_socket_of(socket_create(
        listener->head.kind, sizeof *child, listener->head.family, PS_STREAM, IP_PROTO_TCP));
    if (child == NULL)
        return ERR_MEM; /* lwIP resets the connection: the client sees that it failed */
    inherit(child, listener);
    tcp_socket_connected(child, pcb);
    if (listener->waiting_last != NULL)
        listener->waiting_last->waiting_next = child;
    else
        listener->waiting_first = child;
    listener->waiting_last = child;
    listener->waiting++;
    socket_news(&listener->head);
    return ERR_OK;
}

int tcp_socket_listen(struct port_socket *head, int backlog)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    /* Linux lets one more wait than it is told, and at least one. */
    int64_t most = tunables.tcp_max_backlog;
    socket->backlog = (u32_t)(1 + (backlog < 0 || backlog > most ? most : backlog));
    if (socket->phase == TCP_LISTENING)
        return 0;
    if (socket->phase != TCP_FRESH || socket->is_spent)
        return -EINVAL;
    int result = tcp_need_pcb(socket);
    if (result < 0)
        return result;
    if (!socket->bound) {
        if (head->family == PS_INET6 && !head->options.v6only)
            ip_addr_copy(socket->pcb->local_ip, *IP_ANY_TYPE);
        result = tcp_bind_ephemeral(socket->pcb);
        if (result < 0)
            return result;
        socket->local_port = socket->pcb->local_port;
    } else if (tcp_port_is_taken(socket, &socket->pcb->local_ip, socket->local_port)) {
        return -EADDRINUSE;
    }
    err_t error;
    struct tcp_pcb *bound = socket->pcb;
    ip_reset_option(bound, SOF_REUSEADDR); /* with it lwIP looks for itself, and allows one */
    /* Frees the old PCB, which clears socket->pcb. */
    struct tcp_pcb *pcb =
        tcp_listen_with_backlog_and_err(bound, TCP_DEFAULT_LISTEN_BACKLOG, &error);
    if (pcb != NULL)
        socket->pcb = pcb;
    tcp_apply_options(socket);
    if (pcb == NULL)
        return port_errno(error);
    tcp_ext_arg_set(pcb, OWNER, socket);
    tcp_arg(pcb, socket);
    tcp_accept(pcb, on_accept);
    socket->phase = TCP_LISTENING;
    return 0;
}

int64_t tcp_socket_accept(struct port_socket *head, struct ps_address *remote)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (socket->phase != TCP_LISTENING)
        return -EINVAL;
    struct tcp_socket *child = socket->waiting_first;
    if (child == NULL)
        return -EAGAIN;
    socket->waiting_first = child->waiting_next;
    if (socket->waiting_first == NULL)
        socket->waiting_last = NULL;
    socket->waiting--;
    child->waiting_next = NULL;
    address_from_lwip(&child->remote, child->remote_port, head->family, remote);
    return child->head.handle;
}

void tcp_listener_close(struct tcp_socket *socket)
{
    /* Connections not accepted yet are reset, as on Linux. */
    while (socket->waiting_first != NULL) {
        struct tcp_socket *child = socket->waiting_first;
        socket->waiting_first = child->waiting_next;
        child->head.options.linger_s = 0;
        child->head.kind->close(&child->head);
        socket_discard(&child->head);
    }
    socket->waiting_last = NULL;
    socket->waiting = 0;
    handshake_reset_all(socket);
    struct tcp_pcb *pcb = socket->pcb;
    tcp_disown(socket);
    tcp_close(pcb);
}
