/*
 * Data that came before its turn (RFC 9293 3.10.7.4, RFC 2018, RFC 2883, RFC 5681 4.2).
 *
 * Each byte lies where the stream has it: sequence space is cut into blocks of one size, a block is
 * made when the first byte of it comes, and a bit says of each byte whether it is there. So what is
 * held is bounded by the window, whatever it came in: by 1.25 bytes of memory a byte of window,
 * where a list of segments, or a tree of intervals, costs what the peer makes it cost. Two segments
 * that touch are one by that alone, and nothing that was taken is ever given up again.
 *
 * A segment costs its own length, and that of the run it joins, of which 64 KiB are one step.
 */
#include "tcp/tcp_reassembly.h"

#include "lwip/nd6.h"
#include "lwip/priv/tcp_priv.h"
#include "tcp/tcp_blocks.h"

/* --- blocks of the SACK option -------------------------------------------------------------- */

#define MOST_SACKS LWIP_TCP_MAX_SACK_NUM

/* The block that the latest segment is in comes first (RFC 2018 4). */
static void sack_put_first(struct tcp_pcb *pcb, u32_t left, u32_t right)
{
    struct tcp_sack_range kept[MOST_SACKS] = {{left, right}};
    size_t count = 1;
    for (size_t i = 0; i < MOST_SACKS && count < MOST_SACKS; i++) {
        const struct tcp_sack_range *old = &pcb->rcv_sacks[i];
        if (old->left != old->right &&
            (TCP_SEQ_LT(old->right, left) || TCP_SEQ_GT(old->left, right)))
            kept[count++] = *old;
    }
    memcpy(pcb->rcv_sacks, kept, sizeof kept);
}

/* Drops SACK blocks that the cumulative acknowledgement covers. */
static void sack_drop_known(struct tcp_pcb *pcb)
{
    struct tcp_sack_range kept[MOST_SACKS] = {{0}};
    size_t count = 0;
    for (size_t i = 0; i < MOST_SACKS; i++)
        if (pcb->rcv_sacks[i].left != pcb->rcv_sacks[i].right &&
            TCP_SEQ_GT(pcb->rcv_sacks[i].left, pcb->rcv_nxt))
            kept[count++] = pcb->rcv_sacks[i];
    memcpy(pcb->rcv_sacks, kept, sizeof kept);
}

/* RFC 2883 4: the first run of bytes that came again. */
static void tell_twice(struct tcp_pcb *pcb, u32_t left, u32_t right)
{
    if (!(pcb->flags & TF_SACK))
        return;
    pcb->dsack.left = left;
    pcb->dsack.right = right;
}

static void find_twice(struct tcp_pcb *pcb, u32_t left, u32_t right, bool fin)
{
    const struct tcp_reassembly *held = &pcb->reassembly;
    u32_t from = blocks_next(held->table, left, right, true);
    u32_t to = blocks_next(held->table, from, right, false);
    if (to == right && fin && held->has_fin && held->fin == right)
        to++; /* it has a number, too */
    if (from != to)
        tell_twice(pcb, from, to);
}

/* --- what of a segment is taken ------------------------------------------------------------- */

/* Leaves the first buffer where it is, empty: the header is in it. */
static void cut_front(struct pbuf *p, u32_t size)
{
    for (; p != NULL && size > 0; p = p->next) {
        u16_t part = (u16_t)LWIP_MIN(size, p->len);
        p->payload = (u8_t *)p->payload + part;
        p->len = (u16_t)(p->len - part);
        p->tot_len = (u16_t)(p->tot_len - size);
        size -= part;
    }
}

static void cut_back(struct pbuf *p, u32_t size)
{
    if (size < p->tot_len)
        pbuf_realloc(p, (u16_t)size);
}

/* --- out of order ---------------------------------------------------------------------------- */

static void hold(struct tcp_pcb *pcb, const struct pbuf *p, u32_t left, u32_t right, bool fin)
{
    struct tcp_reassembly *held = &pcb->reassembly;
    find_twice(pcb, left, right, fin);
    /* Without memory for all of it, what there is room for: the peer sends the rest again. */
    u32_t end = left != right ? blocks_put(&held->table, pcb->rcv_nxt, p, left, right) : right;
    if (fin && end == right && !held->has_fin && !blocks_reach_past(held->table, right)) {
        held->has_fin = true;
        held->fin = right;
    }
    u32_t first = blocks_run_begin(held->table, left, pcb->rcv_nxt);
    u32_t last = blocks_run_end(held->table, left);
    if (held->has_fin && held->fin == last)
        last++;
    if (first != last && (pcb->flags & TF_SACK))
        sack_put_first(pcb, first, last);
}

/* --- in order --------------------------------------------------------------------------------- */

static void window_used(struct tcp_pcb *pcb, u32_t size)
{
    pcb->rcv_nxt += size;
    pcb->rcv_wnd -= LWIP_MIN(size, pcb->rcv_wnd); /* less, if a smaller buffer was set meanwhile */
}

/* The buffer of a segment that was `came` bytes long, for the reader: a copy, if of much only
 * little is left, which is not to keep the memory of all. */
static struct pbuf *for_reader(struct pbuf **segment, u32_t came)
{
    struct pbuf *p = *segment, *copy = NULL;
    if (p->tot_len < came / 2)
        copy = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
    if (copy != NULL)
        return copy;
    *segment = NULL;
    return p;
}

/* The gap in front of the held data is filled. Returns whether the stream is complete. */
static bool advance(struct tcp_pcb *pcb, u32_t size, bool fin, struct pbuf **in_order)
{
    struct tcp_reassembly *held = &pcb->reassembly;
    window_used(pcb, size);
    if (held->table != NULL && !fin) {
        blocks_discard(&held->table, pcb->rcv_nxt - size, pcb->rcv_nxt);
        struct pbuf **end = in_order;
        while (*end != NULL)
            end = &(*end)->next;
        window_used(pcb, blocks_take(&held->table, pcb->rcv_nxt, end));
    }
    if (!fin && !(held->has_fin && held->fin == pcb->rcv_nxt))
        return false;
    window_used(pcb, 1);
    tcp_reassembly_forget(pcb);
    return true;
}

static void acknowledge(struct tcp_pcb *pcb, u32_t size, bool filled)
{
    bool told = pcb->dsack.left != pcb->dsack.right || LWIP_TCP_SACK_VALID(pcb, 0);
    if (told)
        tcp_send_empty_ack(pcb); /* data that goes the other way has no blocks with it */
    else if (filled)
        tcp_ack_now(pcb); /* RFC 5681 4.2 */
    else
        tcp_ack(pcb, size);
}

bool hook_tcp_data(struct tcp_pcb *pcb, struct pbuf **segment, uint32_t sequence, bool fin,
                   uint32_t edge, struct pbuf **in_order)
{
    struct tcp_reassembly *held = &pcb->reassembly;
    struct pbuf *p = *segment;
    u32_t came = p->tot_len, left = sequence, right = sequence + came;
    if (TCP_SEQ_LT(left, pcb->rcv_nxt)) {
        u32_t known = TCP_SEQ_LT(right, pcb->rcv_nxt) ? right : pcb->rcv_nxt;
        if (known != left)
            tell_twice(pcb, left, known);
        cut_front(p, known - left);
        left = pcb->rcv_nxt;
        if (TCP_SEQ_LT(right, left)) { /* a FIN that is known, too */
            right = left;
            fin = false;
        }
    }
    if (held->has_fin && TCP_SEQ_GT(right, held->fin)) {
        right = held->fin; /* nothing comes behind it */
        fin = true;
    }
    if (TCP_SEQ_GEQ(right, edge)) {
        fin = fin && TCP_SEQ_GT(edge, right);
        right = edge;
    }
    if (TCP_SEQ_LT(right, left) || (right == left && !fin)) {
        tcp_send_empty_ack(pcb);
        return false;
    }
    cut_back(p, right - left);
    if (left != pcb->rcv_nxt) {
        hold(pcb, p, left, right, fin);
        pcb->figures.out_of_order++;
        tcp_send_empty_ack(pcb);
        return false;
    }

    bool filled = held->table != NULL || held->has_fin;
    if (filled && pcb->dsack.left == pcb->dsack.right)
        find_twice(pcb, left, right, fin);
    if (right != left)
        *in_order = for_reader(segment, came);
    bool ended = advance(pcb, right - left, fin, in_order);
    tcp_update_rcv_ann_wnd(pcb);
    if (!ended) { /* a FIN is acknowledged anyway */
        sack_drop_known(pcb);
        acknowledge(pcb, pcb->rcv_nxt - left, filled);
    }
    if (ip_current_is_v6())
        nd6_reachability_hint(ip6_current_src_addr());
    return ended;
}

void tcp_reassembly_forget(struct tcp_pcb *pcb)
{
    blocks_free(&pcb->reassembly.table);
    pcb->reassembly.has_fin = false;
    memset(pcb->rcv_sacks, 0, sizeof pcb->rcv_sacks);
}
