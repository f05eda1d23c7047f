/*
 * The segments in flight of a connection with SACK, as a search tree.
 *
 * The cost of a selective acknowledgement must not grow with the data in flight, whatever the peer
 * selects (CVE-2019-11478 and its kind). The tree is a treap ordered by sequence number; each node
 * summarises its subtree, so that a search takes a number of steps logarithmic in the segments.
 * Segments are mostly added at the end and removed from the start; both take a few steps on
 * average.
 */
#include "tcp/tcp_flight.h"

#include <stdbool.h>

#include "lwip/priv/tcp_priv.h"

/* Of the segments below a node at least one is ... */
enum { OPEN = 1, LOST = 2, AGING = 4 };

static uint32_t first_of(const struct tcp_seg *segment)
{
    return lwip_ntohl(segment->tcphdr->seqno);
}

static uint32_t end_of(const struct tcp_seg *segment)
{
    return first_of(segment) + TCP_TCPLEN(segment);
}

static uint8_t kinds_of(const struct tcp_seg *segment)
{
    if (segment->marks & SEGMENT_SACKED)
        return 0;
    return segment->marks & SEGMENT_LOST ? OPEN | LOST : OPEN | AGING;
}

/* Sums up what is below a node. Returns whether that is something else now. */
static bool sum_up(struct tcp_seg *segment)
{
    struct tcp_flight_node *node = &segment->node;
    uint8_t below = kinds_of(segment);
    uint32_t oldest_us = segment->sent_us;
    const struct tcp_seg *children[] = {node->left, node->right};
    for (int i = 0; i < 2; i++) {
        if (children[i] == NULL)
            continue;
        const struct tcp_flight_node *child = &children[i]->node;
        if (child->below & AGING &&
            (!(below & AGING) || (int32_t)(child->oldest_us - oldest_us) < 0))
            oldest_us = child->oldest_us;
        below |= child->below;
    }
    if (!(below & AGING))
        oldest_us = 0;
    if (below == node->below && oldest_us == node->oldest_us)
        return false;
    node->below = below;
    node->oldest_us = oldest_us;
    return true;
}

static void sum_up_from(struct tcp_seg *segment)
{
    while (segment != NULL && sum_up(segment))
        segment = segment->node.parent;
}

/* Where the tree holds a segment, so that something else can stand there. */
static struct tcp_seg **holder(struct tcp_pcb *pcb, const struct tcp_seg *segment)
{
    struct tcp_seg *parent = segment->node.parent;
    if (parent == NULL)
        return &pcb->recovery.flight;
    return parent->node.left == segment ? &parent->node.left : &parent->node.right;
}

/* A segment and its parent change places. */
static void rotate_up(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    struct tcp_seg *parent = segment->node.parent, *middle;
    *holder(pcb, parent) = segment;
    segment->node.parent = parent->node.parent;
    if (parent->node.left == segment) {
        middle = segment->node.right;
        parent->node.left = middle;
        segment->node.right = parent;
    } else {
        middle = segment->node.left;
        parent->node.right = middle;
        segment->node.left = parent;
    }
    if (middle != NULL)
        middle->node.parent = parent;
    parent->node.parent = segment;
    sum_up(parent);
    sum_up(segment);
}

static uint32_t next_priority(void)
{
    static uint32_t state = 0x9e3779b9; /* xorshift: no secret, it balances */
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

void tcp_flight_add(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    struct tcp_seg *at = pcb->recovery.flight, *parent = NULL;
    uint32_t first = first_of(segment);
    bool left = false;
    if (segment == pcb->unacked_last && pcb->recovery.flight_last != NULL) {
        parent = pcb->recovery.flight_last; /* has nothing to its right */
        at = NULL;
    }
    while (at != NULL) {
        parent = at;
        left = TCP_SEQ_LT(first, first_of(at));
        at = left ? at->node.left : at->node.right;
    }
    segment->marks |= SEGMENT_IN_FLIGHT;
    segment->node = (struct tcp_flight_node){.parent = parent, .priority = next_priority()};
    if (segment == pcb->unacked_last)
        pcb->recovery.flight_last = segment;
    if (parent == NULL)
        pcb->recovery.flight = segment;
    else if (left)
        parent->node.left = segment;
    else
        parent->node.right = segment;
    sum_up(segment);
    while (segment->node.parent != NULL &&
           segment->node.parent->node.priority < segment->node.priority)
        rotate_up(pcb, segment);
    sum_up_from(segment->node.parent);
}

void tcp_flight_remove(struct tcp_pcb *pcb, struct tcp_seg *segment)
{
    if (!(segment->marks & SEGMENT_IN_FLIGHT))
        return;
    struct tcp_flight_node *node = &segment->node;
    while (node->left != NULL && node->right != NULL)
        rotate_up(pcb, node->left->node.priority > node->right->node.priority ? node->left
                                                                              : node->right);
    struct tcp_seg *child = node->left != NULL ? node->left : node->right;
    *holder(pcb, segment) = child;
    if (child != NULL)
        child->node.parent = node->parent;
    sum_up_from(node->parent);
    if (pcb->recovery.flight_last == segment) {
        struct tcp_seg *last = pcb->recovery.flight;
        while (last != NULL && last->node.right != NULL)
            last = last->node.right;
        pcb->recovery.flight_last = last;
    }
    segment->marks &= (uint8_t)~SEGMENT_IN_FLIGHT;
}

void tcp_flight_changed(struct tcp_seg *segment)
{
    if (segment->marks & SEGMENT_IN_FLIGHT)
        sum_up_from(segment);
}

void tcp_flight_forget(struct tcp_pcb *pcb)
{
    for (struct tcp_seg *segment = pcb->unsent; segment != NULL; segment = segment->next)
        segment->marks &= (uint8_t)~SEGMENT_IN_FLIGHT;
    pcb->recovery.flight = pcb->recovery.flight_last = NULL;
}

/* --- searches ------------------------------------------------------------------------------- */

/* lwIP frees what is queued with a PCB that it keeps for TIME-WAIT, and asks no one. */
static struct tcp_seg *root_of(const struct tcp_pcb *pcb)
{
    return pcb->unacked != NULL ? pcb->recovery.flight : NULL;
}

static bool has(const struct tcp_seg *segment, uint8_t kind)
{
    return segment != NULL && segment->node.below & kind;
}

struct tcp_seg *tcp_flight_first_lost(const struct tcp_pcb *pcb)
{
    struct tcp_seg *at = root_of(pcb);
    if (!has(at, LOST))
        return NULL;
    for (;;) {
        if (has(at->node.left, LOST))
            at = at->node.left;
        else if (kinds_of(at) & LOST)
            return at;
        else
            at = at->node.right;
    }
}

struct tcp_seg *tcp_flight_oldest(const struct tcp_pcb *pcb)
{
    struct tcp_seg *at = root_of(pcb);
    if (!has(at, AGING))
        return NULL;
    uint32_t oldest_us = at->node.oldest_us;
    while (at != NULL) {
        struct tcp_seg *left = at->node.left;
        if (has(left, AGING) && left->node.oldest_us == oldest_us)
            at = left;
        else if (kinds_of(at) & AGING && at->sent_us == oldest_us)
            return at;
        else
            at = at->node.right;
    }
    return NULL;
}

static struct tcp_seg *open_after(struct tcp_seg *at, uint32_t number)
{
    while (has(at, OPEN)) {
        if (TCP_SEQ_GT(end_of(at), number)) {
            struct tcp_seg *found = open_after(at->node.left, number);
            if (found != NULL)
                return found;
            if (kinds_of(at) & OPEN)
                return at;
        }
        at = at->node.right;
    }
    return NULL;
}

struct tcp_seg *tcp_flight_open_after(const struct tcp_pcb *pcb, uint32_t number)
{
    return open_after(root_of(pcb), number);
}
