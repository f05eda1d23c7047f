/*
 * The MTU of paths.
 */
#ifndef PYSTACK_LWIP_PATH_MTU_H
#define PYSTACK_LWIP_PATH_MTU_H

#include "lwip/ip_addr.h"

/* How the datagram goes that is being handed to lwIP, where its socket says so. */
struct output_rules {
    bool on, dont_fragment; /* the latter: IPv4's flag */
    uint16_t mtu;           /* what is larger is cut */
};
extern struct output_rules output_rules;

uint16_t path_mtu(const ip_addr_t *destination, uint16_t link_mtu);
/* Whether routers are to cut what goes there: one has said less than every path has. */
bool path_mtu_cuts(const ip_addr_t *destination);
/* Takes a router's report. */
void path_mtu_reduce(const ip_addr_t *destination, uint32_t mtu);

#endif
