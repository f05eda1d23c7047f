/*
 * Data that came before its turn. lwIP's configuration includes this, for lwIP's own struct of a
 * connection holds it: plain C types only.
 */
#ifndef PYSTACK_LWIP_TCP_REASSEMBLY_H
#define PYSTACK_LWIP_TCP_REASSEMBLY_H

#include <stdbool.h>
#include <stdint.h>

struct pbuf;
struct tcp_pcb;

struct tcp_reassembly {
    struct tcp_blocks *table; /* NULL: no data is held */
    bool has_fin;             /* the FIN has come, at `fin` */
    uint32_t fin;
};

#define LWIP_TCP_PCB_REASSEMBLY struct tcp_reassembly reassembly;

/* A segment in the window whose data, if any, begins at `sequence`; nothing at or after `edge` is
 * taken. Data that is in order now goes to `in_order`, with the segment's own buffer if it is part
 * of it; the rest is held. True: the stream is complete, up to the FIN. */
bool hook_tcp_data(struct tcp_pcb *pcb, struct pbuf **segment, uint32_t sequence, bool fin,
                   uint32_t edge, struct pbuf **in_order);
#define LWIP_HOOK_TCP_DATA(pcb, segment, sequence, fin, edge, in_order) \
    hook_tcp_data(pcb, segment, sequence, fin, edge, in_order)

/* The PCB is about to be freed. */
void tcp_reassembly_forget(struct tcp_pcb *pcb);

#endif
