/*
 * Orphans: connections that were closed and still have something to deliver.
 *
 * Each goes on for as long as its peer makes progress. One whose peer does not answer, or keeps its
 * window closed, ends as Linux's do: by its tries (net.ipv4.tcp_orphan_retries). Where there are
 * too many (net.ipv4.tcp_max_orphans), or memory runs out, the one whose peer has acknowledged
 * nothing for longest is reset.
 */
#include "base/tunables.h"
#include "lwip/priv/tcp_priv.h"

#define USUAL_RETRIES 8 /* what 0 means, while the timeout still grows */

static struct tcp_pcb *first, **last = &first; /* by the last progress, the oldest first */
static int64_t count;

bool tcp_is_orphan(const struct tcp_pcb *pcb)
{
    return pcb->timer.orphan_link != NULL;
}

static void append(struct tcp_pcb *pcb)
{
    pcb->timer.orphan_next = NULL;
    pcb->timer.orphan_link = last;
    *last = pcb;
    last = &pcb->timer.orphan_next;
    count++;
}

void tcp_orphan_forget(struct tcp_pcb *pcb)
{
    struct tcp_timer *timer = &pcb->timer;
    if (timer->orphan_link == NULL)
        return;
    *timer->orphan_link = timer->orphan_next;
    if (timer->orphan_next != NULL)
        timer->orphan_next->timer.orphan_link = timer->orphan_link;
    else
        last = timer->orphan_link;
    timer->orphan_link = NULL;
    count--;
}

void tcp_orphan_add(struct tcp_pcb *pcb)
{
    append(pcb);
    tcp_timer_touch(pcb);
}

void tcp_orphan_limit(void)
{
    while (count > tunables.tcp_max_orphans)
        tcp_orphan_shed();
}

void tcp_orphan_progress(struct tcp_pcb *pcb)
{
    if (pcb->timer.orphan_link == NULL)
        return;
    tcp_orphan_forget(pcb);
    append(pcb);
}

uint8_t tcp_orphan_retries(uint64_t timeout_ms)
{
    if (tunables.tcp_orphan_retries != 0)
        return (uint8_t)tunables.tcp_orphan_retries;
    return timeout_ms < TCP_RTO_MAX_MS ? USUAL_RETRIES : 0;
}

bool tcp_orphan_is_stuck(const struct tcp_pcb *pcb, uint64_t timeout_ms)
{
    return timeout_ms >= TCP_RTO_MAX_MS && pcb->persist_backoff >= tcp_orphan_retries(timeout_ms);
}

void tcp_orphan_shed(void)
{
    if (first != NULL)
        tcp_abort(first);
}

void tcp_orphan_end_all(void)
{
    while (tcp_active_pcbs != NULL) {
        struct tcp_pcb *pcb = tcp_active_pcbs;
        tcp_abandon(pcb, pcb->snd_buf < TCP_SND_BUF);
    }
}
