/*
 * IPv6's flow labels (RFC 6437): a keyed hash of what makes a flow.
 */
#include "base/hooks.h"
#include "base/keyed_hash.h"
#include "lwip/pbuf.h"
#include "lwip/prot/ip6.h"

/* A flow has the same addresses and ports (RFC 6437 3). A packet without ports has no label. */
u32_t hook_ip6_flow_label(const struct pbuf *packet)
{
    enum { PORTS = 4, LARGEST = 0xfffff };
    static uint64_t last[5];
    static u32_t label; /* of the last flow: most packets belong to it */
    const struct ip6_hdr *header = packet->payload;
    uint64_t words[5] = {0};
    u8_t next = IP6H_NEXTH(header);
    if ((next != IP6_NEXTH_TCP && next != IP6_NEXTH_UDP && next != IP6_NEXTH_UDPLITE) ||
        packet->tot_len < IP6_HLEN + PORTS)
        return 0;
    memcpy(words, &header->src, 16);
    memcpy(words + 2, &header->dest, 16);
    pbuf_copy_partial(packet, words + 4, PORTS, IP6_HLEN);
    words[4] |= (uint64_t)next << 32;
    if (label == 0 || memcmp(words, last, sizeof last) != 0) {
        memcpy(last, words, sizeof last);
        label = 1 + (u32_t)(keyed_hash(words, 5) % LARGEST);
    }
    return label;
}
