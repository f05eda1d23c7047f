/*
 * IPv4's identifications (RFC 6864): counters that can't be predicted from outside (RFC 7739 5.3).
 *
 * lwIP has one counter from 0: anyone exchanging packets with us learns how many went to others,
 * and may scan a third host without being seen ("idle scan"). As in Linux there are many counters,
 * of which an address pair uses one chosen by a keyed hash; they begin anywhere, and skip at random
 * while time passes.
 */
#include "base/hooks.h"
#include "base/port.h"
#include "lwip/pbuf.h"
#include "lwip/prot/ip4.h"
#include "lwip/sys.h"

#define COUNTERS 2048 /* a power of two */
#define NEVER_CUT 68  /* octets that every link takes whole (RFC 791 3.2) */

static struct counter {
    uint32_t used_ms;
    uint16_t next;
} counters[COUNTERS];

static uint64_t key;

static void draw(void)
{
    uint16_t first[COUNTERS];
    port.hypercalls.random(port.hypercalls.user, first, sizeof first);
    port.hypercalls.random(port.hypercalls.user, &key, sizeof key);
    key |= 1;
    for (size_t i = 0; i < COUNTERS; i++)
        counters[i] = (struct counter){sys_now(), first[i]};
}

static struct counter *counter_of(const struct ip_hdr *header)
{
    uint64_t hash = ((uint64_t)header->src.addr << 32 | header->dest.addr) ^ key;
    hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 29 ^ IPH_PROTO(header)) * 0xbf58476d1ce4e5b9u ^ key;
    return &counters[(hash >> 40) & (COUNTERS - 1)];
}

void hook_ip4_identification(struct ip_hdr *header, const struct pbuf *packet)
{
    if (packet->tot_len <= NEVER_CUT && (IPH_OFFSET(header) & PP_HTONS(IP_DF)) != 0) {
        IPH_ID_SET(header, 0); /* it needs none (RFC 6864 4.1) */
        return;
    }
    if (key == 0)
        draw();
    struct counter *counter = counter_of(header);
    uint32_t passed_ms = sys_now() - counter->used_ms;
    if (passed_ms != 0)
        counter->next = (uint16_t)(counter->next + port_random() % passed_ms);
    counter->used_ms = sys_now();
    IPH_ID_SET(header, lwip_htons(counter->next));
    /* Segmentation on the way out counts on from there. */
    uint32_t packets = packet->segment_size != 0 ? packet->tot_len / packet->segment_size + 1u : 1u;
    counter->next = (uint16_t)(counter->next + packets);
}
