/*
 * A router's duties besides forwarding: it fills in IP options and sends redirects, "packet too
 * big", and unreachables for a last hop that doesn't answer. lwIP asks where it forwards:
 * vendor/patches.
 */
#include <string.h>

#include "base/hooks.h"
#include "base/port.h"
#include "base/tunables.h"
#include "ip/neighbour.h"
#include "ip/route.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/prot/ethernet.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/ip4.h"
#include "lwip/prot/ip6.h"
#include "lwip/prot/nd6.h"
#include "lwip/stats.h"

#define QUOTED 8                   /* octets behind the IP header that an error holds (RFC 792) */
#define REDIRECT_INTERVAL_US 50000 /* errors are limited by rate (RFC 1812 4.3.2.8) */
#define NO_UNIVERSAL_TIME 0x80000000u

/* IP options (RFC 791 3.1), with the flag that copies them into fragments where they have it. */
enum {
    OPTION_END = 0,
    OPTION_NOP = 1,
    RECORD_ROUTE = 7,
    TIMESTAMP = 68,
    LOOSE = 131,
    STRICT = 137
};

static uint64_t last_redirect_us;

/* Where there are neighbours to tell of each other. */
static bool has_neighbours(const struct netif *netif)
{
    const struct port_interface *interface = interface_of(netif);
    return interface != NULL && interface->layer == PS_LAYER_ETHERNET;
}

/* Whether a redirect may go out now. Lost ones are made good by the next packet. */
static bool redirect_is_due(void)
{
    if (last_redirect_us != 0 && port.now_us - last_redirect_us < REDIRECT_INTERVAL_US)
        return false;
    last_redirect_us = port.now_us;
    return true;
}

/* --- IPv4: options -------------------------------------------------------------------------- */

static bool record_route(uint8_t *option, const struct netif *out)
{
    uint8_t size = option[1], pointer = option[2];
    if (size < 3 || pointer < 4 || pointer + 3 > size)
        return false; /* full, which is no error */
    memcpy(option + pointer - 1, netif_ip4_addr(out), sizeof(ip4_addr_t));
    option[2] = (uint8_t)(pointer + sizeof(ip4_addr_t));
    return true;
}

static bool enter_time(uint8_t *option, const struct netif *out)
{
    enum { ONLY_TIME = 0, WITH_ADDRESS = 1, PRESPECIFIED = 3, FULL = 0xf0, ONE_MORE = 0x10 };
    uint8_t size = option[1], pointer = option[2];
    if (size < 4 || pointer < 5)
        return false;
    uint8_t flag = option[3] & 0xf, needed = flag == ONLY_TIME ? 4 : 8;
    if (flag != ONLY_TIME && flag != WITH_ADDRESS && flag != PRESPECIFIED)
        return false;
    if (pointer + needed - 1 > size) {
        if (option[3] >= FULL)
            return false;
        option[3] += ONE_MORE;
        return true;
    }
    uint8_t *place = option + pointer - 1;
    if (flag == PRESPECIFIED) {
        ip_addr_t wanted;
        u32_t word;
        memcpy(&word, place, sizeof word);
        ip_addr_set_ip4_u32_val(wanted, word);
        if (!address_is_ours(&wanted))
            return false;
    } else if (flag == WITH_ADDRESS) {
        memcpy(place, netif_ip4_addr(out), sizeof(ip4_addr_t));
    }
    u32_t now = lwip_htonl((u32_t)(port.now_us / 1000) | NO_UNIVERSAL_TIME);
    memcpy(place + needed - 4, &now, sizeof now);
    option[2] = (uint8_t)(pointer + needed);
    return true;
}

/* RFC 1812 5.3.13. What this doesn't know, or can't be, is passed on as it is. Whether the sender
 * has chosen the route, which no router should allow by default (RFC 7126 4.3, 4.4). */
static bool enter_options(struct pbuf *packet, const struct netif *out)
{
    struct ip_hdr *header = packet->payload;
    uint8_t *bytes = packet->payload;
    u16_t size = IPH_HL_BYTES(header);
    bool changed = false, routed = false;
    for (u16_t at = IP_HLEN; at + 2 < size && bytes[at] != OPTION_END;) {
        uint8_t *option = bytes + at;
        if (option[0] == OPTION_NOP) {
            at++;
            continue;
        }
        if (option[1] < 2 || option[1] > size - at)
            break;
        if (option[0] == RECORD_ROUTE)
            changed |= record_route(option, out);
        else if (option[0] == TIMESTAMP)
            changed |= enter_time(option, out);
        routed |= option[0] == LOOSE || option[0] == STRICT;
        at = (u16_t)(at + option[1]);
    }
    if (changed) {
        IPH_CHKSUM_SET(header, 0);
        IPH_CHKSUM_SET(header, inet_chksum(header, size));
    }
    return routed;
}

/* --- IPv4: fragments of packets with options, which lwIP makes none of ------------------------ */

/* Leaves those options that go into every fragment (RFC 791 3.1); the length of the header. */
static u16_t keep_copied_options(uint8_t *header, u16_t size)
{
    enum { COPIED = 0x80 };
    u16_t kept = IP_HLEN;
    for (u16_t at = IP_HLEN; at + 2 < size && header[at] != OPTION_END;) {
        u16_t length = header[at] == OPTION_NOP ? 1 : header[at + 1];
        if (length == 0 || length > size - at)
            break;
        if (header[at] & COPIED) {
            memmove(header + kept, header + at, length);
            kept = (u16_t)(kept + length);
        }
        at = (u16_t)(at + length);
    }
    while (kept % 4 != 0)
        header[kept++] = OPTION_END;
    return kept;
}

static void send_fragments4(struct pbuf *packet, struct netif *out)
{
    uint8_t header[IP_HLEN_MAX];
    struct ip_hdr *fields = (struct ip_hdr *)header;
    u16_t size = IPH_HL_BYTES((struct ip_hdr *)packet->payload), first = size;
    ip4_addr_t destination;
    IP_STATS_INC(ip.fw);
    MIB2_STATS_INC(mib2.ipforwdatagrams);
    hook_finish_checksum(out, packet);
    memcpy(header, packet->payload, size);
    ip4_addr_copy(destination, fields->dest);
    u16_t place = lwip_ntohs(IPH_OFFSET(fields)), total = (u16_t)(packet->tot_len - size);
    for (u16_t sent = 0, data; sent < total; sent = (u16_t)(sent + data)) {
        data = LWIP_MIN((u16_t)(total - sent), (u16_t)((out->mtu - size) / 8 * 8));
        struct pbuf *fragment = pbuf_alloc(PBUF_LINK, (u16_t)(size + data), PBUF_RAM);
        if (fragment == NULL)
            return;
        u16_t more = sent + data < total ? IP_MF : 0;
        IPH_VHL_SET(fields, 4, size / 4);
        IPH_LEN_SET(fields, lwip_htons((u16_t)(size + data)));
        IPH_OFFSET_SET(fields, lwip_htons((u16_t)((place + sent / 8) | more)));
        IPH_CHKSUM_SET(fields, 0);
        IPH_CHKSUM_SET(fields, inet_chksum(header, size));
        memcpy(fragment->payload, header, size);
        pbuf_copy_partial(packet, (uint8_t *)fragment->payload + size, data, (u16_t)(first + sent));
        out->output(out, fragment, &destination);
        pbuf_free(fragment);
        if (sent == 0)
            size = keep_copied_options(header, size);
    }
}

/* --- IPv4: errors --------------------------------------------------------------------------- */

/* An ICMP error whose second word carries a value; lwIP's own always send 0. */
static void send_error4(struct pbuf *packet, u8_t type, u8_t code, u32_t word)
{
    if (!hook_icmp4_may_answer(packet, type, code))
        return;
    const struct ip_hdr *header = packet->payload;
    ip4_addr_t source, destination;
    ip4_addr_copy(source, header->src);
    ip4_addr_copy(destination, header->dest);
    struct netif *netif = ip4_route_src(&destination, &source);
    u16_t quoted = LWIP_MIN(packet->tot_len, (u16_t)(IPH_HL_BYTES(header) + QUOTED));
    if (netif == NULL)
        return;
    struct pbuf *error = pbuf_alloc(PBUF_IP, (u16_t)(sizeof(struct icmp_hdr) + quoted), PBUF_RAM);
    if (error == NULL)
        return;
    struct icmp_hdr *icmp = error->payload;
    icmp->type = type;
    icmp->code = code;
    icmp->chksum = 0;
    icmp->data = word;
    pbuf_copy_partial(packet, icmp + 1, quoted, 0);
    IF__NETIF_CHECKSUM_ENABLED(netif, NETIF_CHECKSUM_GEN_ICMP)
    {
        icmp->chksum = inet_chksum(icmp, error->len);
    }
    ip4_output_if(error, NULL, &source, ICMP_TTL, 0, IP_PROTO_ICMP, netif);
    pbuf_free(error);
}

/* RFC 1812 5.2.7.2: for one whose sender and next hop are on the wire that it came by. */
static void redirect4(struct pbuf *packet, struct netif *netif)
{
    const struct ip_hdr *header = packet->payload;
    ip4_addr_t source, destination;
    ip4_addr_copy(source, header->src);
    ip4_addr_copy(destination, header->dest);
    const ip4_addr_t *hop = hook_arp_gateway(netif, &destination);
    if (tunables.ip_send_redirects && hop != NULL && route_share_network(netif, &source, hop) &&
        !ip4_addr_eq(hop, &source) && redirect_is_due())
        icmp_redirect(packet, hop);
}

bool hook_ip4_forward(struct pbuf *packet, struct netif *in, struct netif *out)
{
    const struct ip_hdr *header = packet->payload;
    if (IPH_HL_BYTES(header) > IP_HLEN && enter_options(packet, out))
        return false;
    if (interface_index(in) == interface_index(out) && has_neighbours(out))
        redirect4(packet, out);
    if (out->mtu == 0 || packet->tot_len <= out->mtu)
        return true;
    if (IPH_OFFSET(header) & PP_HTONS(IP_DF)) {
        /* RFC 1191 4: the lower half of the word is the MTU of the next hop. */
        send_error4(packet, ICMP_DUR, ICMP_DUR_FRAG, lwip_htonl(out->mtu));
        return false;
    }
    if (IPH_HL_BYTES(header) == IP_HLEN)
        return true; /* lwIP makes the fragments */
    send_fragments4(packet, out);
    return false;
}

/* RFC 1812 4.3.3.1. As in Linux a socket of ours hears of it in the same way. */
void hook_arp_unanswered(struct pbuf *packet)
{
    if (packet->len >= IP_HLEN)
        icmp_dest_unreach(packet, ICMP_DUR_HOST);
}

/* --- IPv6 ----------------------------------------------------------------------------------- */

static void send_redirect6(struct pbuf *packet, struct netif *netif, const ip6_addr_t *target)
{
    enum { SMALLEST_MTU = 1280, UNIT = 8 };
    uint8_t mac[ETH_HWADDR_LEN];
    bool known = nd_mac_of(target, mac);
    u16_t fixed = (u16_t)(sizeof(struct redirect_header) + (known ? UNIT : 0) + UNIT);
    u16_t quoted = LWIP_MIN(packet->tot_len, (u16_t)(SMALLEST_MTU - IP6_HLEN - fixed));
    quoted = (u16_t)(quoted / UNIT * UNIT); /* an option's length counts in these */
    struct pbuf *message = pbuf_alloc(PBUF_IP, (u16_t)(fixed + quoted), PBUF_RAM);
    if (message == NULL)
        return;
    memset(message->payload, 0, message->len);
    struct redirect_header *redirect = message->payload;
    uint8_t *option = (uint8_t *)(redirect + 1);
    redirect->type = ICMP6_TYPE_RD;
    ip6_addr_copy_to_packed(redirect->target_address, *target);
    ip6_addr_copy_to_packed(redirect->destination_address, *ip6_current_dest_addr());
    if (known) {
        option[0] = ND6_OPTION_TYPE_TARGET_LLADDR;
        option[1] = 1;
        memcpy(option + 2, mac, sizeof mac);
        option += UNIT;
    }
    option[0] = ND6_OPTION_TYPE_REDIR_HDR;
    option[1] = (uint8_t)(1 + quoted / UNIT);
    pbuf_copy_partial(packet, option + UNIT, quoted, 0);
    const ip6_addr_t *source = netif_ip6_addr(netif, 0);
    IF__NETIF_CHECKSUM_ENABLED(netif, NETIF_CHECKSUM_GEN_ICMP6)
    {
        redirect->chksum = ip6_chksum_pseudo(message, IP6_NEXTH_ICMP6, message->tot_len, source,
                                             ip6_current_src_addr());
    }
    ip6_output_if(message, source, ip6_current_src_addr(), ND6_HOPLIM, 0, IP6_NEXTH_ICMP6, netif);
    pbuf_free(message);
}

bool hook_ip6_forward(struct pbuf *packet, struct netif *in, struct netif *out)
{
    if (in != out)
        return true;
    if (!has_neighbours(out))
        return false; /* back to where it came from: a loop (RFC 4443 3.1) */
    const ip6_addr_t *destination = ip6_current_dest_addr();
    int on_link = nd_link_prefix(out, destination);
    const ip6_addr_t *target = hook_nd_gateway(out, destination, on_link);
    if (target == NULL && on_link >= 0)
        target = destination;
    bool better = target != NULL && (target == destination || ip6_addr_islinklocal(target)) &&
                  !ip6_addr_eq(target, ip6_current_src_addr());
    bool own = ip6_addr_isvalid(netif_ip6_addr_state(out, 0));
    if (better && own && nd_link_prefix(out, ip6_current_src_addr()) >= 0 && redirect_is_due())
        send_redirect6(packet, out, target);
    return true;
}
