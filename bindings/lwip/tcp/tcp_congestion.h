/*
 * Congestion control, as loss recovery (tcp_recovery.c) asks for it.
 */
#ifndef PYSTACK_LWIP_TCP_CONGESTION_H
#define PYSTACK_LWIP_TCP_CONGESTION_H

#include <stdint.h>

struct tcp_pcb;

/* `size` more bytes are acknowledged, and the window was what held the sender back. */
void congestion_acked(struct tcp_pcb *pcb, uint32_t size);
/* Lowers the slow start threshold after a loss (RFC 5681 eq. 4), when `flight` bytes were under
 * way; notes what it takes to undo that. */
void congestion_reduce(struct tcp_pcb *pcb, uint32_t flight);
/* The window of a connection that begins, or begins again (RFC 6928). */
uint32_t congestion_initial(const struct tcp_pcb *pcb);

#endif
