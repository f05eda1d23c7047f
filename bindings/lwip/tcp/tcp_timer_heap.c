/*
 * Connections by the moment at which something is due for them: a pairing heap, whose links are in
 * the PCBs, so that a timer can always be set. Adding one is O(1), taking one out O(log n) on
 * average.
 */
#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_timer.h"

static struct tcp_pcb *root;

/* Of two heaps one: the later root becomes the earlier one's first child. */
static struct tcp_pcb *joined(struct tcp_pcb *one, struct tcp_pcb *other)
{
    if (one == NULL || other == NULL)
        return one != NULL ? one : other;
    if (other->timer.due_us < one->timer.due_us) {
        struct tcp_pcb *later = one;
        one = other;
        other = later;
    }
    other->timer.sibling = one->timer.child;
    if (other->timer.sibling != NULL)
        other->timer.sibling->timer.link = &other->timer.sibling;
    other->timer.link = &one->timer.child;
    one->timer.child = other;
    one->timer.sibling = NULL;
    return one;
}

/* Siblings as one heap: in pairs from the left, and those from the right. */
static struct tcp_pcb *gathered(struct tcp_pcb *first)
{
    struct tcp_pcb *pairs = NULL, *whole = NULL;
    while (first != NULL) {
        struct tcp_pcb *second = first->timer.sibling;
        struct tcp_pcb *rest = second != NULL ? second->timer.sibling : NULL;
        struct tcp_pcb *pair = joined(first, second);
        pair->timer.sibling = pairs;
        pairs = pair;
        first = rest;
    }
    while (pairs != NULL) {
        struct tcp_pcb *rest = pairs->timer.sibling;
        whole = joined(whole, pairs);
        pairs = rest;
    }
    return whole;
}

static void set_root(struct tcp_pcb *pcb)
{
    root = pcb;
    if (root != NULL) {
        root->timer.sibling = NULL;
        root->timer.link = &root;
    }
}

struct tcp_pcb *tcp_timer_heap_first(void)
{
    return root;
}

void tcp_timer_heap_add(struct tcp_pcb *pcb)
{
    pcb->timer.child = pcb->timer.sibling = NULL;
    set_root(joined(root, pcb));
}

void tcp_timer_heap_remove(struct tcp_pcb *pcb)
{
    struct tcp_timer *timer = &pcb->timer;
    if (timer->link == NULL)
        return;
    struct tcp_pcb *below = gathered(timer->child);
    if (pcb == root) {
        set_root(below);
    } else {
        *timer->link = timer->sibling;
        if (timer->sibling != NULL)
            timer->sibling->timer.link = timer->link;
        set_root(joined(root, below));
    }
    timer->child = timer->sibling = NULL;
    timer->link = NULL;
}
