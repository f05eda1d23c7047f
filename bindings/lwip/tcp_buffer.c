/*
 * TCP sockets: buffers that grow with the path.
 *
 * A buffer starts at its sysctl's default and grows up to its maximum, as in Linux, unless the user
 * has set its size. It is a limit and not memory: a connection holds what waits in it, no more.
 */
#include "tcp_socket.h"

/* What a program can write while it waits for no one: more that waits to be sent than this would
 * only push out of the processor's caches what is sent next. */
#define SPARE 0x40000u

/* The receive buffer has to hold what the sender may have in flight when it hears of a larger
 * window: twice the most that was read in a round trip, and as much again for a sender that doubles
 * its rate meanwhile (dynamic right-sizing; Fisk, Feng 2001). */
static uint64_t wanted(uint64_t read, uint64_t most_before)
{
    uint64_t size = 2 * read;
    if (read > most_before)
        size += LWIP_MIN(size * (read - most_before) / LWIP_MAX(most_before, 1), size);
    return size;
}

/* The round trip as a receiver sees it. One that sends too has measured it; else it is the time
 * that a bufferful takes to come: more, if the sender doesn't fill the window. */
static uint32_t round_trip_us(struct tcp_socket *socket, uint32_t now_us)
{
    struct tcp_buffer_tuning *tuning = &socket->tuning;
    const struct tcp_pcb *pcb = socket->pcb;
    if (tuning->window_end == 0 || TCP_SEQ_GEQ(pcb->rcv_nxt, tuning->window_end)) {
        uint32_t took_us = now_us - tuning->window_at_us;
        if (tuning->window_end != 0 && (tuning->rtt_us == 0 || took_us < tuning->rtt_us))
            tuning->rtt_us = LWIP_MAX(took_us, 1);
        tuning->window_at_us = now_us;
        tuning->window_end = (pcb->rcv_nxt + socket->head.receive_buffer) | 1; /* 0: none */
    }
    uint32_t measured_us = pcb->recovery.srtt_us;
    return measured_us != 0 && (tuning->rtt_us == 0 || measured_us < tuning->rtt_us)
               ? measured_us
               : tuning->rtt_us;
}

static void grow_receive_buffer(struct tcp_socket *socket, uint64_t read)
{
    uint64_t size = wanted(read, socket->tuning.most_read);
    socket->tuning.most_read = LWIP_MAX(socket->tuning.most_read, read);
    uint64_t most = (uint64_t)tunables.tcp_receive_buffer_max;
    if (!(socket->pcb->flags & TF_WND_SCALE))
        most = LWIP_MIN(most, 0xffff);
    size = LWIP_MIN(size, most);
    if (size > socket->head.receive_buffer) {
        socket->pcb->rcv_wnd += (uint32_t)size - socket->head.receive_buffer;
        socket->head.receive_buffer = (uint32_t)size;
    }
}

void tcp_tune_receive_buffer(struct tcp_socket *socket, size_t size)
{
    struct tcp_buffer_tuning *tuning = &socket->tuning;
    if (tuning->receive_is_fixed || !tunables.tcp_tune_receive_buffer)
        return;
    uint32_t now_us = (uint32_t)port.now_us, rtt_us = round_trip_us(socket, now_us);
    uint32_t took_us = now_us - tuning->since_us;
    if (rtt_us > 0 && took_us >= rtt_us) {
        /* A reader that comes seldom and takes much is no longer path. A buffer larger than the
         * path needs would cost more than it gives: it does not fit the processor's caches. */
        grow_receive_buffer(socket, tuning->read * rtt_us / took_us);
        tuning->read = 0;
        tuning->since_us = now_us;
    }
    tuning->read += size; /* the clock stood still while it was copied: it counts from now on */
}

/* What may be in flight, and a spare for when an acknowledgement comes. A congestion window beyond
 * the peer's largest window is never used up. */
void tcp_tune_send_buffer(struct tcp_socket *socket)
{
    struct port_socket *head = &socket->head;
    if (socket->tuning.send_is_fixed || socket->pcb == NULL)
        return;
    uint64_t flight = LWIP_MIN(socket->pcb->cwnd, socket->pcb->snd_wnd_max);
    uint64_t size =
        LWIP_MIN(flight + LWIP_MIN(flight, SPARE), (uint64_t)tunables.tcp_send_buffer_max);
    if (size > head->send_buffer)
        head->send_buffer = (uint32_t)size;
}
