/*
 * What a DNS response says about a name that was asked for.
 */
#ifndef PYSTACK_LWIP_DNS_ANSWER_H
#define PYSTACK_LWIP_DNS_ANSWER_H

#include "engine.h"
#include "lwip/pbuf.h"

struct pbuf;

#define MOST_ADDRESSES 64

struct dns_answer {
    uint8_t code; /* RFC 1035 4.1.1 */
    bool truncated;
    int count;
    struct ps_address addresses[MOST_ADDRESSES];
};

/* Reads a response to a question for `name`'s addresses of a family. False: it is none, or
 * nothing can be made of it. */
bool dns_answer_read(const struct pbuf *p, const char *name, bool mdns, enum ps_family family,
                     struct dns_answer *out);

#endif
