/*
 * What is counted of a connection, for TCP_INFO (tcp_info.c).
 */
#include "tcp/tcp_figures.h"

#include "base/hooks.h"
#include "base/port.h"
#include "lwip/pbuf.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"
#include "tcp/tcp_timer.h"

void hook_tcp_control_sent(const struct tcp_pcb *pcb)
{
    lwip_stats.mib2.tcpoutsegs++; /* lwIP counts only those that it queues */
    if (pcb != NULL && pcb->state > LISTEN)
        ((struct tcp_pcb *)(uintptr_t)pcb)->figures.segments_out++;
}

void tcp_figures_received(struct tcp_pcb *pcb, const struct pbuf *segment)
{
    struct tcp_figures *figures = &pcb->figures;
    uint32_t pieces = 1; /* the NIC may have joined several */
    if (segment->tot_len > pcb->mss)
        pieces = (segment->tot_len + pcb->mss - 1U) / pcb->mss;
    figures->segments_in += pieces;
    lwip_stats.mib2.tcpinsegs += pieces - 1; /* lwIP has counted one */
    if (segment->tot_len > 0) {
        figures->data_segments_in += pieces;
        figures->data_received_us = port.now_us;
    }
}

void tcp_figures_sent(struct tcp_pcb *pcb, uint32_t bytes, uint32_t pieces, bool again)
{
    struct tcp_figures *figures = &pcb->figures;
    figures->segments_out += pieces;
    if (again) {
        figures->segments_again += pieces;
        figures->bytes_again += bytes;
    }
    if (bytes == 0)
        return;
    figures->bytes_sent += bytes;
    figures->data_segments_out += pieces;
    figures->data_sent_us = port.now_us;
}

void tcp_figures_late(struct tcp_pcb *pcb, uint32_t bytes)
{
    struct tcp_figures *figures = &pcb->figures;
    figures->overtaken++;
    figures->farthest = LWIP_MAX(figures->farthest, bytes / pcb->mss + 1);
}

static enum tcp_limit limit_of(const struct tcp_pcb *pcb)
{
    if (pcb->unsent == NULL && pcb->unacked == NULL)
        return TCP_LIMIT_NONE;
    if (pcb->unsent == NULL)
        return pcb->figures.wants_room ? TCP_LIMIT_BUFFER : TCP_LIMIT_PATH;
    uint32_t flight = pcb->snd_nxt - pcb->lastack, next = LWIP_MIN(pcb->unsent->len, pcb->mss);
    return flight + next > pcb->snd_wnd ? TCP_LIMIT_WINDOW : TCP_LIMIT_PATH;
}

void tcp_figures_limit(struct tcp_pcb *pcb)
{
    struct tcp_figures *figures = &pcb->figures;
    enum tcp_limit limit = limit_of(pcb);
    if (limit == figures->limit)
        return;
    figures->limited_us[figures->limit] += port.now_us - figures->limit_since_us;
    figures->limit_since_us = port.now_us;
    figures->limit = (uint8_t)limit;
}

void hook_tcp_came(struct tcp_pcb *pcb, u32_t acknowledged, const struct pbuf *segment)
{
    if (TCP_SEQ_GT(acknowledged, pcb->lastack)) /* as on Linux, MSG_MORE holds until then */
        pcb->timer.hold &= TCP_HOLD_CORK;
    tcp_figures_received(pcb, segment);
}
