/*
 * TCP sockets: the bytes.
 *
 * Received data stays in lwIP's buffers until it is read, and reduces the window until then. Sent
 * data is copied once, into segments.
 */
#include "base/pieces.h"
#include "base/port.h"
#include "lwip/sys.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_congestion.h"
#include "tcp/tcp_path.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_socket.h"
#include "tcp/tcp_timer.h"

/* tcp_write takes all or nothing, and counts in 16 bits; smaller helpings let a nearly full arena
 * go on. */
#define LARGEST_WRITE 0x8000u

/* --- receiving ---------------------------------------------------------------------------- */

#define SMALL 512
#define COLLECTOR 1920

static void append(struct tcp_socket *socket, struct pbuf *p)
{
    if (socket->last != NULL)
        socket->last->next = p;
    else
        socket->first = p;
    socket->last = p;
    socket->last_room = 0;
}

/* A buffer costs some hundred bytes more than what is in it, and the window counts only that: a few
 * bytes that find others waiting are put with them. False: it stays a separate buffer. */
static bool collect(struct tcp_socket *socket, struct pbuf *p)
{
    if (socket->last_room < p->len) {
        if (socket->last == NULL || p->len >= SMALL)
            return false;
        struct pbuf *collector = pbuf_alloc(PBUF_RAW, COLLECTOR, PBUF_RAM);
        if (collector == NULL)
            return false;
        collector->len = collector->tot_len = 0;
        append(socket, collector);
        socket->last_room = COLLECTOR;
    }
    struct pbuf *last = socket->last;
    memcpy((uint8_t *)last->payload + last->len, p->payload, p->len);
    last->len = last->tot_len = (u16_t)(last->len + p->len);
    socket->last_room = (u16_t)(socket->last_room - p->len);
    pbuf_free(p);
    return true;
}

err_t tcp_on_receive(void *argument, struct tcp_pcb *pcb, struct pbuf *p, err_t error)
{
    (void)error;
    struct tcp_socket *socket = argument;
    if (p == NULL) {
        socket->end_of_stream = true;
        socket_event(&socket->head);
        return ERR_OK;
    }
    bool has_ended = pcb->state == FIN_WAIT_1 || pcb->state == FIN_WAIT_2;
    if (has_ended && socket->head.shut_read) {
        /* Nobody will read this, and the peer should know (RFC 2525 2.17, as Linux). */
        pbuf_free(p);
        socket_fail(&socket->head, ECONNRESET);
        tcp_abort(pcb);
        return ERR_ABRT;
    }
    size_t size = 0; /* more than a chain of lwIP's can count, if a gap was filled */
    for (const struct pbuf *part = p; part != NULL; part = part->next)
        size += part->len;
    size_t removed = tcp_urgent_received(socket, p, size);
    socket->queued += size - removed;
    socket->received += size;
    socket->received_us = port.now_us;
    if (removed > 0)
        tcp_recved(pcb, (u16_t)removed);
    struct pbuf *next;
    for (; p != NULL; p = next) {
        next = p->next;
        p->next = NULL;
        socket->pushed = (p->flags & PBUF_FLAG_PUSH) != 0;
        p->tot_len = p->len;
        if (p->len == 0) /* perhaps its only byte was urgent */
            pbuf_free(p);
        else if (!collect(socket, p))
            append(socket, p);
    }
    socket_news(&socket->head);
    return ERR_OK;
}

static void drop_first(struct tcp_socket *socket)
{
    struct pbuf *p = socket->first;
    socket->first = p->next;
    if (socket->first == NULL) {
        socket->last = NULL;
        socket->last_room = 0;
    }
    socket->first_offset = 0;
    p->next = NULL;
    pbuf_free(p);
}

void tcp_drop_received(struct tcp_socket *socket)
{
    while (socket->first != NULL)
        drop_first(socket);
    socket->queued = 0;
}

/* A reader that has taken all there was may be what the sender waits for, whose next small segment
 * Nagle's algorithm holds until an acknowledgement comes. Who answers what it reads sends that with
 * the answer. As Linux does (tcp_cleanup_rbuf). */
static void acknowledge_at_end(struct tcp_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    if (socket->queued > 0 || !socket->pushed || !(pcb->flags & TF_ACK_DELAY) ||
        pcb->timer.is_interactive || socket->options.slow_acks)
        return;
    socket->pushed = false;
    tcp_ack_now(pcb);
    tcp_output(pcb);
}

/* Opens the window by what was read. */
static void consumed(struct tcp_socket *socket, size_t size)
{
    socket->queued -= size;
    if (socket->pcb != NULL && socket->phase == TCP_CONNECTED)
        tcp_tune_receive_buffer(socket, size);
    if (size == 0 || socket->pcb == NULL)
        return;
    tcp_open_window(socket);
    acknowledge_at_end(socket);
}

/* Copies up to all that is queued; with `discard` into nowhere. */
static size_t read_queue(struct tcp_socket *socket, const struct ps_piece *pieces, size_t count,
                         size_t most, bool peek, bool discard)
{
    const struct pbuf *p = socket->first;
    size_t offset = socket->first_offset, total = 0;
    for (size_t i = 0; i < count; i++) {
        size_t filled = 0;
        while (filled < pieces[i].size && p != NULL && total + filled < most) {
            size_t part = LWIP_MIN(pieces[i].size - filled, p->len - offset);
            part = LWIP_MIN(part, most - total - filled);
            if (!discard)
                memcpy(pieces[i].base + filled, (const uint8_t *)p->payload + offset, part);
            filled += part;
            offset += part;
            if (offset < p->len)
                continue;
            p = p->next;
            offset = 0;
            if (!peek)
                drop_first(socket);
        }
        total += filled;
    }
    if (!peek) {
        socket->first_offset = (u16_t)offset;
        consumed(socket, total);
    }
    return total;
}

/* Whether a stream that has less than so many bytes waiting may come to have them. */
static bool may_become_more(const struct tcp_socket *socket, size_t size)
{
    const struct port_socket *head = &socket->head;
    return socket->phase == TCP_CONNECTED && socket->queued < size &&
           socket->queued < head->options.receive_buffer / 2 && !socket->end_of_stream &&
           !head->shut_read && head->error == 0;
}

int64_t tcp_socket_receive(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                           uint32_t flags, struct ps_message *message)
{
    struct tcp_socket *socket = tcp_socket_of(head);
    if (message != NULL) { /* a stream's bytes have no sender's address */
        memset(message, 0, sizeof *message);
        message->time_us = socket->received_us;
    }
    if (socket->phase == TCP_LISTENING)
        return -ENOTCONN;
    if (flags & PS_MSG_OOB)
        return tcp_urgent_receive(socket, pieces, count, (flags & PS_MSG_PEEK) != 0);
    if (socket->phase == TCP_FRESH)
        return head->error != 0 || head->shut_read ? socket_take_error(head) : -ENOTCONN;
    if (flags & PS_MSG_REST &&
        (tcp_urgent_is_next(socket) || (socket->queued == 0 && head->error != 0)))
        return 0;
    if (flags & PS_MSG_WHOLE && may_become_more(socket, pieces_size(pieces, count)))
        return -EAGAIN;
    if (socket->queued == 0) {
        if (socket->end_of_stream)
            return 0; /* also if a reset came after it: the stream was whole */
        if (head->error != 0)
            return socket_take_error(head);
        if (head->shut_read || socket->phase == TCP_OVER)
            return 0;
        if (socket->phase == TCP_CONNECTED && socket->pcb == NULL)
            return 0;
        return -EAGAIN; /* also if no byte is asked for, as in Linux */
    }
    return (int64_t)read_queue(socket, pieces, count, tcp_urgent_limit(socket),
                               (flags & PS_MSG_PEEK) != 0, (flags & PS_MSG_TRUNC) != 0);
}

/* --- sending ------------------------------------------------------------------------------ */

err_t tcp_on_sent(void *argument, struct tcp_pcb *pcb, u16_t size)
{
    (void)pcb;
    struct tcp_socket *socket = argument;
    socket->sent += size;
    socket->head.soft_error = 0;
    tcp_tune_send_buffer(socket, size);
    socket_event(&socket->head);
    return ERR_OK;
}

/* After a pause of more than a timeout the path's capacity is unknown: the congestion
 * window begins small again (RFC 5681 4.1). */
static void restart_after_idle(struct tcp_pcb *pcb)
{
    if (pcb->unacked != NULL || pcb->unsent != NULL || tcp_ticks - pcb->tmr <= (u32_t)pcb->rto)
        return;
    pcb->cwnd = LWIP_MIN(pcb->cwnd, congestion_initial(pcb));
}

/* One helping for lwIP, cut smaller while memory is short. The bytes taken, or -ENOBUFS. */
static int64_t write_some(struct tcp_pcb *pcb, const uint8_t *data, size_t size, bool more)
{
    restart_after_idle(pcb);
    size_t helping = size;
    if (size > pcb->mss) /* or the path of the last time makes the segments */
        hook_tcp_path(pcb, tcp_path_route(pcb));
    if (size > LARGEST_WRITE)
        helping = LWIP_MIN(size, LWIP_MAX(LARGEST_WRITE, tcp_segment_longest(pcb)));
    for (;;) {
        u8_t how = TCP_WRITE_FLAG_COPY | (more || helping < size ? TCP_WRITE_FLAG_MORE : 0);
        if (tcp_write(pcb, data, (u16_t)helping, how) == ERR_OK)
            return (int64_t)helping;
        if (helping <= pcb->mss)
            return -ENOBUFS;
        helping = LWIP_MAX(helping / 4, pcb->mss);
    }
}

static int state_error(struct tcp_socket *socket)
{
    struct port_socket *head = &socket->head;
    if (head->error != 0)
        return socket_take_error(head);
    if (socket->phase == TCP_CONNECTING)
        return -EAGAIN;
    if (socket->phase != TCP_CONNECTED || head->shut_write || socket->pcb == NULL)
        return -EPIPE;
    return 0;
}

int64_t tcp_socket_send(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                        uint32_t flags, const struct ps_address *to,
                        const struct ps_send_control *control)
{
    (void)control; /* ancillary data steers datagrams; a stream has its route already */
    (void)to;      /* Linux ignores it on a stream too */
    struct tcp_socket *socket = tcp_socket_of(head);
    int result = state_error(socket);
    if (result < 0)
        return result;
    struct tcp_pcb *pcb = socket->pcb;
    if (socket->received > 0 && port.now_us - socket->received_us < TCP_DELAYED_ACK_MS * 1000)
        pcb->timer.is_interactive = true;
    if (pcb->unsent == NULL && pcb->unacked == NULL)
        pcb->recovery.progress_ms = sys_now(); /* the peer owed nothing so far */
    bool hold = (flags & PS_MSG_MORE) || socket->options.cork;
    int64_t total = 0;
    for (size_t i = 0; i < count && result >= 0; i++) {
        size_t done = 0;
        while (done < pieces[i].size) {
            u32_t room = tcp_send_room(socket);
            if (room == 0) {
                result = -EAGAIN;
                break;
            }
            size_t part = LWIP_MIN(pieces[i].size - done, room);
            bool more = hold || i + 1 < count || done + part < pieces[i].size;
            int64_t taken = write_some(pcb, pieces[i].base + done, part, more);
            if (taken < 0) {
                /* What is on its way will free memory; without it nothing would. */
                result = pcb->unacked != NULL ? -EAGAIN : -ENOBUFS;
                break;
            }
            done += (size_t)taken;
            if (socket->options.not_sent_low_water != 0)
                tcp_output(pcb); /* what leaves makes room */
        }
        total += (int64_t)done;
    }
    bool urgent = (flags & PS_MSG_OOB) && total > 0 && result >= 0;
    bool nagle = !(pcb->flags & TF_NODELAY);
    if (urgent) { /* and not for Nagle's algorithm to hold back */
        tcp_urgent_sent(pcb);
        tcp_nagle_disable(pcb);
    }
    pcb->timer.hold = (uint8_t)((socket->options.cork && !urgent ? TCP_HOLD_CORK : 0) |
                                (flags & PS_MSG_MORE && !urgent ? TCP_HOLD_MORE : 0));
    pcb->figures.wants_room = result == -EAGAIN;
    if (result == -EAGAIN) /* a wait for room would wait for what is held */
        tcp_timer_release(pcb);
    else
        tcp_output(pcb);
    if (urgent && nagle)
        tcp_nagle_enable(pcb);
    return total > 0 ? total : result;
}
