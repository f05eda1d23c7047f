/*
 * One acknowledgement for all that comes at once. lwIP's configuration includes this.
 */
#ifndef PYSTACK_LWIP_TCP_ACK_H
#define PYSTACK_LWIP_TCP_ACK_H

#include <stdbool.h>

struct tcp_pcb;

/* How long an acknowledgement may be held back (RFC 9293 3.8.6.3; net.ipv4.tcp_delayed_ack). */
#define TCP_DELAYED_ACK_MS 25

/* An acknowledgement is due, for data that came in order. False: send it. */
bool hook_tcp_ack_later(struct tcp_pcb *pcb);
#define LWIP_HOOK_TCP_ACK_LATER(pcb) hook_tcp_ack_later(pcb)

/* Sends those that are due. Returns whether there were any. */
bool tcp_ack_flush(void);
/* The PCB is about to be freed. */
void tcp_ack_forget(const struct tcp_pcb *pcb);

#endif
