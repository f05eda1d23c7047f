/*
 * One acknowledgement for all that comes at once.
 *
 * Frames come in batches, and what is in one has waited for the same moment: acknowledged one by
 * one, its segments would cost the peer a wake-up each, and tell it nothing that the last one does
 * not. A receiver behind a NIC that joins segments (GRO) acknowledges likewise.
 */
#include "tcp/tcp_ack.h"

#include "base/tunables.h"
#include "lwip/priv/tcp_priv.h"

#define MOST_PENDING 16

static struct tcp_pcb *pending[MOST_PENDING];
static size_t pending_count;

bool hook_tcp_ack_later(struct tcp_pcb *pcb)
{
    /* The peer must not run out of window meanwhile. */
    if (!tunables.tcp_delayed_ack ||
        pcb->rcv_ann_right_edge - pcb->rcv_nxt < port_tcp_window(pcb) / 2)
        return false;
    size_t i = 0;
    while (i < pending_count && pending[i] != pcb)
        i++;
    if (i == MOST_PENDING)
        return false;
    pending[i] = pcb;
    pending_count = LWIP_MAX(pending_count, i + 1);
    return true;
}

bool tcp_ack_flush(void)
{
    bool any = pending_count > 0;
    while (pending_count > 0) {
        struct tcp_pcb *pcb = pending[--pending_count];
        if (!(pcb->flags & TF_ACK_DELAY))
            continue; /* it went with data, or with a new window */
        tcp_clear_flags(pcb, TF_ACK_DELAY);
        tcp_ack_now(pcb);
        tcp_output(pcb);
    }
    return any;
}

void tcp_ack_forget(const struct tcp_pcb *pcb)
{
    for (size_t i = 0; i < pending_count; i++)
        if (pending[i] == pcb)
            pending[i] = pending[--pending_count];
}
