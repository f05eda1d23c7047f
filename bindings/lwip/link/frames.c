/*
 * Frames between the wire and lwIP.
 */
#include "link/frames.h"

#include "base/entries.h"
#include "base/memory.h"
#include "base/port.h"
#include "base/tunables.h"
#include "link/address.h"
#include "link/offload.h"
#include "lwip/prot/etharp.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/ip.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"

/* A frame of more buffers than this is flattened before it goes to the host. */
#define MOST_PIECES 32

static bool is_group(const struct port_interface *interface, const uint8_t *frame)
{
    return interface->layer == PS_LAYER_ETHERNET && frame[0] & 1;
}

static int send_whole(struct port_interface *interface, const struct pbuf *p)
{
    struct ps_piece pieces[MOST_PIECES];
    size_t count = 0;
    for (const struct pbuf *part = p; part != NULL; part = part->next)
        pieces[count++] = (struct ps_piece){part->payload, part->len};
    return port.silent
               ? 0
               : port.hypercalls.frame_out(port.hypercalls.user, interface_index(&interface->netif),
                                           pieces, count, p->tot_len);
}

err_t interface_frame_out(struct netif *netif, struct pbuf *p)
{
    struct port_interface *interface = interface_owner(interface_of(netif));
    struct port_counters *counters = &interface->counters;
    struct pbuf *flat = NULL;
    if (pbuf_clen(p) > MOST_PIECES) {
        flat = pbuf_clone(PBUF_RAW, PBUF_RAM, p);
        if (flat == NULL)
            return ERR_MEM;
        flat->segment_size = p->segment_size;
        p = flat;
    }
    int result;
    if (!offload_frame_out(interface, p, &result)) {
        offload_flush(); /* what is being merged came first */
        result = send_whole(interface, p);
    }
    if (result == 0) {
        counters->out_octets += p->tot_len;
        if (is_group(interface, p->payload))
            counters->out_group_packets++;
        else
            counters->out_unicast_packets++;
    } else if (result < 0) {
        counters->out_discards++;
    }
    if (flat != NULL)
        pbuf_free(flat);
    /* No room on the wire: TCP keeps the segment and tries again. Any other failure is
     * the wire's, and looks to the stack like a frame lost on it. */
    return result == -ENOBUFS ? ERR_MEM : ERR_OK;
}

err_t interface_packet_out4(struct netif *netif, struct pbuf *p, const ip4_addr_t *next_hop)
{
    (void)next_hop;
    return netif->linkoutput(netif, p);
}

err_t interface_packet_out6(struct netif *netif, struct pbuf *p, const ip6_addr_t *next_hop)
{
    (void)next_hop;
    return netif->linkoutput(netif, p);
}

/* The alias that an ARP packet asks for or answers to, else the interface itself. */
static struct netif *arp_target(struct port_interface *interface, const uint8_t *frame, size_t size)
{
    enum { TYPE = 12, SENDER = SIZEOF_ETH_HDR + 14, TARGET = SIZEOF_ETH_HDR + 24 };
    if (interface->next_alias == NULL || size < TARGET + 4 || frame[TYPE] != 0x08 ||
        frame[TYPE + 1] != 0x06)
        return &interface->netif;
    for (struct port_interface *alias = interface->next_alias; alias; alias = alias->next_alias)
        if (memcmp(interface_address(&alias->netif), frame + TARGET, 4) == 0 ||
            memcmp(interface_address(&alias->netif), frame + SENDER, 4) == 0)
            return &alias->netif; /* by its sender: another host that has our address */
    return &interface->netif;
}

/* The least that a packet of a type has. lwIP reads fixed headers before it looks whether they
 * are there, and so must never see less. */
static size_t least_packet(unsigned ethertype)
{
    switch (ethertype) {
    case ETHTYPE_IP:
        return IP_HLEN;
    case ETHTYPE_ARP:
        return SIZEOF_ETHARP_HDR;
    case ETHTYPE_IPV6:
        return IP6_HLEN;
    default:
        return 1;
    }
}

/* Whether a frame is long enough for what it says it is, and no longer than lwIP can hold. */
static bool is_whole(const struct port_interface *interface, const uint8_t *frame, size_t size)
{
    size_t header = interface->layer == PS_LAYER_ETHERNET ? SIZEOF_ETH_HDR : 0;
    if (size <= header || size - header > PS_MTU_MAXIMUM)
        return false;
    unsigned type = header != 0          ? (unsigned)frame[12] << 8 | frame[13]
                    : frame[0] >> 4 == 6 ? ETHTYPE_IPV6
                                         : ETHTYPE_IP;
    return size - header >= least_packet(type);
}

/* Whether an address stands for all hosts of one of our networks, whichever a packet came by: an
 * answer to it would go to all of them. */
static bool is_broadcast(const ip4_addr_t *ip)
{
    struct netif *netif;
    NETIF_FOREACH(netif)
    if (ip4_addr_isbroadcast(ip, netif))
        return true;
    return false;
}

/* An IPv4 packet from a host that there can't be (RFC 1122 3.2.1.3), or to one: what Linux calls a
 * martian. One with an address of ours as its source makes us talk to ourselves ("LAND"). */
static bool is_martian(const struct ip_hdr *header)
{
    ip_addr_t source, destination;
    ip_addr_copy_from_ip4(source, header->src);
    ip_addr_copy_from_ip4(destination, header->dest);
    const ip4_addr_t *from = ip_2_ip4(&source), *to = ip_2_ip4(&destination);
    bool to_all = to->addr == IPADDR_BROADCAST || ip4_addr_isany_val(*to);
    uint8_t protocol = IPH_PROTO(header);
    if (ip4_addr_ismulticast(from) || from->addr == IPADDR_BROADCAST || ip4_addr_isloopback(to) ||
        (ip4_addr1(to) == 0 && !ip4_addr_isany_val(*to)))
        return true;
    if (ip4_addr1(from) != 0)
        return address_is_ours(&source) /* all of 127.0.0.0/8 is, too */ || is_broadcast(from);
    /* 0.0.0.0: a host without an address yet, in DHCP, and in IGMP to all on the link. */
    bool is_link_group = ip4_addr1(to) == 224 && ip4_addr2(to) == 0 && ip4_addr3(to) == 0;
    return !ip4_addr_isany_val(*from) || protocol == IP_PROTO_ICMP || protocol == IP_PROTO_TCP ||
           !(to_all || is_link_group || (protocol == IP_PROTO_IGMP && ip4_addr_ismulticast(to)));
}

/* Frames that no host may send, or not to us: lwIP would accept them, and so never sees them. */
static bool is_forbidden(const struct port_interface *interface, const uint8_t *frame)
{
    bool ethernet = interface->layer == PS_LAYER_ETHERNET;
    const uint8_t *packet = frame + (ethernet ? SIZEOF_ETH_HDR : 0);
    unsigned type = ethernet              ? (unsigned)frame[12] << 8 | frame[13]
                    : packet[0] >> 4 == 4 ? ETHTYPE_IP
                                          : ETHTYPE_IPV6;
    enum { SENDER = 8 };
    if (type == ETHTYPE_ARP)
        return packet[SENDER] & 1; /* no host's own address is a group (RFC 1812 3.3.2) */
    if (type != ETHTYPE_IP)
        return false;
    const struct ip_hdr *header = (const struct ip_hdr *)(const void *)packet;
    if (is_martian(header))
        return true;
    if (!ethernet || !(frame[0] & 1))
        return false;
    /* A frame to many with a packet for us alone (RFC 1122 3.3.6). */
    ip_addr_t destination;
    ip_addr_copy_from_ip4(destination, header->dest);
    return address_is_ours(&destination);
}

/* A frame whose memory is the engine's; it has room in front. */
static void free_given(struct pbuf *p)
{
    port_free(p);
}

static struct pbuf *as_pbuf(uint8_t *frame, size_t size, bool given)
{
    if (given) {
        _Static_assert(sizeof(struct pbuf_custom) <= PS_FRAME_HEADROOM, "room in front");
        struct pbuf_custom *custom = (struct pbuf_custom *)(void *)(frame - PS_FRAME_HEADROOM);
        custom->custom_free_function = free_given;
        return pbuf_alloced_custom(PBUF_RAW, (u16_t)size, PBUF_REF, custom, frame, (u16_t)size);
    }
    struct pbuf *p = pbuf_alloc(PBUF_RAW, (u16_t)size, PBUF_RAM);
    if (p != NULL)
        memcpy(p->payload, frame, size);
    return p;
}

static int refuse(uint8_t *frame, bool given, int result)
{
    if (given)
        port_free(frame - PS_FRAME_HEADROOM);
    return result;
}

/* `skipped`: what lwIP need not check, NETIF_CHECKSUM_CHECK_*. */
static int frame_in(uint32_t index, uint8_t *frame, size_t size, size_t packets, u16_t skipped,
                    bool given)
{
    struct netif *netif = interface_by_index(index);
    struct port_interface *interface = netif ? interface_of(netif) : NULL;
    if (interface == NULL)
        return refuse(frame, given, -ENODEV);
    if (!netif_is_up(netif) || !netif_is_link_up(netif))
        return refuse(frame, given, 0);
    struct port_counters *counters = &interface->counters;
    if (!is_whole(interface, frame, size)) {
        counters->in_errors++;
        return refuse(frame, given, 0);
    }
    if (is_forbidden(interface, frame)) {
        counters->in_discards++;
        return refuse(frame, given, 0);
    }
    struct pbuf *p = as_pbuf(frame, size, given);
    if (p == NULL) {
        counters->in_discards++;
        return -ENOBUFS;
    }
    counters->in_octets += size;
    if (is_group(interface, frame))
        counters->in_group_packets += packets;
    else
        counters->in_unicast_packets += packets;
    if (interface->layer == PS_LAYER_ETHERNET)
        netif = arp_target(interface, frame, size);
    u16_t checks = netif->chksum_flags;
    netif->chksum_flags &= (u16_t)~skipped;
    port.answering = true;
    if (netif->input(p, netif) != ERR_OK)
        pbuf_free(p);
    port.answering = false;
    netif->chksum_flags = checks;
    return 0;
}

int engine_frame_in(ps_engine *engine, uint32_t index, const uint8_t *frame, size_t size)
{
    (void)engine;
    return frame_in(index, (uint8_t *)(uintptr_t)frame, size, 1, 0, false);
}

int engine_frame_in_offload(ps_engine *engine, uint32_t index, uint8_t *frame, size_t size,
                            const struct ps_offload *offload, bool given)
{
    (void)engine;
    uint8_t cut = offload->segmentation;
    if (cut != 0 || offload->checksum == PS_CHECKSUM_PARTIAL) {
        /* Refuse it where we forward (packets must leave complete and within the MTU), where it
         * isn't TCP that has to be segmented, and where it is longer than lwIP can count. */
        if (tunables.ip_forward || tunables.ip6_forward ||
            (cut != 0 && cut != PS_OFFLOAD_TCP4 && cut != PS_OFFLOAD_TCP6) ||
            (cut != 0 && (offload->segment_size == 0 || size > PS_MTU_MAXIMUM)))
            return -EOPNOTSUPP;
    }
    size_t packets = cut != 0 ? (size + offload->segment_size - 1) / offload->segment_size : 1;
    u16_t skipped = offload->checksum != PS_CHECKSUM_WHOLE
                        ? NETIF_CHECKSUM_CHECK_TCP | NETIF_CHECKSUM_CHECK_UDP
                        : 0;
    return frame_in(index, frame, size, packets, skipped, given);
}
