/*
 * IP addresses, as host and engine name them to each other.
 */
#ifndef PYSTACK_ADDRESSES_H
#define PYSTACK_ADDRESSES_H

#include <stdint.h>

enum ps_family { PS_UNSPECIFIED = 0, PS_INET = 4, PS_INET6 = 6 };

/* An IP address, and what comes with it where it is used. All zero: no address. */
struct ps_address {
    uint8_t family;    /* enum ps_family */
    uint8_t prefix;    /* length in bits, where a network is meant */
    uint16_t port;     /* host byte order */
    uint32_t scope;    /* IPv6 link-local: the interface's index, else 0 */
    uint32_t flow;     /* IPv6 flow label, else 0 */
    uint8_t bytes[16]; /* network byte order; IPv4 uses the first four */
};

#endif
