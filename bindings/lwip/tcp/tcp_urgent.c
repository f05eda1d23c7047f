/*
 * TCP's urgent data (RFC 9293 3.8.5, RFC 6093), as the socket API has it: the last byte before the
 * urgent pointer is out of band, and a reader stops once at the place where it was.
 */
#include <errno.h>

#include "tcp/tcp_recovery.h"
#include "tcp/tcp_socket.h"

/* Positions are bytes of the stream as it came; `removed` of them never reach a reader. */

void port_tcp_urgent_in(struct tcp_pcb *pcb, uint32_t end)
{
    struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    if (socket == NULL || socket->pcb != pcb || socket->phase != TCP_CONNECTED ||
        TCP_SEQ_LEQ(end, pcb->rcv_nxt))
        return;
    struct tcp_urgent *urgent = &socket->urgent;
    uint64_t position = socket->received + (end - 1 - pcb->rcv_nxt);
    if (urgent->announced && position <= urgent->position)
        return;
    /* A new mark replaces one that was not reached. */
    urgent->announced = urgent->awaited = true;
    urgent->has_byte = false;
    urgent->position = position;
    socket_news(&socket->head);
}

static void take_out(struct pbuf *p, u16_t offset)
{
    uint8_t *bytes = p->payload;
    memmove(bytes + 1, bytes, offset);
    p->payload = bytes + 1;
    p->len--;
}

size_t tcp_urgent_received(struct tcp_socket *socket, struct pbuf *p, size_t size)
{
    struct tcp_urgent *urgent = &socket->urgent;
    if (!urgent->awaited || urgent->position >= socket->received + size)
        return 0;
    size_t offset = (size_t)(urgent->position - socket->received);
    while (offset >= p->len) {
        offset -= p->len;
        p = p->next;
    }
    urgent->awaited = false;
    urgent->mark = urgent->position - urgent->removed;
    urgent->has_mark = true;
    if (socket->head.options.out_of_band_inline)
        return 0;
    urgent->byte = ((const uint8_t *)p->payload)[offset];
    urgent->has_byte = true;
    urgent->removed++;
    take_out(p, (u16_t)offset);
    return 1;
}

int64_t tcp_urgent_receive(struct tcp_socket *socket, const struct ps_piece *pieces, size_t count,
                           bool peek)
{
    struct tcp_urgent *urgent = &socket->urgent;
    if (socket->head.options.out_of_band_inline || !(urgent->awaited || urgent->has_byte))
        return -EINVAL;
    if (socket->phase == TCP_OVER && !socket->end_of_stream)
        return -ENOTCONN;
    if (!urgent->has_byte)
        return socket->phase == TCP_OVER || socket->head.shut_read ? 0 : -EAGAIN;
    size_t i = 0;
    while (i < count && pieces[i].size == 0)
        i++;
    if (i == count)
        return 0;
    pieces[i].base[0] = urgent->byte;
    if (!peek)
        urgent->has_byte = false;
    return 1;
}

/* The place in the stream of the byte that is read next. */
static uint64_t next_to_read(const struct tcp_socket *socket)
{
    return socket->received - socket->urgent.removed - socket->queued;
}

bool tcp_urgent_is_next(const struct tcp_socket *socket)
{
    return socket->urgent.has_mark && socket->urgent.mark <= next_to_read(socket);
}

bool tcp_urgent_is_unread(const struct tcp_socket *socket)
{
    const struct tcp_urgent *urgent = &socket->urgent;
    return urgent->has_byte || (socket->head.options.out_of_band_inline && urgent->has_mark &&
                                urgent->mark >= next_to_read(socket));
}

size_t tcp_urgent_limit(struct tcp_socket *socket)
{
    struct tcp_urgent *urgent = &socket->urgent;
    if (!urgent->has_mark)
        return SIZE_MAX;
    uint64_t next = next_to_read(socket);
    if (urgent->mark > next)
        return (size_t)(urgent->mark - next);
    urgent->has_mark = false; /* reading goes on past it */
    return SIZE_MAX;
}

/* --- sending ------------------------------------------------------------------------------- */

void port_tcp_urgent_out(struct tcp_pcb *pcb, struct tcp_hdr *header)
{
    struct tcp_recovery *r = &pcb->recovery;
    uint32_t ahead = r->urgent_end - lwip_ntohl(header->seqno);
    if (TCP_SEQ_GEQ(pcb->lastack, r->urgent_end))
        r->is_urgent = false; /* it has arrived, or there never was any */
    if (r->is_urgent && ahead > 0 && ahead <= 0xffff) {
        TCPH_SET_FLAG(header, TCP_URG);
        header->urgp = lwip_htons((u16_t)ahead);
    } else {
        TCPH_UNSET_FLAG(header, TCP_URG);
        header->urgp = 0;
    }
}

void tcp_urgent_sent(struct tcp_pcb *pcb)
{
    pcb->recovery.is_urgent = true;
    pcb->recovery.urgent_end = pcb->snd_lbb;
}
