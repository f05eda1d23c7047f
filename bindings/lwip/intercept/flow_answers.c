/*
 * What a flow's source is told without a socket: ICMP errors about its first packet (RFC 792,
 * RFC 1812 5.2.7, RFC 4443 3), and replies to echo requests.
 *
 * That a port is closed only the host itself can say, so that its address is the answer's source,
 * as scanners and traceroutes expect. All else a router says, by an address of this Stack's.
 */
#include <errno.h>

#include "base/hooks.h"
#include "base/tunables.h"
#include "intercept/flows.h"
#include "link/address.h"
#include "lwip/icmp.h"
#include "lwip/icmp6.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/icmp6.h"
#include "lwip/stats.h"

enum {
    HEADER = 8, /* of every ICMP message */
    MOST4 = 576,
    MOST6 = 1280,
    CONTROL = 0xc0, /* the precedence of an error (RFC 1812 4.3.2.5) */
    PROHIBITED4 = 13,
    UNREACHABLE6 = 1,
    PROHIBITED6 = 1,
    ADDRESS6 = 3,
    PORT6 = 4,
};

/* The codes of "destination unreachable"; -1: none says that. */
static int code_of(int error, bool is_v6)
{
    switch (error) {
    case ENETUNREACH:
        return is_v6 ? 0 : ICMP_DUR_NET;
    case EHOSTUNREACH:
    case EHOSTDOWN:
        return is_v6 ? ADDRESS6 : ICMP_DUR_HOST;
    case ECONNREFUSED:
        return is_v6 ? PORT6 : ICMP_DUR_PORT;
    case EACCES:
    case EPERM:
        return is_v6 ? PROHIBITED6 : PROHIBITED4;
    default:
        return -1;
    }
}

static u8_t hop_limit(bool is_v6)
{
    return (u8_t)(is_v6 ? tunables.ip6_hop_limit : tunables.ip_ttl);
}

static bool may_answer(const struct pbuf *packet, bool is_v6, u8_t type, u8_t code)
{
    return is_v6 ? hook_icmp6_may_answer(packet, type, code)
                 : hook_icmp4_may_answer(packet, type, code);
}

static void finish(struct pbuf *message, const struct netif *netif, const ip_addr_t *source,
                   const ip_addr_t *destination)
{
    struct icmp_hdr *header = message->payload;
    header->chksum = 0;
    if (IP_IS_V6(destination)) {
        IF__NETIF_CHECKSUM_ENABLED(netif, NETIF_CHECKSUM_GEN_ICMP6)
        {
            header->chksum = ip6_chksum_pseudo(message, IP6_NEXTH_ICMP6, message->tot_len,
                                               ip_2_ip6(source), ip_2_ip6(destination));
        }
    } else {
        IF__NETIF_CHECKSUM_ENABLED(netif, NETIF_CHECKSUM_GEN_ICMP)
        {
            header->chksum = inet_chksum_pbuf(message);
        }
    }
}

static void send(struct pbuf *message, struct netif *netif, const ip_addr_t *source,
                 const ip_addr_t *destination, u8_t ttl, u8_t tos)
{
    finish(message, netif, source, destination);
    if (IP_IS_V6(destination)) {
        ICMP6_STATS_INC(icmp6.xmit);
        ip6_output_if(message, ip_2_ip6(source), ip_2_ip6(destination), ttl, tos, IP6_NEXTH_ICMP6,
                      netif);
    } else {
        MIB2_STATS_INC(mib2.icmpoutmsgs);
        ICMP_STATS_INC(icmp.xmit);
        ip4_output_if(message, ip_2_ip4(source), ip_2_ip4(destination), ttl, tos, IP_PROTO_ICMP,
                      netif);
    }
}

/* The address that a router would answer by: the interface's, if it has one. */
static void router_address(const struct netif *netif, const struct flow *flow, ip_addr_t *out)
{
    ip_addr_copy(*out, flow->local);
    if (IP_IS_V4(&flow->remote)) {
        if (!ip4_addr_isany_val(*netif_ip4_addr(netif)))
            ip_addr_copy_from_ip4(*out, *netif_ip4_addr(netif));
        return;
    }
    const ip_addr_t *own =
        ip6_select_source_address((struct netif *)(uintptr_t)netif, ip_2_ip6(&flow->remote));
    if (own != NULL && !ip_addr_isany(own))
        ip_addr_copy(*out, *own);
}

int flow_tell(const struct flow *flow, int error)
{
    bool is_v6 = IP_IS_V6_VAL(flow->remote);
    int code = code_of(error, is_v6);
    u8_t type = is_v6 ? (u8_t)UNREACHABLE6 : (u8_t)ICMP_DUR;
    if (code < 0)
        return -EINVAL;
    struct netif *netif = ip_route(&flow->local, &flow->remote);
    const struct pbuf *packet = flow->first != NULL ? flow->first->packet : NULL;
    if (packet == NULL || netif == NULL || !may_answer(packet, is_v6, type, (u8_t)code))
        return 0;
    u16_t most = (u16_t)((is_v6 ? MOST6 - IP6_HLEN : MOST4 - IP_HLEN) - HEADER);
    u16_t quoted = LWIP_MIN(packet->tot_len, most);
    struct pbuf *message = pbuf_alloc(PBUF_IP, (u16_t)(HEADER + quoted), PBUF_RAM);
    if (message == NULL)
        return 0;
    ip_addr_t source;
    memset(message->payload, 0, HEADER);
    ((struct icmp_hdr *)message->payload)->type = type;
    ((struct icmp_hdr *)message->payload)->code = (u8_t)code;
    pbuf_copy_partial(packet, (u8_t *)message->payload + HEADER, quoted, 0);
    if (error == ECONNREFUSED)
        ip_addr_copy(source, flow->local);
    else
        router_address(netif, flow, &source);
    send(message, netif, &source, &flow->remote, hop_limit(is_v6), is_v6 ? 0 : CONTROL);
    pbuf_free(message);
    return 0;
}

void flow_echo(const struct flow *flow)
{
    bool is_v6 = IP_IS_V6_VAL(flow->remote);
    const struct held *request = flow->first;
    struct netif *netif = ip_route(&flow->local, &flow->remote);
    if (request == NULL || netif == NULL)
        return;
    u16_t size = (u16_t)(request->packet->tot_len - request->headers);
    struct pbuf *reply = pbuf_alloc(PBUF_IP, size, PBUF_RAM);
    if (reply == NULL)
        return;
    pbuf_copy_partial(request->packet, reply->payload, size, request->headers);
    ((struct icmp_hdr *)reply->payload)->type = is_v6 ? (u8_t)ICMP6_TYPE_EREP : (u8_t)ICMP_ER;
    if (!is_v6)
        MIB2_STATS_INC(mib2.icmpoutechoreps);
    send(reply, netif, &flow->local, &flow->remote, hop_limit(is_v6), 0);
    pbuf_free(reply);
}
