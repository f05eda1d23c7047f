/*
 * Work left to the wire's far end.
 */
#ifndef PYSTACK_LWIP_OFFLOAD_H
#define PYSTACK_LWIP_OFFLOAD_H

#include "link/interface.h"

/* Sends a frame of which the far end does a part, if it is such a one. *result: 0, it is on its
 * way; 1, it waits to be merged with the next ones, and is counted later; a negative errno. A
 * chain of at most 32 buffers. */
bool offload_frame_out(struct port_interface *owner, struct pbuf *p, int *result);
/* Sends what is being merged. */
void offload_flush(void);
/* Between the two, datagrams that leave are merged, too. */
void offload_burst(bool on);

#endif
