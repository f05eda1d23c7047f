/*
 * TCP sockets: buffers that grow with the path.
 *
 * A buffer starts at its sysctl's default and grows up to its maximum, as in Linux, unless the user
 * has set its size. It is a limit and not memory: a connection holds what waits in it, no more.
 */
#include "base/port.h"
#include "base/tunables.h"
#include "tcp/tcp_socket.h"

/* The window never shrinks below what the peer was promised: lwIP keeps the right edge (RFC 9293
 * 3.8.6). After a smaller buffer was set it opens again when as much has been read. */
void tcp_open_window(struct tcp_socket *socket)
{
    struct tcp_pcb *pcb = socket->pcb;
    tcpwnd_size_t most = TCP_WND_MAX(pcb);
    if (pcb->state < ESTABLISHED) { /* what the SYN has said holds, and no ACK comes before its */
        pcb->rcv_wnd = LWIP_MAX(TCPWND_MIN16(most), pcb->rcv_ann_wnd);
        return;
    }
    pcb->rcv_wnd = most > socket->queued ? (tcpwnd_size_t)(most - socket->queued) : 0;
    if (tcp_update_rcv_ann_wnd(pcb) >= TCP_WND_UPDATE_THRESHOLD) {
        tcp_ack_now(pcb);
        tcp_output(pcb);
    }
}

/* The size at which a buffer never limits the rate: twice the most that has passed it in a round
 * trip, and as much again for a sender that doubles its rate meanwhile (dynamic right-sizing; Fisk,
 * Feng 2001). A larger one costs more than it gains: it doesn't fit the processor's caches. */
static uint64_t wanted(uint64_t passed, uint64_t most_before)
{
    uint64_t size = 2 * passed;
    if (passed > most_before)
        size += LWIP_MIN(size * (passed - most_before) / LWIP_MAX(most_before, 1), size);
    return size;
}

/* `size` bytes more pass a buffer. Returns what it should hold; 0: as before. */
static uint64_t pass(struct tcp_buffer_flow *flow, uint32_t rtt_us, size_t size)
{
    uint32_t now_us = (uint32_t)port.now_us, took_us = now_us - flow->since_us;
    uint64_t result = 0;
    if (rtt_us > 0 && took_us >= rtt_us) {
        /* A burst after a pause, as of a reader that comes seldom, is no longer path. */
        uint64_t passed = flow->passed * rtt_us / took_us;
        uint64_t steady = LWIP_MIN(passed, flow->before);
        flow->before = passed;
        result = wanted(steady, flow->most);
        flow->most = LWIP_MAX(flow->most, steady);
        flow->passed = 0;
        flow->since_us = now_us;
    }
    flow->passed += size; /* the clock stood still while it was copied: it counts from now on */
    return result;
}

/* The round trip as a receiver sees it. One that sends too has measured it; else it is the time
 * that a bufferful takes to come: more, if the sender doesn't fill the window. */
static uint32_t round_trip_us(struct tcp_socket *socket)
{
    struct tcp_buffer_tuning *tuning = &socket->tuning;
    const struct tcp_pcb *pcb = socket->pcb;
    uint32_t now_us = (uint32_t)port.now_us;
    if (tuning->window_end == 0 || TCP_SEQ_GEQ(pcb->rcv_nxt, tuning->window_end)) {
        uint32_t took_us = now_us - tuning->window_at_us;
        if (tuning->window_end != 0 && (tuning->rtt_us == 0 || took_us < tuning->rtt_us))
            tuning->rtt_us = LWIP_MAX(took_us, 1);
        tuning->window_at_us = now_us;
        tuning->window_end = (pcb->rcv_nxt + socket->head.options.receive_buffer) | 1; /* 0: none */
    }
    uint32_t measured_us = pcb->recovery.srtt_us;
    return measured_us != 0 && (tuning->rtt_us == 0 || measured_us < tuning->rtt_us)
               ? measured_us
               : tuning->rtt_us;
}

void tcp_tune_receive_buffer(struct tcp_socket *socket, size_t size)
{
    struct port_socket *head = &socket->head;
    if (socket->tuning.receive_is_fixed || !tunables.tcp_tune_receive_buffer)
        return;
    uint64_t most = (uint64_t)tunables.tcp_receive_buffer_max;
    if (!(socket->pcb->flags & TF_WND_SCALE))
        most = LWIP_MIN(most, 0xffff);
    uint64_t target = pass(&socket->tuning.received, round_trip_us(socket), size);
    target = LWIP_MIN(target, most);
    if (target > head->options.receive_buffer) {
        socket->pcb->rcv_wnd += (uint32_t)target - head->options.receive_buffer;
        head->options.receive_buffer = (uint32_t)target;
    }
}

void tcp_tune_send_buffer(struct tcp_socket *socket, size_t size)
{
    struct port_socket *head = &socket->head;
    if (socket->tuning.send_is_fixed || socket->pcb == NULL)
        return;
    /* The shortest, for the queue that a large buffer makes is not the path's; a mean, for what is
     * sent and acknowledged before the clock moves would take no time. And of data alone. */
    struct tcp_buffer_tuning *tuning = &socket->tuning;
    uint32_t rtt_us = socket->pcb->recovery.data_rtt_us;
    if (rtt_us != 0 && (tuning->send_rtt_us == 0 || rtt_us < tuning->send_rtt_us))
        tuning->send_rtt_us = rtt_us;
    /* Not measured without SACK: the congestion window says what is in flight. */
    uint64_t target =
        rtt_us == 0 ? 2ULL * socket->pcb->cwnd : pass(&tuning->sent, tuning->send_rtt_us, size);
    target = LWIP_MIN(target, (uint64_t)tunables.tcp_send_buffer_max);
    if (target > head->options.send_buffer)
        head->options.send_buffer = (uint32_t)target;
}
