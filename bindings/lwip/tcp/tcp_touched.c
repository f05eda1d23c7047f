/*
 * The connections that something has happened to since their timers were set.
 */
#include "base/port.h"
#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_timer.h"

static struct tcp_pcb *touched;

int64_t tcp_timer_now_us(void)
{
    return (int64_t)port.now_us;
}

void tcp_timer_touch(struct tcp_pcb *pcb)
{
    struct tcp_timer *timer = &pcb->timer;
    if (timer->touched_link != NULL)
        return;
    timer->touched_next = touched;
    timer->touched_link = &touched;
    if (touched != NULL)
        touched->timer.touched_link = &timer->touched_next;
    touched = pcb;
}

static void untouch(struct tcp_pcb *pcb)
{
    struct tcp_timer *timer = &pcb->timer;
    if (timer->touched_link == NULL)
        return;
    *timer->touched_link = timer->touched_next;
    if (timer->touched_next != NULL)
        timer->touched_next->timer.touched_link = timer->touched_link;
    timer->touched_link = NULL;
}

struct tcp_pcb *tcp_timer_take_touched(void)
{
    struct tcp_pcb *pcb = touched;
    if (pcb != NULL)
        untouch(pcb);
    return pcb;
}

void tcp_timer_forget(struct tcp_pcb *pcb)
{
    untouch(pcb);
    tcp_timer_heap_remove(pcb);
}
