/*
 * Connections by their addresses and ports; hooks.h asks for one.
 */
#ifndef PYSTACK_LWIP_TCP_HASH_H
#define PYSTACK_LWIP_TCP_HASH_H

struct tcp_pcb;

void tcp_hash_add(struct tcp_pcb *pcb);
/* Does nothing for one that was never added. */
void tcp_hash_remove(struct tcp_pcb *pcb);

#endif
