/*
 * Segments that are longer than the path takes, for an interface whose far end cuts them (TCP
 * segmentation offload, GSO). lwIP's configuration includes this: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_SEGMENT_H
#define PYSTACK_LWIP_TCP_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

struct netif;
struct tcp_pcb;
struct tcp_seg;

/* What a segment of `tcp_write` may hold, options included; `usual` is lwIP's own answer. */
uint16_t hook_tcp_write_size(struct tcp_pcb *pcb, uint16_t usual, uint16_t length);
/* The next unsent segment, of which no more is left than may go within a window of `window` bytes
 * from the first unacknowledged one on; NULL: there is none. */
struct tcp_seg *hook_tcp_next(struct tcp_pcb *pcb, struct netif *netif, uint32_t window);
/* Cuts off what an acknowledgement of a segment's first part is about. Returns how much it was. */
uint16_t hook_tcp_partly_acked(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t ack);
void hook_tcp_cut_first(struct tcp_pcb *pcb);

#define LWIP_HOOK_TCP_WRITE_SIZE(pcb, usual, length) hook_tcp_write_size(pcb, usual, length)
#define LWIP_HOOK_TCP_NEXT(pcb, netif, window) hook_tcp_next(pcb, netif, window)
#define LWIP_HOOK_TCP_PARTLY_ACKED(pcb, seg, ack) hook_tcp_partly_acked(pcb, seg, ack)
#define LWIP_HOOK_TCP_CUT_FIRST(pcb) hook_tcp_cut_first(pcb)

/* A packet that is to be cut says into what; 0: it goes as it is. */
#define LWIP_PBUF_CUSTOM_DATA uint16_t segment_size;
#define LWIP_PBUF_CUSTOM_DATA_INIT(p) ((p)->segment_size = 0)
#define LWIP_HOOK_IP_IS_CUT_LATER(p) ((p)->segment_size != 0)

/* How much one segment of a large write may hold. */
uint16_t tcp_segment_longest(struct tcp_pcb *pcb);
/* A segment is about to be sent. */
void tcp_segment_mark(const struct tcp_pcb *pcb, struct tcp_seg *segment, struct netif *netif);
/* How many the wire sees of it. */
uint32_t tcp_segment_pieces(const struct tcp_seg *segment);
/* Leaves no more than `size` bytes of a segment on a queue, or one piece, if that is longer; where
 * nothing behind the interface cuts it, one piece. The rest follows in a separate one. Without
 * memory for that it stays as it is. */
void tcp_segment_fit(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t size);
/* Cuts a segment that was sent where the wire's far end has cut it. False: it has not, or there
 * is no memory. */
bool tcp_segment_split(struct tcp_pcb *pcb, struct tcp_seg *segment, uint32_t size);
/* Cuts the first unsent segment to what the peer's window has room for. False: that can't be. */
bool tcp_segment_fill_window(struct tcp_pcb *pcb);
/* Makes the last segment in flight one piece long at most. */
void tcp_segment_cut_last(struct tcp_pcb *pcb);
/* How much of the congestion window may be left unused for want of room for a whole segment. */
uint32_t tcp_segment_slack(const struct tcp_pcb *pcb);

#endif
