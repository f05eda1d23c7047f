/*
 * TCP's timers: each connection has one moment at which something is due for it, whatever it is,
 * and the engine sleeps until the first of these. lwIP counts ticks instead: it looks at every
 * connection at each, and its timers are wrong by up to one, in either direction.
 *
 * A timer never fires early, and late ones fire once: what is due is told from the clock, not
 * counted. A segment or a call does not set timers: it marks its connection, and those are set when
 * the engine is left, or run.
 */
#include "tcp/tcp_timer.h"

#include "base/port.h"
#include "base/tunables.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/sys.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_recovery.h"
#include "tcp/tcp_segment.h"
#include "tcp/tcp_socket.h"

#define NEVER UINT64_MAX
#define US_PER_MS 1000
#define OVERRIDE_MS 500U
#define PUSH_US 50000  /* what could not be sent is tried again */
#define HOLD_US 200000 /* what is held for more to come goes without it (tcp(7), TCP_CORK) */
/* The stamp of one that is idle for so long is kept from coming around after 49 days: it stays as
 * old as this, which is what RFC 7323 5.5 asks about. */
#define DAY_MS (24U * 3600 * 1000)
#define OLDEST_MS (36 * DAY_MS)
#define OLD_MS (25 * DAY_MS)

static void begin_or_end(uint64_t *moment_us, bool waits, uint64_t wait_us)
{
    if (!waits)
        *moment_us = 0;
    else if (*moment_us == 0)
        *moment_us = port.now_us + wait_us;
}

/* What is sent again lies behind the window, as a FIN may, or all where the peer took some back. */
static bool probes_by_retransmitting(const struct tcp_pcb *pcb)
{
    const struct tcp_seg *segment = pcb->unacked;
    return segment != NULL && TCP_SEQ_GT(lwip_ntohl(segment->tcphdr->seqno) + TCP_TCPLEN(segment),
                                         pcb->lastack + pcb->snd_wnd);
}

/* Notes since when things are as they are. */
static void observe(struct tcp_pcb *pcb)
{
    struct tcp_timer *timer = &pcb->timer;
    bool closed = (pcb->flags & TF_RXCLOSED) != 0;
    if (timer->state != pcb->state || timer->closed != closed) {
        timer->state = (uint8_t)pcb->state;
        timer->closed = closed;
        timer->state_us = port.now_us;
        if (pcb->state == ESTABLISHED)
            timer->begin_us = port.now_us;
        if (pcb->state == FIN_WAIT_2 || pcb->state == TIME_WAIT)
            tcp_orphan_forget(pcb); /* all it had was delivered */
    }
    if (timer->probing && !probes_by_retransmitting(pcb)) {
        timer->probing = false; /* the window has opened: it goes on as if it had just been sent */
        pcb->nrtx = 0;
        if (pcb->rtime >= 0)
            pcb->rtime = LWIP_TCP_TIMER_START;
        tcp_timeout_reset(pcb);
    }
    bool owes =
        pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW | TF_CLOSEPEND) || pcb->refused_data != NULL;
    begin_or_end(&timer->answer_us, owes, TCP_DELAYED_ACK_MS * US_PER_MS);
    bool held = pcb->unsent != NULL && timer->hold != 0;
    begin_or_end(&timer->held_until_us, held, HOLD_US);
    begin_or_end(&timer->push_us, pcb->unsent != NULL && pcb->persist_backoff == 0,
                 held ? timer->held_until_us - port.now_us : PUSH_US);
}

bool tcp_timer_holds(const struct tcp_pcb *pcb, const struct tcp_seg *segment)
{
    return segment->next == NULL && !(pcb->flags & TF_FIN) && pcb->state >= ESTABLISHED &&
           segment->len + LWIP_TCP_OPT_LENGTH(segment->flags) < pcb->mss;
}

void tcp_timer_release(struct tcp_pcb *pcb)
{
    uint8_t hold = pcb->timer.hold;
    pcb->timer.hold = 0;
    pcb->timer.held_until_us = 0;
    tcp_output(pcb);
    pcb->timer.hold = hold & TCP_HOLD_CORK;
}

/* Those in TIME-WAIT wait in a separate list. */
static bool has_timers(const struct tcp_pcb *pcb)
{
    return pcb->state > LISTEN && pcb->state != TIME_WAIT;
}

/* --- when what is due ----------------------------------------------------------------------- */

/* The moment at which a stamp of sys_now() is older than that. */
static uint64_t older_than(u32_t stamp_ms, uint64_t age_ms)
{
    u32_t age = sys_now() - stamp_ms;
    uint64_t now_us = port.now_us - port.now_us % US_PER_MS;
    return age > age_ms ? now_us : now_us + (age_ms - age + 1) * US_PER_MS;
}

static bool has_something_to_send(const struct tcp_pcb *pcb)
{
    return pcb->unacked != NULL || pcb->unsent != NULL;
}

/* A window that is open, and too small for what is next, is filled soon (RFC 9293 3.8.6.2.1). */
static uint64_t probe_interval_ms(const struct tcp_pcb *pcb)
{
    if (pcb->snd_wnd > 0)
        return LWIP_MIN((uint64_t)pcb->rto, OVERRIDE_MS);
    return LWIP_MIN((uint64_t)pcb->rto << (pcb->persist_backoff - 1), TCP_RTO_MAX_MS);
}

static uint64_t retransmission_due(const struct tcp_pcb *pcb)
{
    if (pcb->persist_backoff > 0)
        return (uint64_t)pcb->persist_cnt + probe_interval_ms(pcb) * US_PER_MS;
    if (pcb->rtime >= 0)
        return (uint64_t)pcb->rtime + (uint64_t)pcb->rto * US_PER_MS;
    return NEVER;
}

/* RFC 5482 3, RFC 9293 3.8.3: what was sent, or waits for a window, is not acknowledged for too
 * long; or keep-alives are not answered. */
static uint64_t user_timeout_due(const struct tcp_pcb *pcb)
{
    if (pcb->timer.user_timeout_ms == 0)
        return NEVER;
    if (has_something_to_send(pcb))
        return older_than(pcb->recovery.progress_ms, pcb->timer.user_timeout_ms);
    return pcb->keep_cnt_sent > 0 ? older_than(pcb->tmr, pcb->timer.user_timeout_ms) : NEVER;
}

/* RFC 9293 3.8.4: only while nothing is under way. */
static uint64_t keepalive_due(const struct tcp_pcb *pcb)
{
    bool may = pcb->state == ESTABLISHED || pcb->state == CLOSE_WAIT ||
               (pcb->state == FIN_WAIT_2 && !pcb->timer.closed);
    if (!may || !ip_get_option(pcb, SOF_KEEPALIVE) || has_something_to_send(pcb))
        return NEVER;
    return pcb->keep_cnt_sent == 0 ? older_than(pcb->tmr, pcb->keep_idle)
                                   : pcb->timer.probed_us + (uint64_t)pcb->keep_intvl * US_PER_MS;
}

/* The end of a state that waits for the peer alone. */
static uint64_t state_due(const struct tcp_pcb *pcb)
{
    if (pcb->state != FIN_WAIT_2 || !pcb->timer.closed)
        return NEVER;
    int64_t seconds = pcb->timer.linger2_s;
    uint64_t wait_ms = seconds < 0    ? 0
                       : seconds == 0 ? TCP_FIN_WAIT_TIMEOUT
                                      : LWIP_MAX((uint64_t)seconds * 1000, 7ULL * pcb->rto / 2);
    return pcb->timer.state_us + wait_ms * US_PER_MS;
}

/* A negative TCP_LINGER2: the peer is told not to wait for its FIN. */
static bool is_cut_short(const struct tcp_pcb *pcb)
{
    return pcb->state == FIN_WAIT_2 && pcb->timer.closed && pcb->timer.linger2_s < 0;
}

static bool is_due(uint64_t moment_us)
{
    return moment_us != 0 && moment_us <= port.now_us;
}

/* All but the care of old stamps. */
static uint64_t action_due(const struct tcp_pcb *pcb)
{
    const uint64_t moments[] = {
        retransmission_due(pcb), tcp_recovery_probe_due(pcb), pcb->recovery.reordering_due_us,
        user_timeout_due(pcb),   keepalive_due(pcb),          state_due(pcb),
        pcb->timer.answer_us,    pcb->timer.push_us,
    };
    uint64_t due_us = NEVER;
    for (size_t i = 0; i < LWIP_ARRAYSIZE(moments); i++)
        if (moments[i] != 0 && moments[i] < due_us)
            due_us = moments[i];
    return due_us;
}

static uint64_t due_of(const struct tcp_pcb *pcb)
{
    return LWIP_MIN(action_due(pcb), older_than(pcb->tmr, OLDEST_MS));
}

/* --- doing it ------------------------------------------------------------------------------- */

static uint8_t retries_of(const struct tcp_pcb *pcb)
{
    if (pcb->timer.user_timeout_ms != 0)
        return UINT8_MAX; /* it is time that counts, not tries (tcp(7)) */
    if (tcp_is_orphan(pcb))
        return tcp_orphan_retries((uint64_t)pcb->rto);
    if (pcb->state > SYN_RCVD)
        return (uint8_t)tunables.tcp_retries;
    const struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    return socket != NULL && socket->options.syn_retries != 0 ? socket->options.syn_retries
                                                              : (uint8_t)tunables.tcp_syn_retries;
}

/* RFC 6298 5.4 to 5.6. False: it was sent often enough. */
static bool retransmit(struct tcp_pcb *pcb)
{
    if (!has_something_to_send(pcb)) {
        pcb->rtime = -1;
        return true;
    }
    /* A peer that answers, and has no room, is asked for ever (RFC 9293 3.8.6.1). */
    pcb->timer.probing = probes_by_retransmitting(pcb);
    if ((pcb->timer.probing ? pcb->persist_probe : pcb->nrtx) >= retries_of(pcb))
        return false;
    if (pcb->timer.probing)
        pcb->persist_probe = (u8_t)LWIP_MIN(pcb->persist_probe + 1, UINT8_MAX);
    pcb->rto = LWIP_MIN(2 * pcb->rto, (s32_t)TCP_RTO_MAX_MS);
    pcb->rtime = LWIP_TCP_TIMER_START;
    if (tcp_rexmit_rto_prepare(pcb) != ERR_OK && pcb->unacked != NULL) {
        /* It has not even left: a queue below still has it. That counts, or it might never end. */
        pcb->nrtx = (u8_t)LWIP_MIN(pcb->nrtx + 1, UINT8_MAX);
        return true;
    }
    tcpwnd_size_t half = LWIP_MIN(pcb->cwnd, pcb->snd_wnd) / 2;
    pcb->ssthresh = LWIP_MAX(hook_tcp_timeout_ssthresh(pcb, half), 2U * pcb->mss);
    pcb->cwnd = pcb->mss;
    pcb->bytes_acked = 0;
    tcp_rexmit_rto_commit(pcb);
    return true;
}

/* RFC 9293 3.8.6.1. False: the peer was asked often enough. */
static bool probe_window(struct tcp_pcb *pcb)
{
    LWIP_INPUT_CHECK("nothing to probe a window with", pcb->unsent != NULL,
                     pcb->persist_backoff = 0;
                     return true);
    if (pcb->persist_probe >= retries_of(pcb) ||
        (tcp_is_orphan(pcb) && tcp_orphan_is_stuck(pcb, probe_interval_ms(pcb))))
        return false;
    pcb->persist_cnt = LWIP_TCP_TIMER_START;
    if (pcb->snd_wnd == 0 && probe_interval_ms(pcb) < TCP_RTO_MAX_MS)
        pcb->persist_backoff++;
    /* A little room is filled; where that can't be, the peer is asked as if there were none. */
    if (pcb->snd_wnd > 0 && tcp_segment_fill_window(pcb))
        tcp_output(pcb);
    if (pcb->persist_backoff > 0)
        tcp_zero_window_probe(pcb);
    return true;
}

/* False: no answer. */
static bool keep_alive(struct tcp_pcb *pcb)
{
    if (pcb->timer.user_timeout_ms == 0 && pcb->keep_cnt_sent >= pcb->keep_cnt)
        return false;
    tcp_keepalive(pcb);
    pcb->keep_cnt_sent = (u8_t)LWIP_MIN(pcb->keep_cnt_sent + 1, UINT8_MAX);
    pcb->timer.probed_us = port.now_us;
    return true;
}

/* What is owed: an acknowledgement that was held back, a FIN there was no memory for. */
static void answer(struct tcp_pcb *pcb)
{
    pcb->timer.answer_us = 0;
    if (pcb->flags & (TF_ACK_DELAY | TF_ACK_NOW)) {
        pcb->timer.is_interactive = false; /* no data came in time */
        tcp_ack_now(pcb);
        tcp_output(pcb);
    }
    if (pcb->flags & TF_CLOSEPEND) {
        tcp_clear_flags(pcb, TF_CLOSEPEND);
        tcp_shutdown(pcb, 0, 1);
    }
    if (pcb->refused_data != NULL)
        tcp_process_refused_data(pcb);
}

static void push(struct tcp_pcb *pcb)
{
    pcb->timer.push_us = 0;
    if (is_due(pcb->timer.held_until_us))
        tcp_timer_release(pcb);
    else
        tcp_output(pcb);
    if (pcb->timer.hold != 0)
        return;
    /* Without memory, or a way to the peer: tried for as long as a segment that is lost. */
    if (pcb->unsent != NULL && pcb->unacked == NULL && pcb->persist_backoff == 0 && pcb->rtime < 0)
        pcb->rtime = LWIP_TCP_TIMER_START;
}

/* All that is due for a connection. After it the PCB may be gone. */
static void fire(struct tcp_pcb *pcb)
{
    if (!has_timers(pcb))
        return;
    tcp_timer_touch(pcb);
    observe(pcb);
    if (is_due(user_timeout_due(pcb))) {
        tcp_abandon(pcb, !has_something_to_send(pcb));
        return;
    }
    if (is_due(state_due(pcb)) ||
        (is_due(retransmission_due(pcb)) &&
         !(pcb->persist_backoff > 0 ? probe_window(pcb) : retransmit(pcb)))) {
        tcp_abandon(pcb, tcp_is_orphan(pcb) || is_cut_short(pcb));
        return;
    }
    if (is_due(keepalive_due(pcb)) && !keep_alive(pcb)) {
        tcp_abandon(pcb, 1);
        return;
    }
    if (is_due(pcb->recovery.reordering_due_us))
        tcp_recovery_reordered(pcb);
    if (is_due(tcp_recovery_probe_due(pcb)))
        tcp_recovery_probe(pcb);
    if (is_due(pcb->timer.answer_us))
        answer(pcb);
    if (is_due(pcb->timer.push_us))
        push(pcb);
    if (sys_now() - pcb->tmr > OLDEST_MS)
        pcb->tmr = sys_now() - OLD_MS;
}

/* --- setting them --------------------------------------------------------------------------- */

/* Data may have left: tell sockets that wait for it with TCP_NOTSENT_LOWAT. */
static void tell_writer(struct tcp_pcb *pcb)
{
    struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    bool writable = socket != NULL && socket->pcb == pcb && socket->phase == TCP_CONNECTED &&
                    tcp_is_writable(socket);
    if (writable && !pcb->timer.was_writable)
        socket_event(&socket->head);
    pcb->timer.was_writable = writable;
}

/* Sets the timers of those that something has happened to, none before `earliest_us`. */
static void settle(uint64_t earliest_us)
{
    struct tcp_pcb *pcb;
    while ((pcb = tcp_timer_take_touched()) != NULL) {
        struct tcp_timer *timer = &pcb->timer;
        observe(pcb);
        tcp_figures_limit(pcb);
        if (timer->watches_unsent)
            tell_writer(pcb);
        uint64_t due_us = has_timers(pcb) ? due_of(pcb) : NEVER;
        if (due_us == NEVER || (timer->link != NULL && timer->due_us <= due_us))
            continue;
        tcp_timer_heap_remove(pcb);
        timer->due_us = LWIP_MAX(due_us, earliest_us);
        tcp_timer_heap_add(pcb);
    }
}

static uint64_t time_wait_due(void)
{
    return tcp_tw_pcbs == NULL ? NEVER : older_than(tcp_tw_pcbs->tmr, 2ULL * TCP_MSL);
}

void tcp_timer_run(void)
{
    struct tcp_pcb *pcb;
    settle(0);
    while ((pcb = tcp_timer_heap_first()) != NULL && pcb->timer.due_us <= port.now_us) {
        tcp_timer_heap_remove(pcb);
        fire(pcb);
        settle(port.now_us + US_PER_MS); /* or what is due again at once would be done for ever */
    }
    while (is_due(time_wait_due())) { /* they stand in the order in which they began to wait */
        pcb = tcp_tw_pcbs;
        tcp_pcb_remove(&tcp_tw_pcbs, pcb);
        tcp_free(pcb);
    }
}

uint64_t tcp_timer_next_us(void)
{
    settle(0);
    const struct tcp_pcb *pcb = tcp_timer_heap_first();
    uint64_t due_us = pcb != NULL ? pcb->timer.due_us : NEVER;
    return LWIP_MIN(due_us, time_wait_due());
}

bool tcp_timer_acts_alone(void)
{
    settle(0);
    for (const struct tcp_pcb *pcb = tcp_active_pcbs; pcb != NULL; pcb = pcb->next)
        if (has_timers(pcb) && action_due(pcb) != NEVER)
            return true;
    return false;
}
