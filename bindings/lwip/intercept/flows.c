/*
 * The table of flows that wait for a decision, and of those met with silence.
 *
 * A flow is found by its addresses and ports: what its source sends again is no new one. Both kinds
 * stand in a queue in the order in which they are due, so that time needs no search; each queue has
 * a most, and the oldest leaves for a newer one. Anybody can send a SYN: that bounds the memory.
 */
#include "intercept/flows.h"

#include "base/counts.h"
#include "base/memory.h"
#include "base/port.h"
#include "tcp/tcp_isn.h"

enum {
    BUCKETS = 4096, /* a power of two */
    MOST_HELD = 16,
    MOST_BYTES = 65536,
    /* Longer than between two SYNs of one connection (RFC 6298 5.7: 64 s, as Linux has it). */
    SILENCE_MS = 65 * 1000,
};

static struct flow *buckets[BUCKETS];
static struct queue {
    struct flow *first, *last;
    u32_t count;
} undecided, silent;
static struct flow *next_new; /* among the undecided: the oldest that was not given out */
static u64_t last_id;
static u32_t held_bytes;

u32_t flow_place(u8_t protocol, const ip_addr_t *local, u16_t local_port, const ip_addr_t *remote,
                 u16_t remote_port)
{
    enum { TABLE = 5 };
    u64_t hash =
        sequence_hash(local, local_port, remote, remote_port, (u64_t)TABLE << 32 | protocol);
    return (u32_t)(hash & (BUCKETS - 1));
}

struct flow *flow_find(u32_t place, u8_t protocol, const ip_addr_t *local, u16_t local_port,
                       const ip_addr_t *remote, u16_t remote_port)
{
    struct flow *flow = buckets[place];
    while (flow != NULL && (flow->protocol != protocol || flow->local_port != local_port ||
                            flow->remote_port != remote_port || !ip_addr_eq(&flow->local, local) ||
                            !ip_addr_eq(&flow->remote, remote)))
        flow = flow->same_bucket;
    return flow;
}

/* Ids rise along the queue, and programs decide on old ones first. */
struct flow *flow_by_id(u64_t id)
{
    struct flow *flow = undecided.first;
    while (flow != NULL && flow->id < id)
        flow = flow->newer;
    return flow != NULL && flow->id == id ? flow : NULL;
}

struct flow *flow_waiting(void)
{
    return next_new;
}

struct flow *flow_next(void)
{
    struct flow *flow = next_new;
    if (flow != NULL)
        next_new = flow->newer;
    return flow;
}

/* --- queues ----------------------------------------------------------------------------------- */

static void enqueue(struct queue *queue, struct flow *flow)
{
    flow->older = queue->last;
    flow->newer = NULL;
    if (queue->last != NULL)
        queue->last->newer = flow;
    else
        queue->first = flow;
    queue->last = flow;
    queue->count++;
}

static void dequeue(struct flow *flow)
{
    struct queue *queue = flow->is_dropped ? &silent : &undecided;
    if (next_new == flow)
        next_new = flow->newer;
    if (flow->older != NULL)
        flow->older->newer = flow->newer;
    else
        queue->first = flow->newer;
    if (flow->newer != NULL)
        flow->newer->older = flow->older;
    else
        queue->last = flow->older;
    queue->count--;
}

static void free_held(struct flow *flow)
{
    while (flow->first != NULL) {
        struct held *held = flow->first;
        flow->first = held->next;
        pbuf_free(held->packet);
        port_free(held);
    }
    held_bytes -= flow->bytes;
    flow->last = NULL;
    flow->held = flow->bytes = 0;
}

void flow_forget(struct flow *flow)
{
    struct flow **link = &buckets[flow->place];
    while (*link != flow)
        link = &(*link)->same_bucket;
    *link = flow->same_bucket;
    dequeue(flow);
    free_held(flow);
    port_free(flow);
}

void flow_forget_all(void)
{
    while (undecided.first != NULL)
        flow_forget(undecided.first);
    while (silent.first != NULL)
        flow_forget(silent.first);
}

struct flow *flow_add(const struct flow *made, const struct flow_limits *limits)
{
    if (undecided.count >= limits->most_undecided) {
        port_counts.intercept_overflows++;
        flow_forget(undecided.first);
    }
    struct flow *flow = port_allocate(sizeof *flow);
    if (flow == NULL)
        return NULL;
    *flow = *made;
    flow->id = ++last_id;
    flow->due_us = port.now_us + (u64_t)limits->decide_ms * 1000;
    struct flow **head = &buckets[flow->place];
    flow->same_bucket = *head;
    *head = flow;
    enqueue(&undecided, flow);
    if (next_new == NULL)
        next_new = flow;
    port_counts.intercept_flows++;
    return flow;
}

bool flow_hold(struct flow *flow, const struct pbuf *packet, u16_t headers)
{
    struct held *held = NULL;
    u32_t size = packet->tot_len + (u32_t)sizeof *held;
    if (flow->held < MOST_HELD && flow->bytes + size <= MOST_BYTES + sizeof *held)
        held = port_allocate(sizeof *held);
    if (held == NULL)
        return false;
    held->packet = pbuf_clone(PBUF_RAW, PBUF_RAM, (struct pbuf *)(uintptr_t)packet);
    if (held->packet == NULL) {
        port_free(held);
        return false;
    }
    held->headers = headers;
    held->next = NULL;
    if (flow->last != NULL)
        flow->last->next = held;
    else
        flow->first = held;
    flow->last = held;
    flow->held++;
    flow->bytes += size;
    held_bytes += size;
    return true;
}

void flow_silence(struct flow *flow, const struct flow_limits *limits)
{
    free_held(flow);
    dequeue(flow);
    flow->is_dropped = true;
    enqueue(&silent, flow);
    flow->due_us = port.now_us + (u64_t)SILENCE_MS * 1000;
    if (silent.count > limits->most_undecided)
        flow_forget(silent.first);
}

void flow_stays_silent(struct flow *flow)
{
    dequeue(flow);
    enqueue(&silent, flow);
    flow->due_us = port.now_us + (u64_t)SILENCE_MS * 1000;
}

/* --- time ------------------------------------------------------------------------------------- */

u64_t flow_next_us(void)
{
    u64_t next = UINT64_MAX;
    if (undecided.first != NULL)
        next = undecided.first->due_us;
    if (silent.first != NULL)
        next = LWIP_MIN(next, silent.first->due_us);
    return next;
}

void flow_expire(void)
{
    while (undecided.first != NULL && undecided.first->due_us <= port.now_us) {
        port_counts.intercept_expired++;
        flow_forget(undecided.first);
    }
    while (silent.first != NULL && silent.first->due_us <= port.now_us)
        flow_forget(silent.first);
}

void flow_figures(struct ps_intercept_figures *out)
{
    out->undecided = undecided.count;
    out->dropped = silent.count;
    out->held_bytes = held_bytes;
}
