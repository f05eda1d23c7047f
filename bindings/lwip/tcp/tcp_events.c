/*
 * What lwIP tells a TCP socket of its connection, from the PCB's first day on.
 */
#include <errno.h>

#include "tcp/tcp_socket.h"

void tcp_socket_over(struct tcp_socket *socket)
{
    socket->phase = TCP_OVER;
    socket->bound &= socket->port_is_bound; /* a port of chance goes to others */
}

/* lwIP says that the connection has ended; it frees the PCB after this. */
static void on_error(void *argument, err_t error)
{
    struct tcp_socket *socket = argument;
    /* What Linux gives for a reset depends on the state. lwIP frees the PCB before it tells of any
     * other end. */
    int reset = socket->phase == TCP_CONNECTING                           ? ECONNREFUSED
                : socket->pcb != NULL && socket->pcb->state == CLOSE_WAIT ? EPIPE
                                                                          : ECONNRESET;
    tcp_socket_over(socket);
    /* A listener's table of waiting connections, and the reader, still need the rest. */
    if (error == ERR_RST)
        socket->head.error = reset;
    else if (error == ERR_ABRT && socket->head.error == 0)
        socket->head.error = socket->head.soft_error != 0 ? socket->head.soft_error : ETIMEDOUT;
    /* ERR_CLSD: both sides have closed in order. */
    socket->pcb = NULL;
    socket_event(&socket->head);
}

void tcp_callbacks(struct tcp_socket *socket)
{
    tcp_arg(socket->pcb, socket);
    tcp_err(socket->pcb, on_error);
    tcp_recv(socket->pcb, tcp_on_receive);
    tcp_sent(socket->pcb, tcp_on_sent);
}

int tcp_need_pcb(struct tcp_socket *socket)
{
    if (socket->pcb != NULL)
        return 0;
    struct tcp_pcb *pcb = tcp_new_ip_type(socket->head.family == PS_INET ? IPADDR_TYPE_V4
                                          : socket->head.options.v6only  ? IPADDR_TYPE_V6
                                                                         : IPADDR_TYPE_ANY);
    if (pcb == NULL)
        return -ENOBUFS;
    tcp_own(socket, pcb);
    tcp_callbacks(socket);
    tcp_apply_options(socket);
    if (!ip_addr_isany(&socket->bound_to) || socket->bound)
        ip_addr_copy(pcb->local_ip, socket->bound_to);
    if (socket->bound) { /* it kept its port all the while */
        pcb->local_port = socket->local_port;
        TCP_REG(&tcp_bound_pcbs, pcb);
    }
    return 0;
}
