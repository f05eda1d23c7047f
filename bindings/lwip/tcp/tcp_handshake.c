/*
 * Handshakes that listeners have under way.
 *
 * A SYN makes no PCB: anybody can send one, and forge where it comes from. What is known of the
 * handshake stands in a small struct here, found by a hash, its timers in queues that need no
 * search; and if a listener has too many, in a SYN cookie and nowhere (tcp_syn_cookie.c). The
 * segment that completes the handshake makes the PCB, in SYN-RECEIVED, and is lwIP's from there on.
 *
 * As in Linux it is the connections that wait for accept() that count against the backlog of
 * listen(): while it is full SYNs are dropped, and so are last ACKs, whose SYN-ACK comes again.
 */
#include "tcp/tcp_handshake.h"

#include "base/counts.h"
#include "base/hooks.h"
#include "base/memory.h"
#include "base/port.h"
#include "base/tunables.h"
#include "link/address.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "tcp/tcp_isn.h"
#include "tcp/tcp_path.h"

enum {
    BUCKETS = 65536, /* a power of two */
    MOST_RETRIES = 12,
    LONGEST_WAIT_MS = 120 * 1000,
};

static struct handshake *buckets[BUCKETS];

/* Those that were answered as often wait as long, and so each queue is in order of time. */
static struct {
    struct handshake *first, *last;
} queues[MOST_RETRIES + 1];

static u64_t next_us = UINT64_MAX; /* when the first of them is due, or before */

/* --- the table -------------------------------------------------------------------------------- */

static struct handshake **bucket(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                                 u16_t remote_port)
{
    enum { TABLE = 4 };
    u64_t hash = sequence_hash(local, local_port, remote, remote_port, (u64_t)TABLE << 32);
    return &buckets[hash & (BUCKETS - 1)];
}

static struct handshake *find(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                              u16_t remote_port)
{
    struct handshake *one = *bucket(local, local_port, remote, remote_port);
    while (one != NULL && (one->remote_port != remote_port || one->local_port != local_port ||
                           !ip_addr_eq(&one->remote, remote) || !ip_addr_eq(&one->local, local)))
        one = one->same_bucket;
    return one;
}

bool handshake_exists(const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                      u16_t remote_port)
{
    return find(local, local_port, remote, remote_port) != NULL;
}

static void enqueue(struct handshake *one)
{
    u64_t wait_ms = (u64_t)tunables.tcp_rto_initial_ms << one->retries;
    one->due_us = port.now_us + LWIP_MIN(wait_ms, LONGEST_WAIT_MS) * 1000;
    next_us = LWIP_MIN(next_us, one->due_us);
    one->earlier = queues[one->retries].last;
    one->later = NULL;
    if (one->earlier != NULL)
        one->earlier->later = one;
    else
        queues[one->retries].first = one;
    queues[one->retries].last = one;
}

static void dequeue(struct handshake *one)
{
    if (one->earlier != NULL)
        one->earlier->later = one->later;
    else
        queues[one->retries].first = one->later;
    if (one->later != NULL)
        one->later->earlier = one->earlier;
    else
        queues[one->retries].last = one->earlier;
}

static void forget(struct handshake *one)
{
    struct handshake **link = bucket(&one->local, one->local_port, &one->remote, one->remote_port);
    while (*link != one)
        link = &(*link)->same_bucket;
    *link = one->same_bucket;
    dequeue(one);
    one->listener->embryos--;
    if (one->child != NULL)
        one->child->shaking = NULL;
    port_free(one);
}

/* It came to nothing. */
static void fail(struct handshake *one, int error)
{
    struct tcp_socket *child = one->child;
    MIB2_STATS_INC(mib2.tcpattemptfails);
    forget(one);
    if (child == NULL)
        return;
    tcp_socket_over(child);
    socket_fail(&child->head, error);
}

int handshake_at(size_t position, struct ps_connection *out)
{
    /* A listing asks for 0, 1, 2 ... under one hold of the lock: go on from the last one. */
    static size_t next_position;
    static const struct handshake *next;
    static int retries;
    if (position == 0 || position != next_position) {
        next_position = 0;
        retries = 0;
        next = queues[0].first;
    }
    for (;;) {
        while (next == NULL) {
            if (++retries > MOST_RETRIES)
                return 0;
            next = queues[retries].first;
        }
        const struct handshake *one = next;
        next = one->later;
        if (one->child != NULL || next_position++ < position) /* a socket shows it */
            continue;
        enum ps_family family = IP_IS_V6_VAL(one->local) ? PS_INET6 : PS_INET;
        *out = (struct ps_connection){
            .handle = -1,
            .protocol = IP_PROTO_TCP,
            .type = PS_STREAM,
            .state = PS_TCP_SYN_RECEIVED,
        };
        address_from_lwip(&one->local, one->local_port, family, &out->local);
        address_from_lwip(&one->remote, one->remote_port, family, &out->remote);
        return 1;
    }
}

/* --- what is sent ----------------------------------------------------------------------------- */

static void send_again(struct handshake *one)
{
    one->is_timed = false;
    MIB2_STATS_INC(mib2.tcpretranssegs);
    handshake_send(one, true, sys_now());
}

/* TCP_DEFER_ACCEPT: for so many timeouts an ACK alone makes no connection. */
static u8_t defer_retries(const struct handshake *one)
{
    return (u8_t)LWIP_MIN(one->listener->defer_retries, MOST_RETRIES);
}

/* Whether it was answered often enough. While a listener waits for data the peer, which has
 * acknowledged, is asked nothing; in the end its ACK is asked for again, and will do (Linux). */
static bool is_over(const struct handshake *one)
{
    return one->retries >= tunables.tcp_syn_ack_retries &&
           (!one->has_ack || one->retries >= defer_retries(one) || one->retries >= MOST_RETRIES);
}

u64_t handshake_next_us(void)
{
    return next_us;
}

void handshake_run(void)
{
    if (port.now_us < next_us)
        return;
    next_us = UINT64_MAX;
    /* From the last queue on: none is met twice. */
    for (int retries = MOST_RETRIES; retries >= 0; retries--) {
        struct handshake *one;
        while ((one = queues[retries].first) != NULL && one->due_us <= port.now_us) {
            if (is_over(one)) {
                fail(one, ETIMEDOUT);
                continue;
            }
            bool quiet = one->has_ack && one->retries + 1 < defer_retries(one);
            dequeue(one);
            one->retries++;
            enqueue(one);
            if (!quiet)
                send_again(one);
        }
        if (one != NULL)
            next_us = LWIP_MIN(next_us, one->due_us);
    }
}

static bool may_refuse(struct handshake *one)
{
    return hook_tcp_may_refuse(&one->refused_ms, &one->refused);
}

/* --- what comes ------------------------------------------------------------------------------- */

static void read_options(const u8_t *bytes, size_t size, struct handshake_segment *segment)
{
    u32_t words[2];
    for (size_t at = 0; at < size && bytes[at] != LWIP_TCP_OPT_EOL;) {
        if (bytes[at] == LWIP_TCP_OPT_NOP) {
            at++;
            continue;
        }
        size_t length = at + 1 < size ? bytes[at + 1] : 0;
        if (length < 2 || at + length > size)
            return;
        const u8_t *value = bytes + at + 2;
        if (bytes[at] == LWIP_TCP_OPT_MSS && length == LWIP_TCP_OPT_LEN_MSS) {
            segment->mss = (u16_t)(value[0] << 8 | value[1]);
        } else if (bytes[at] == LWIP_TCP_OPT_WS && length == LWIP_TCP_OPT_LEN_WS) {
            segment->scale = LWIP_MIN(value[0], 14); /* RFC 7323 2.3 */
        } else if (bytes[at] == LWIP_TCP_OPT_SACK_PERM && length == LWIP_TCP_OPT_LEN_SACK_PERM) {
            segment->has_sack = true;
        } else if (bytes[at] == LWIP_TCP_OPT_TS && length == LWIP_TCP_OPT_LEN_TS) {
            memcpy(words, value, sizeof words);
            segment->has_timestamp = true;
            segment->tsval = lwip_ntohl(words[0]);
            segment->tsecr = lwip_ntohl(words[1]);
        }
        at += length;
    }
}

static void reset(const struct handshake_segment *segment)
{
    tcp_rst_reply(NULL, ip_data.current_input_netif, segment->flags, segment->seqno, segment->ackno,
                  segment->length, &segment->local, &segment->remote, segment->local_port,
                  segment->remote_port);
}

/* As if its last ACK had come. */
static void refuse(const struct handshake *one)
{
    struct netif *netif = handshake_way(one);
    if (netif != NULL)
        tcp_rst_reply(NULL, netif, TCP_ACK, one->theirs + 1, one->ours + 1, 0, &one->local,
                      &one->remote, one->local_port, one->remote_port);
}

void handshake_reset_all(struct tcp_socket *listener)
{
    for (int retries = 0; retries <= MOST_RETRIES && listener->embryos > 0; retries++) {
        struct handshake *next;
        for (struct handshake *one = queues[retries].first; one != NULL; one = next) {
            next = one->later;
            if (one->listener != listener)
                continue;
            refuse(one);
            forget(one);
        }
    }
}

static u16_t peer_mss(const struct handshake_segment *segment)
{
    return segment->mss != 0 ? segment->mss : tcp_path_unsaid_mss(&segment->remote);
}

static struct handshake handshake_of(struct tcp_socket *listener, struct tcp_socket *child,
                                     const struct handshake_segment *segment)
{
    struct handshake one = {
        .listener = listener,
        .child = child,
        .local = segment->local,
        .remote = segment->remote,
        .local_port = segment->local_port,
        .remote_port = segment->remote_port,
        .theirs = segment->seqno,
        .window = tcp_window_most(child != NULL ? child : listener),
        .answered_us = (u32_t)port.now_us,
        .mss = peer_mss(segment),
        .peer_window = segment->window,
        .scale = tunables.tcp_window_scaling ? segment->scale : NO_SCALE,
        .has_sack = tunables.tcp_sack && segment->has_sack,
        .has_timestamp = tunables.tcp_timestamps && segment->has_timestamp,
        .tsrecent = segment->tsval,
    };
    one.own_scale = one.scale == NO_SCALE ? NO_SCALE : TCP_RCV_SCALE;
    return one;
}

/* Enters a handshake into the table, and answers. */
static void begin(struct handshake *kept)
{
    struct handshake **head =
        bucket(&kept->local, kept->local_port, &kept->remote, kept->remote_port);
    kept->ours =
        hook_tcp_sequence(&kept->local, kept->local_port, &kept->remote, kept->remote_port);
    kept->is_timed = true;
    kept->same_bucket = *head;
    *head = kept;
    kept->listener->embryos++;
    enqueue(kept);
    handshake_send(kept, true, sys_now());
}

int handshake_answer(struct tcp_socket *listener, struct tcp_socket *child,
                     const struct handshake_segment *segment)
{
    struct handshake *kept = port_allocate(sizeof *kept);
    if (kept == NULL)
        return -ENOMEM;
    *kept = handshake_of(listener, child, segment);
    child->shaking = kept;
    begin(kept);
    return 0;
}

void handshake_abandon(struct tcp_socket *child)
{
    struct handshake *one = child->shaking;
    refuse(one);
    MIB2_STATS_INC(mib2.tcpattemptfails);
    forget(one);
}

void handshake_refuse(const struct handshake_segment *segment)
{
    struct netif *netif = ip_route(&segment->local, &segment->remote);
    if (netif != NULL)
        tcp_rst_reply(NULL, netif, segment->flags, segment->seqno, segment->ackno, segment->length,
                      &segment->local, &segment->remote, segment->local_port, segment->remote_port);
}

/* A new connection is asked for. */
static void on_syn(struct tcp_socket *listener, const struct handshake_segment *segment)
{
    /* From ourselves: had we sent it, a connection would have been found. */
    if (segment->local_port == segment->remote_port &&
        ip_addr_eq(&segment->local, &segment->remote))
        return;
    if (tcp_listener_is_full(listener)) {
        port_counts.listen_overflows++;
        port_counts.listen_drops++;
        return;
    }
    struct handshake one = handshake_of(listener, NULL, segment);
    struct handshake *kept = NULL;
    if (tunables.tcp_syn_cookies < 2 && listener->embryos < (u32_t)tunables.tcp_syn_backlog)
        kept = port_allocate(sizeof *kept);
    if (kept != NULL) {
        *kept = one;
        begin(kept);
    } else if (tunables.tcp_syn_cookies) {
        u32_t bits, clock = sys_now();
        if (!one.has_timestamp)
            one.has_sack = false, one.scale = NO_SCALE; /* nowhere to keep them */
        one.ours = cookie_make(&one, &bits);
        clock = (clock & ~(u32_t)COOKIE_TSVAL_BITS) | bits;
        if ((s32_t)(clock - sys_now()) > 0)
            clock -= COOKIE_TSVAL_BITS + 1; /* timestamps do not go backwards */
        handshake_send(&one, true, clock);
    } else {
        port_counts.listen_drops++;
    }
}

/* The PCB of a handshake whose last ACK is there, in SYN-RECEIVED, its SYN-ACK sent. */
static struct tcp_pcb *make_pcb(struct tcp_pcb_listen *listening, const struct handshake *one)
{
    struct tcp_socket *listener = listening->ext_args[OWNER].data;
    struct tcp_pcb *pcb = tcp_alloc(listening->prio);
    if (pcb == NULL)
        return NULL;
    if (one->child != NULL)
        tcp_own(one->child, pcb);
    else
        tcp_ext_arg_set(pcb, OWNER, listener); /* which knows the window, until on_accept() */
    ip_addr_copy(pcb->local_ip, one->local);
    ip_addr_copy(pcb->remote_ip, one->remote);
    pcb->local_port = one->local_port;
    pcb->remote_port = one->remote_port;
    pcb->state = SYN_RCVD;
    pcb->listener = listening;
    pcb->callback_arg = listener;
    if (one->child != NULL)
        tcp_callbacks(one->child);
    pcb->so_options = listening->so_options & SOF_INHERITED;
    pcb->netif_idx = listening->netif_idx;
    if (one->has_sack)
        tcp_set_flags(pcb, TF_SACK);
    if (one->has_timestamp)
        tcp_set_flags(pcb, TF_TIMESTAMP);
    if (one->scale != NO_SCALE) {
        tcp_set_flags(pcb, TF_WND_SCALE);
        pcb->snd_scale = one->scale;
        pcb->rcv_scale = one->own_scale;
    }
    pcb->ts_recent = one->tsrecent;
    pcb->ts_lastacksent = pcb->rcv_nxt = one->theirs + 1;
    pcb->rcv_wnd = pcb->rcv_ann_wnd = TCP_WND_MAX(pcb);
    pcb->rcv_ann_right_edge = pcb->rcv_nxt + LWIP_MIN(one->window, 0xffff);
    pcb->lastack = pcb->snd_wl2 = one->ours;
    pcb->snd_nxt = pcb->snd_lbb = one->ours + 1;
    pcb->snd_wl1 = one->theirs - 1; /* the next segment's window counts */
    pcb->snd_wnd = pcb->snd_wnd_max = one->peer_window;
    pcb->mss = hook_tcp_peer_mss(pcb, one->mss);
    hook_tcp_path(pcb, tcp_path_route(pcb));
    pcb->nrtx = one->retries;
    if (one->is_timed)
        tcp_round_trip(pcb, (u32_t)port.now_us - one->answered_us);
    TCP_REG_ACTIVE(pcb);
    MIB2_STATS_INC(mib2.tcppassiveopens);
    return pcb;
}

static bool is_in_window(const struct handshake *one, const struct handshake_segment *segment)
{
    u32_t first = one->theirs + 1, edge = first + LWIP_MIN(one->window, 0xffff);
    if (segment->seqno == first)
        return true;
    if (segment->length == 0)
        return TCP_SEQ_GT(segment->seqno, first) && TCP_SEQ_LT(segment->seqno, edge);
    return TCP_SEQ_LT(segment->seqno, edge) && TCP_SEQ_GT(segment->seqno + segment->length, first);
}

/* The last ACK is there: with room for the connection it gets its PCB. */
static struct tcp_pcb *complete(struct handshake *one, const struct handshake_segment *segment)
{
    struct tcp_socket *listener = one->listener;
    struct tcp_pcb_listen *listening = (struct tcp_pcb_listen *)listener->pcb;
    struct tcp_pcb *pcb = NULL;
    if (!tcp_listener_is_full(listener)) {
        pcb = make_pcb(listening, one);
    } else {
        port_counts.listen_overflows++;
        if (tunables.tcp_abort_on_overflow)
            reset(segment);
    }
    if (pcb == NULL)
        port_counts.listen_drops++;
    if (pcb != NULL || (tcp_listener_is_full(listener) && tunables.tcp_abort_on_overflow))
        forget(one);
    return pcb;
}

/* RFC 9293 3.10.7.4 in SYN-RECEIVED after a passive open, RFC 5961 3.2, RFC 7323 5.3. */
static struct tcp_pcb *on_segment(struct handshake *one, const struct handshake_segment *segment)
{
    u8_t flags = segment->flags & (TCP_SYN | TCP_ACK | TCP_RST);
    bool is_old =
        segment->has_timestamp && one->has_timestamp && TCP_SEQ_LT(segment->tsval, one->tsrecent);
    if (flags == TCP_SYN && segment->seqno == one->theirs && !is_old) {
        if (may_refuse(one)) /* our answer was lost */
            send_again(one);
    } else if (flags & TCP_RST) {
        if (segment->seqno == one->theirs + 1) {
            fail(one, ECONNRESET);
        } else if (is_in_window(one, segment) && may_refuse(one)) {
            handshake_send(one, false, sys_now());
        }
    } else if (is_old || !is_in_window(one, segment)) {
        if (may_refuse(one))
            handshake_send(one, false, sys_now());
    } else if (flags & TCP_SYN) {
        fail(one, ECONNRESET); /* back to LISTEN; the SYN comes again */
    } else if (flags & TCP_ACK) {
        if (segment->ackno == one->ours + 1) {
            if (segment->length == 0 && one->retries < defer_retries(one)) {
                one->has_ack = true;
                return NULL;
            }
            return complete(one, segment);
        }
        reset(segment);
    }
    return NULL;
}

/* Listeners that share an address (SO_REUSEPORT) take turns. lwIP takes the first in its list;
 * of wildcards the last, which it has moved to the front by now. */
static void take_turns(struct tcp_pcb_listen *listening)
{
    struct tcp_pcb *pcb = (struct tcp_pcb *)listening;
    const struct tcp_socket *socket = pcb->ext_args[OWNER].data;
    if (socket == NULL || !socket->head.options.reuse_port || pcb->next == NULL ||
        IP_IS_ANY_TYPE_VAL(pcb->local_ip) || ip_addr_isany(&pcb->local_ip))
        return;
    TCP_RMV(&tcp_listen_pcbs.pcbs, pcb);
    struct tcp_pcb *last = tcp_listen_pcbs.pcbs;
    while (last->next != NULL)
        last = last->next;
    last->next = pcb;
    pcb->list_link = &last->next;
}

struct tcp_pcb *hook_tcp_handshake(struct tcp_pcb_listen *listening, const struct tcp_hdr *header,
                                   u16_t length, const u8_t *options, u16_t size,
                                   const u8_t *options2, u16_t size2)
{
    struct tcp_socket *listener = listening->ext_args[OWNER].data;
    u8_t bytes[40]; /* what a header has room for */
    struct handshake_segment segment = {
        .local = *ip_current_dest_addr(),
        .remote = *ip_current_src_addr(),
        .local_port = header->dest,
        .remote_port = header->src,
        .seqno = header->seqno,
        .ackno = header->ackno,
        .length = length,
        .window = header->wnd,
        .flags = TCPH_FLAGS(header),
        .scale = NO_SCALE,
    };
    memcpy(bytes, options, size);
    if (hook_tcp_minds_hops && tcp_comes_too_far(listener))
        return NULL;
    if (size2 > 0)
        memcpy(bytes + size, options2, size2);
    read_options(bytes, (size_t)size + size2, &segment);
    struct handshake made,
        *one = find(&segment.local, segment.local_port, &segment.remote, segment.remote_port);
    if (one != NULL)
        return on_segment(one, &segment);
    if (listener->take != NULL) {
        listener->take(&segment);
        return NULL;
    }
    if (segment.flags & TCP_RST)
        return NULL;
    if (segment.flags & TCP_ACK) {
        if (segment.flags & TCP_SYN || !cookie_check(&segment, &made)) {
            reset(&segment);
            return NULL;
        }
        if (tcp_listener_is_full(listener)) {
            port_counts.listen_overflows++;
            port_counts.listen_drops++;
            return NULL;
        }
        made.window = tcp_window_most(listener);
        return make_pcb(listening, &made);
    }
    if (segment.flags & TCP_SYN) {
        take_turns(listening);
        on_syn(listener, &segment);
    }
    return NULL;
}
