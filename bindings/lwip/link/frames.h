/*
 * What a netif of ours sends by.
 */
#ifndef PYSTACK_LWIP_FRAMES_H
#define PYSTACK_LWIP_FRAMES_H

#include "lwip/netif.h"
#include "lwip/pbuf.h"

err_t interface_frame_out(struct netif *netif, struct pbuf *p);
err_t interface_packet_out4(struct netif *netif, struct pbuf *p, const ip4_addr_t *next_hop);
err_t interface_packet_out6(struct netif *netif, struct pbuf *p, const ip6_addr_t *next_hop);

#endif
