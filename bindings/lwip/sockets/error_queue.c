/*
 * The errors that a socket asked to be told one by one (Linux's ip(7) and ipv6(7), IP_RECVERR and
 * IPV6_RECVERR): ICMP errors about what it sent, and datagrams that were too large for their path.
 *
 * A queue has its room in the receive buffer, and an error for which there is none is lost, as in
 * Linux; SO_ERROR tells of the last one all the same.
 */
#include "sockets/error_queue.h"

#include "base/memory.h"
#include "base/port.h"
#include "link/address.h"

bool errors_wanted(const struct port_socket *socket, const ip_addr_t *remote)
{
    return IP_IS_V6(remote) ? socket->errors.on6 : socket->errors.on4;
}

struct queued_error *error_queue_add(struct port_socket *socket, const ip_addr_t *remote,
                                     uint16_t remote_port, u16_t size)
{
    struct error_queue *queue = &socket->errors;
    uint32_t charge = (uint32_t)sizeof(struct queued_error) + size;
    if (queue->charged + charge > socket->options.receive_buffer)
        return NULL;
    struct queued_error *made = port_allocate(charge);
    if (made == NULL)
        return NULL;
    made->charge = charge;
    made->size = size;
    made->message.time_us = port.now_us;
    address_from_lwip(remote, remote_port, (enum ps_family)socket->family, &made->message.from);
    queue->charged += charge;
    if (queue->last == NULL)
        queue->first = made;
    else
        queue->last->next = made;
    queue->last = made;
    return made;
}

struct queued_error *error_queue_take(struct error_queue *queue)
{
    struct queued_error *error = queue->first;
    queue->first = error->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->charged -= error->charge;
    return error;
}

void errors_drop(struct port_socket *socket)
{
    while (socket->errors.first != NULL)
        port_free(error_queue_take(&socket->errors));
}
