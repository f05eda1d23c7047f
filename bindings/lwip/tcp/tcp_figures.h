/*
 * What is counted of a connection for TCP_INFO. lwIP's configuration includes this, for lwIP's own
 * struct holds it: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_FIGURES_H
#define PYSTACK_LWIP_TCP_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

struct pbuf;
struct tcp_pcb;
struct tcp_seg;

/* What keeps a connection from sending. Busy: nothing but the path. */
enum tcp_limit { TCP_LIMIT_NONE, TCP_LIMIT_PATH, TCP_LIMIT_WINDOW, TCP_LIMIT_BUFFER, TCP_LIMITS };

struct tcp_figures {
    uint64_t bytes_sent, bytes_again; /* the first with what was sent again */
    uint64_t limited_us[TCP_LIMITS];  /* but for the present limit, */
    uint64_t limit_since_us;          /* which is since then */
    uint64_t data_sent_us, data_received_us, ack_received_us;
    uint32_t segments_out, data_segments_out, segments_again;
    uint32_t segments_in, data_segments_in, out_of_order;
    uint32_t delivered, came_twice; /* segments; reports of the peer's (RFC 2883) */
    uint32_t overtaken, farthest;   /* segments that came late, and by how many at most */
    uint32_t timeouts, series;      /* and how many of them were the first of several */
    uint8_t limit;                  /* enum tcp_limit */
    bool wants_room;                /* the user has more than the buffer has room for */
};

#define LWIP_TCP_PCB_FIGURES struct tcp_figures figures;
#define LWIP_HOOK_TCP_CONTROL_SENT(pcb) hook_tcp_control_sent(pcb)

void hook_tcp_control_sent(const struct tcp_pcb *pcb);
/* A segment has come for a connection. */
void tcp_figures_received(struct tcp_pcb *pcb, const struct pbuf *segment);
/* A segment with data, so many on the wire, goes out, perhaps again. */
void tcp_figures_sent(struct tcp_pcb *pcb, uint32_t bytes, uint32_t pieces, bool again);
/* A segment arrived after one whose end lies so much farther. */
void tcp_figures_late(struct tcp_pcb *pcb, uint32_t bytes);
/* Something may have changed what keeps it from sending. */
void tcp_figures_limit(struct tcp_pcb *pcb);

#endif
