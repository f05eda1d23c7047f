/*
 * Taking packets that are for other hosts: what begins a flow waits for a decision, the rest goes
 * to the socket of the flow that it belongs to. Addresses of the Stack's own are never taken, nor
 * are groups, broadcasts and what has link-local scope.
 *
 * Whoever asks holds a socket of a kind of its own, readable while flows wait. Once there was one,
 * the sockets that it gave out get what is theirs, whether it is still open or not.
 */
#include "intercept/intercept.h"

#include <errno.h>

#include "base/counts.h"
#include "base/entries.h"
#include "base/hooks.h"
#include "base/port.h"
#include "intercept/flows.h"
#include "link/address.h"
#include "link/interface.h"
#include "lwip/icmp.h"
#include "lwip/inet_chksum.h"
#include "lwip/ip.h"
#include "lwip/prot/icmp.h"
#include "lwip/prot/icmp6.h"
#include "lwip/prot/udp.h"
#include "lwip/udp.h"
#include "sockets/socket.h"

#define DEFAULT_UNDECIDED 4096
#define DEFAULT_OPEN 65536
#define DEFAULT_DECIDE_MS 30000

struct intercept {
    struct port_socket head;
    bool tcp, udp, icmp;
    struct flow_limits limits;
};

static struct intercept *taker; /* NULL: nobody takes anything */
static bool has_been;
static bool is_foreign; /* the packet that is being taken in is for another host */
static u8_t syn[128];   /* the SYN that is being taken in: its headers, and no more of its data */
static u16_t syn_size;
static struct tcp_pcb_listen listening;
static struct tcp_socket listener;

/* --- packets ---------------------------------------------------------------------------------- */

bool intercept_takes(uint8_t protocol)
{
    if (taker == NULL)
        return false;
    switch (protocol) {
    case IP_PROTO_TCP:
        return taker->tcp;
    case IP_PROTO_UDP:
        return taker->udp;
    case IP_PROTO_ICMP:
    case IP6_NEXTH_ICMP6:
        return taker->icmp;
    default:
        return false;
    }
}

static bool is_extension(u8_t next)
{
    return next == IP6_NEXTH_HOPBYHOP || next == IP6_NEXTH_ROUTING || next == IP6_NEXTH_FRAGMENT ||
           next == IP6_NEXTH_DESTOPTS;
}

/* Addresses that mean something on their link alone, or nothing. */
static bool is_local_matter(const ip_addr_t *ip, struct netif *netif)
{
    if (ip_addr_ismulticast(ip) || ip_addr_isany(ip) || ip_addr_isloopback(ip))
        return true;
    return IP_IS_V6(ip) ? ip6_addr_islinklocal(ip_2_ip6(ip))
                        : ip4_addr_isbroadcast(ip_2_ip4(ip), netif) ||
                              ip4_addr1(ip_2_ip4(ip)) == 0 || ip4_addr1(ip_2_ip4(ip)) >= 240;
}

/* lwIP has set the addresses of the packet by now, and no more. */
bool hook_ip_intercept(const struct pbuf *packet, struct netif *netif, bool is_ours)
{
    is_foreign = false;
    if (is_ours || !has_been || is_local_matter(ip_current_dest_addr(), netif) ||
        is_local_matter(ip_current_src_addr(), netif))
        return false;
    const uint8_t *bytes = packet->payload;
    bool is_v6 = bytes[0] >> 4 == 6;
    u8_t protocol = is_v6 ? IP6H_NEXTH((const struct ip6_hdr *)packet->payload)
                          : IPH_PROTO((const struct ip_hdr *)packet->payload);
    u16_t headers =
        is_v6 ? (u16_t)IP6_HLEN : (u16_t)IPH_HL_BYTES((const struct ip_hdr *)packet->payload);
    if (protocol == (is_v6 ? IP6_NEXTH_ICMP6 : IP_PROTO_ICMP))
        is_foreign = intercept_takes(protocol) || flow_is_error_of_socket(packet, is_v6, headers);
    else
        is_foreign = intercept_takes(protocol) ||
                     (is_v6 && is_extension(protocol) && taker != NULL) ||
                     flow_is_of_socket(packet, protocol, headers);
    return is_foreign;
}

static bool is_whole(struct pbuf *p, u8_t protocol)
{
    bool right = true;
    const ip_addr_t *source = ip_current_src_addr(), *destination = ip_current_dest_addr();
    u16_t flag = protocol == IP_PROTO_UDP      ? NETIF_CHECKSUM_CHECK_UDP
                 : protocol == IP6_NEXTH_ICMP6 ? NETIF_CHECKSUM_CHECK_ICMP6
                                               : NETIF_CHECKSUM_CHECK_ICMP;
    IF__NETIF_CHECKSUM_ENABLED(ip_current_input_netif(), flag)
    {
        if (protocol == IP_PROTO_ICMP)
            right = inet_chksum_pbuf(p) == 0;
        else if (protocol == IP_PROTO_UDP && ((const struct udp_hdr *)p->payload)->chksum == 0)
            right = IP_IS_V4(destination);
        else
            right = ip_chksum_pseudo(p, protocol, p->tot_len, source, destination) == 0;
    }
    return right;
}

/* Keeps the packet that is being taken in, its transport header in front, with its flow. */
static bool keep(struct flow *flow, struct pbuf *p)
{
    u16_t headers = ip_current_header_tot_len();
    pbuf_add_header_force(p, headers);
    bool kept = flow_hold(flow, p, headers);
    pbuf_remove_header(p, headers);
    return kept;
}

/* A flow that the packet being taken in begins. NULL: it may not, or there is no memory. */
static struct flow *begin(u32_t place, u8_t protocol, u16_t local_port, u16_t remote_port)
{
    if (protocol != IP_PROTO_ICMP && protocol != IP6_NEXTH_ICMP6 &&
        socket_intercepted_count() >= taker->limits.most_open) {
        port_counts.intercept_over_limit++;
        return NULL;
    }
    struct flow made = {
        .place = place,
        .protocol = protocol,
        .local_port = local_port,
        .remote_port = remote_port,
        .netif = netif_get_index(ip_current_input_netif()),
    };
    ip_addr_copy(made.local, *ip_current_dest_addr());
    ip_addr_copy(made.remote, *ip_current_src_addr());
    return flow_add(&made, &taker->limits);
}

static void on_udp(struct pbuf *p)
{
    const struct udp_hdr *header = p->payload;
    if (p->len < UDP_HLEN || !is_whole(p, IP_PROTO_UDP) || lwip_ntohs(header->len) < UDP_HLEN ||
        lwip_ntohs(header->len) > p->tot_len)
        return;
    u16_t remote_port = lwip_ntohs(header->src), local_port = lwip_ntohs(header->dest);
    const ip_addr_t *local = ip_current_dest_addr(), *remote = ip_current_src_addr();
    u32_t place = flow_place(IP_PROTO_UDP, local, local_port, remote, remote_port);
    struct flow *flow = flow_find(place, IP_PROTO_UDP, local, local_port, remote, remote_port);
    if (flow != NULL && flow->is_dropped) {
        flow_stays_silent(flow);
        return;
    }
    bool is_new = flow == NULL;
    if (is_new)
        flow = begin(place, IP_PROTO_UDP, local_port, remote_port);
    if (flow == NULL)
        return;
    if (!keep(flow, p)) {
        port_counts.intercept_lost++;
        if (flow->first == NULL)
            flow_forget(flow);
    } else if (is_new) {
        socket_news(&taker->head);
    }
}

static void on_echo(struct pbuf *p, u8_t protocol)
{
    const struct icmp_echo_hdr *header = p->payload;
    if (p->len < sizeof *header || !is_whole(p, protocol))
        return;
    u16_t identifier = lwip_ntohs(header->id), sequence = lwip_ntohs(header->seqno);
    const ip_addr_t *local = ip_current_dest_addr(), *remote = ip_current_src_addr();
    u32_t place = flow_place(protocol, local, identifier, remote, sequence);
    if (flow_find(place, protocol, local, identifier, remote, sequence) != NULL)
        return;
    struct flow *flow = begin(place, protocol, identifier, sequence);
    if (flow == NULL)
        return;
    if (!keep(flow, p))
        flow_forget(flow);
    else
        socket_news(&taker->head);
}

/* Keeps what an ICMP error would quote of a SYN: lwIP turns its header's words around in place. */
static void note_syn(struct pbuf *p)
{
    const struct tcp_hdr *header = p->payload;
    u16_t headers = ip_current_header_tot_len();
    syn_size = 0;
    if (p->len < TCP_HLEN || (TCPH_FLAGS(header) & (TCP_SYN | TCP_ACK | TCP_RST)) != TCP_SYN)
        return;
    pbuf_add_header_force(p, headers);
    syn_size = pbuf_copy_partial(p, syn, sizeof syn, 0);
    pbuf_remove_header(p, headers);
}

static bool keep_syn(struct flow *flow)
{
    struct pbuf *p = pbuf_alloc_reference(syn, syn_size, PBUF_REF);
    if (p == NULL)
        return false;
    bool kept = flow_hold(flow, p, ip_current_header_tot_len());
    pbuf_free(p);
    return kept;
}

bool hook_ip_intercepted(struct pbuf *packet, u8_t protocol)
{
    if (!is_foreign)
        return false;
    u8_t type = packet->len > 0 ? *(const u8_t *)packet->payload : 0;
    bool is_v6 = ip_current_is_v6();
    switch (protocol) {
    case IP_PROTO_TCP:
        note_syn(packet);
        return false; /* hook_tcp_intercepted() has the rest */
    case IP_PROTO_UDP:
        if (packet->len >= UDP_HLEN && flow_is_of_socket(packet, IP_PROTO_UDP, 0))
            return false;
        if (intercept_takes(IP_PROTO_UDP))
            on_udp(packet);
        break;
    case IP_PROTO_ICMP:
    case IP6_NEXTH_ICMP6: /* of errors icmp_error.c has heard */
        if (is_v6 == (protocol == IP6_NEXTH_ICMP6) && intercept_takes(protocol) &&
            type == (is_v6 ? ICMP6_TYPE_EREQ : ICMP_ECHO))
            on_echo(packet, protocol);
        break;
    default:
        break;
    }
    pbuf_free(packet);
    return true;
}

/* --- TCP -------------------------------------------------------------------------------------- */

struct tcp_pcb_listen *hook_tcp_intercepted(void)
{
    return is_foreign ? &listening : NULL;
}

/* A segment that is of no connection, and of no handshake. */
static void on_segment(const struct handshake_segment *segment)
{
    u32_t place = flow_place(IP_PROTO_TCP, &segment->local, segment->local_port, &segment->remote,
                             segment->remote_port);
    struct flow *flow = flow_find(place, IP_PROTO_TCP, &segment->local, segment->local_port,
                                  &segment->remote, segment->remote_port);
    if (flow != NULL && flow->is_dropped) {
        flow_stays_silent(flow);
        return;
    }
    if (segment->flags & TCP_RST) {
        if (flow != NULL && segment->seqno == flow->syn.seqno + 1) {
            port_counts.intercept_aborted++;
            flow_forget(flow);
        }
        return;
    }
    if (!(segment->flags & TCP_SYN) || segment->flags & TCP_ACK) {
        if (intercept_takes(IP_PROTO_TCP))
            handshake_refuse(segment);
        return;
    }
    if (!intercept_takes(IP_PROTO_TCP))
        return;
    if (flow != NULL) {
        flow->syn = *segment; /* the same one, or its source has begun again */
        return;
    }
    flow = begin(place, IP_PROTO_TCP, segment->local_port, segment->remote_port);
    if (flow == NULL)
        return;
    flow->syn = *segment;
    if (keep_syn(flow))
        socket_news(&taker->head);
    else
        flow_forget(flow);
}

static err_t on_accept(void *argument, struct tcp_pcb *pcb, err_t error)
{
    (void)argument;
    struct tcp_socket *socket = pcb != NULL ? pcb->ext_args[OWNER].data : NULL;
    if (error != ERR_OK || socket == NULL)
        return ERR_VAL;
    tcp_socket_connected(socket, pcb);
    if (socket->head.shut_write)
        tcp_shutdown(pcb, 0, 1);
    socket_news(&socket->head);
    return ERR_OK;
}

static void make_listener(void)
{
    listening = (struct tcp_pcb_listen){
        .state = LISTEN,
        .prio = TCP_PRIO_NORMAL,
        .accept = on_accept,
    };
    ip_addr_copy(listening.local_ip, *IP_ANY_TYPE);
    listening.ext_args[OWNER].data = &listener;
    listener = (struct tcp_socket){.head.kind = &tcp_kind, .phase = TCP_LISTENING};
    tcp_socket_init(&listener);
    listener.pcb = (struct tcp_pcb *)&listening;
    listener.backlog = UINT32_MAX;
    listener.take = on_segment;
}

/* --- the socket that flows are taken by ------------------------------------------------------- */

static void close_intercept(struct port_socket *head)
{
    (void)head;
    flow_forget_all();
    taker = NULL;
}

static uint32_t ready(struct port_socket *head)
{
    (void)head;
    return flow_waiting() != NULL ? PS_READY_READ : 0;
}

static int refuse_bind(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    (void)head, (void)ip, (void)port_number;
    return -EOPNOTSUPP;
}

static int refuse_connect(struct port_socket *head, const ip_addr_t *ip, uint16_t port_number)
{
    return refuse_bind(head, ip, port_number);
}

static int64_t refuse_send(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                           uint32_t flags, const struct ps_address *to,
                           const struct ps_send_control *control)
{
    (void)head, (void)pieces, (void)count, (void)flags, (void)to, (void)control;
    return -EOPNOTSUPP;
}

static int64_t refuse_receive(struct port_socket *head, const struct ps_piece *pieces, size_t count,
                              uint32_t flags, struct ps_message *message)
{
    (void)head, (void)pieces, (void)count, (void)flags, (void)message;
    return -EOPNOTSUPP;
}

static int refuse_shutdown(struct port_socket *head, uint32_t how)
{
    (void)head, (void)how;
    return -EOPNOTSUPP;
}

static int refuse_name(struct port_socket *head, enum ps_name which, struct ps_address *out)
{
    (void)head, (void)which, (void)out;
    return -EOPNOTSUPP;
}

static int get_option(struct port_socket *head, enum ps_option option, int64_t *value)
{
    (void)head;
    *value = 0;
    return option == PS_OPT_LISTENING || option == PS_OPT_LINGER ? 0 : -ENOPROTOOPT;
}

static int set_option(struct port_socket *head, enum ps_option option, int64_t value)
{
    (void)head, (void)option, (void)value;
    return -ENOPROTOOPT;
}

static void describe(struct port_socket *head, struct ps_connection *out)
{
    memset(out, 0, sizeof *out);
    out->handle = head->handle;
    out->type = head->type;
    address_from_lwip(IP4_ADDR_ANY, 0, PS_INET, &out->local);
    address_from_lwip(IP4_ADDR_ANY, 0, PS_INET, &out->remote);
}

static const struct socket_kind intercept_kind = {
    .size = sizeof(struct intercept),
    .close = close_intercept,
    .bind = refuse_bind,
    .connect = refuse_connect,
    .send = refuse_send,
    .receive = refuse_receive,
    .shutdown = refuse_shutdown,
    .name = refuse_name,
    .ready = ready,
    .option_get = get_option,
    .option_set = set_option,
    .describe = describe,
};

/* --- entries ---------------------------------------------------------------------------------- */

int64_t engine_intercept_open(ps_engine *engine, const struct ps_intercept *spec)
{
    (void)engine;
    if (taker != NULL)
        return -EADDRINUSE;
    if (!spec->tcp && !spec->udp && !spec->icmp)
        return -EINVAL;
    struct port_socket *head =
        socket_create(&intercept_kind, intercept_kind.size, PS_INET, PS_RAW, 0);
    if (head == NULL)
        return -ENOMEM;
    taker = (struct intercept *)head;
    taker->tcp = spec->tcp;
    taker->udp = spec->udp;
    taker->icmp = spec->icmp;
    taker->limits = (struct flow_limits){
        .most_undecided = spec->most_undecided != 0 ? spec->most_undecided : DEFAULT_UNDECIDED,
        .most_open = spec->most_open != 0 ? spec->most_open : DEFAULT_OPEN,
        .decide_ms = spec->decide_ms != 0 ? spec->decide_ms : DEFAULT_DECIDE_MS,
    };
    if (!has_been)
        make_listener();
    has_been = true;
    return head->handle;
}

static bool is_taker(int64_t handle)
{
    const struct port_socket *head = socket_find(handle);
    return head != NULL && head->kind == &intercept_kind;
}

static void describe_flow(const struct flow *flow, struct ps_intercepted *out, void *data,
                          size_t room)
{
    bool is_v6 = IP_IS_V6_VAL(flow->local);
    bool is_icmp = flow->protocol == IP_PROTO_ICMP || flow->protocol == IP6_NEXTH_ICMP6;
    enum ps_family family = is_v6 ? PS_INET6 : PS_INET;
    struct netif *netif = netif_get_by_index(flow->netif);
    *out = (struct ps_intercepted){
        .id = flow->id,
        .interface = netif != NULL ? interface_index(netif) : 0,
        .protocol = flow->protocol,
        .identifier = is_icmp ? flow->local_port : 0,
        .sequence = is_icmp ? flow->remote_port : 0,
    };
    address_from_lwip(&flow->remote, is_icmp ? 0 : flow->remote_port, family, &out->source);
    address_from_lwip(&flow->local, is_icmp ? 0 : flow->local_port, family, &out->destination);
    if (flow->first == NULL)
        return;
    const struct pbuf *packet = flow->first->packet;
    if (is_v6) {
        out->ttl = IP6H_HOPLIM((const struct ip6_hdr *)packet->payload);
        out->tos = (uint8_t)IP6H_TC((const struct ip6_hdr *)packet->payload);
    } else {
        out->ttl = IPH_TTL((const struct ip_hdr *)packet->payload);
        out->tos = IPH_TOS((const struct ip_hdr *)packet->payload);
    }
    if (flow->protocol == IP_PROTO_TCP)
        return;
    u16_t offset = (u16_t)(flow->first->headers + 8); /* UDP's header, and an echo's */
    out->size = packet->tot_len - offset;
    if (flow->protocol == IP_PROTO_UDP) { /* the packet may be longer than its datagram */
        struct udp_hdr header;
        pbuf_copy_partial(packet, &header, sizeof header, flow->first->headers);
        out->size = lwip_ntohs(header.len) - (uint32_t)UDP_HLEN;
    }
    if (room > 0)
        pbuf_copy_partial(packet, data, (u16_t)LWIP_MIN(out->size, room), offset);
}

int engine_intercept_next(ps_engine *engine, int64_t handle, struct ps_intercepted *out, void *data,
                          size_t room)
{
    (void)engine;
    if (!is_taker(handle))
        return -EBADF;
    const struct flow *flow = flow_next();
    if (flow == NULL)
        return -EAGAIN;
    describe_flow(flow, out, data, room);
    return 0;
}

int64_t engine_intercept_accept(ps_engine *engine, int64_t handle, uint64_t id)
{
    (void)engine;
    if (!is_taker(handle))
        return -EBADF;
    struct flow *flow = flow_by_id(id);
    if (flow == NULL)
        return -ECONNABORTED;
    int64_t result = 0;
    if (flow->protocol == IP_PROTO_TCP)
        result = flow_tcp_socket(&listener, flow);
    else if (flow->protocol == IP_PROTO_UDP)
        result = flow_udp_socket(flow);
    else
        flow_echo(flow);
    if (result < 0)
        return result;
    port_counts.intercept_accepted++;
    flow_forget(flow);
    return result;
}

int engine_intercept_refuse(ps_engine *engine, int64_t handle, uint64_t id, int error)
{
    (void)engine;
    if (!is_taker(handle))
        return -EBADF;
    struct flow *flow = flow_by_id(id);
    if (flow == NULL)
        return 0;
    if (error == 0) {
        port_counts.intercept_dropped++;
        if (flow->protocol == IP_PROTO_TCP || flow->protocol == IP_PROTO_UDP)
            flow_silence(flow, &taker->limits);
        else
            flow_forget(flow);
        return 0;
    }
    bool resets = flow->protocol == IP_PROTO_TCP && (error == ECONNREFUSED || error == ECONNRESET);
    int result = 0;
    if (resets)
        handshake_refuse(&flow->syn);
    else
        result = flow_tell(flow, error);
    if (result < 0)
        return result;
    port_counts.intercept_refused++;
    flow_forget(flow);
    return 0;
}

int engine_intercept_figures(ps_engine *engine, int64_t handle, struct ps_intercept_figures *out)
{
    (void)engine;
    if (!is_taker(handle))
        return -EBADF;
    flow_figures(out);
    out->open = socket_intercepted_count();
    return 0;
}

/* --- the engine's ----------------------------------------------------------------------------- */

void intercept_init(void)
{
    taker = NULL;
    has_been = is_foreign = false;
}

bool intercept_has_been(void)
{
    return has_been;
}

uint64_t intercept_next_us(void)
{
    return flow_next_us();
}

void intercept_run(void)
{
    flow_expire();
}
