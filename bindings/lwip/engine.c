/*
 * The lwIP engine: its life, its clock, and the table that the host finds it by.
 */
#include "base/entries.h"
#include "base/hooks.h"
#include "base/port.h"
#include "base/timeouts.h"
#include "intercept/intercept.h"
#include "ip/groups.h"
#include "ip/icmp_redirect.h"
#include "ip/neighbour.h"
#include "ip/reassembly.h"
#include "ip/route.h"
#include "link/offload.h"
#include "lwip/acd.h"
#include "lwip/dhcp.h"
#include "lwip/dns.h"
#include "lwip/etharp.h"
#include "lwip/igmp.h"
#include "lwip/init.h"
#include "lwip/ip4_frag.h"
#include "lwip/ip6_frag.h"
#include "lwip/memp.h"
#include "lwip/mld6.h"
#include "lwip/nd6.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/raw_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/raw.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/udp.h"
#include "services/resolver.h"
#include "services/service_ticks.h"
#include "services/services.h"
#include "sockets/raw.h"
#include "sockets/udp_socket.h"
#include "tables/tables.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_handshake.h"
#include "tcp/tcp_timer.h"

/* In lwIP's order, the seldom ones first. Most count what has passed of a lifetime. Those that
 * don't catch up time how long an answer is waited for. */
static struct tick ticks[] = {
    {IP_TMR_INTERVAL, ip_reass_tmr, ip4_reassembly_work_ms, NULL, true, false, 0},
    {ARP_TMR_INTERVAL, etharp_tmr, arp_age_ms, NULL, true, true, 0},
    {DHCP_COARSE_TIMER_MSECS, dhcp_coarse_tmr, dhcp_coarse_work_ms, dhcp_coarse_skip, true, false,
     0},
    {DNS_TMR_INTERVAL, dns_tmr, dns_work_ms, dns_skip, false, false, 0},
    {ND6_TMR_INTERVAL, nd6_tmr, nd_work_ms, nd_skip, true, true, 0},
    {IP6_REASS_TMR_INTERVAL, ip6_reass_tmr, ip6_reassembly_work_ms, NULL, true, false, 0},
    {SERVICES_INTERVAL_MS, services_tick, services_work_ms, NULL, true, false, 0},
    {DHCP_FINE_TIMER_MSECS, dhcp_fine_tmr, dhcp_fine_work_ms, dhcp_fine_skip, false, false, 0},
    {ACD_TMR_INTERVAL, acd_tmr, acd_work_ms, acd_skip, false, false, 0},
    {IGMP_TMR_INTERVAL, igmp_tmr, igmp_work_ms, igmp_skip, true, false, 0},
    {ND6_NEIGHBOR_TMR_INTERVAL, nd6_neighbor_tmr, neighbours_work_ms, NULL, true, true, 0},
    {MLD6_TMR_INTERVAL, mld6_tmr, mld_work_ms, mld_skip, true, false, 0},
};

/* lwIP's modules, in the order of its init.c. */
static void start_lwip(void)
{
    stats_init();
    mem_init();
    memp_init();
    netif_init();
    raw_init();
    udp_init();
    tcp_init();
    igmp_init();
    dns_init();
}

static int open_engine(const struct ps_hypercalls *hypercalls, ps_engine **out)
{
    if (hypercalls->version != PS_HYPERCALLS_VERSION || hypercalls->size != sizeof *hypercalls)
        return -EPROTO;
    if (port.open)
        return -EBUSY; /* one instance to an image */
    port.hypercalls = *hypercalls;
    int result = hypercalls->clock(hypercalls->user, &port.now_us);
    if (result < 0)
        return result;
    sysctl_init();
    socket_init();
    route_init();
    redirect_init();
    arp_init();
    nd_init();
    timeouts_init(ticks, LWIP_ARRAYSIZE(ticks));
    start_lwip();
    interface_init();
    interfaces_init();
    result = icmp_error_init(&(struct icmp_error_users){
        .raw = raw_icmp_error,
        .tcp = tcp_icmp_error,
        .udp = udp_icmp_error,
        .dns = resolver_unreachable,
        .raw_may_have_sent = raw_may_have_sent,
        .tcp_may_have_sent = tcp_may_have_sent,
        .udp_may_have_sent = udp_may_have_sent,
        .speaks_for_others = intercept_has_been,
    });
    if (result < 0)
        return result;
    intercept_init();
    services_init();
    port.open = true;
    *out = &port;
    return 0;
}

static int close_engine(ps_engine *engine, bool abrupt)
{
    engine->silent = abrupt;
    socket_close_all();
    tcp_orphan_end_all();
    interfaces_close_all();
    services_close();
    icmp_error_close();
    engine->open = false;
    return 0;
}

/* Brings the engine to the present. Timers that are late wait for `run`: what came meanwhile may be
 * what they would miss. */
static int enter_engine(ps_engine *engine)
{
    int result = engine->hypercalls.clock(engine->hypercalls.user, &engine->now_us);
    if (result == 0)
        timeouts_enter();
    return result;
}

static int leave_engine(ps_engine *engine, uint64_t *deadline_us)
{
    do
        netif_poll_all();    /* packets to ourselves */
    while (tcp_ack_flush()); /* which may be of such */
    if (engine->short_of_memory) {
        engine->short_of_memory = false;
        tcp_orphan_shed();
        arp_shed();
        ip4_reassembly_shed();
        ip6_reassembly_shed();
    }
    offload_flush();
    *deadline_us = LWIP_MIN(LWIP_MIN(timeouts_next_us(), intercept_next_us()),
                            LWIP_MIN(tcp_timer_next_us(), handshake_next_us()));
    return 0;
}

static int run_engine(ps_engine *engine)
{
    (void)engine;
    timeouts_run();
    tcp_timer_run();
    handshake_run();
    intercept_run();
    return 0;
}

static int fail_engine(ps_engine *engine, const char *text)
{
    (void)engine;
    LWIP_ASSERT(text, false);
    return 0;
}

/* Here, for it knows all kinds. */
int64_t engine_socket_open(ps_engine *engine, enum ps_family family, enum ps_type type,
                           int protocol)
{
    (void)engine;
    const struct socket_kind *kind = type == PS_STREAM     ? &tcp_kind
                                     : type == PS_DATAGRAM ? &udp_kind
                                     : type == PS_RAW      ? &raw_kind
                                                           : NULL;
    if (family != PS_INET && family != PS_INET6)
        return -EAFNOSUPPORT;
    if (kind == NULL)
        return -ESOCKTNOSUPPORT;
    if (protocol < 0 || protocol > UINT8_MAX)
        return -EINVAL;
    struct port_socket *socket =
        socket_create(kind, kind->size, (uint8_t)family, (uint8_t)type, (uint16_t)protocol);
    if (socket == NULL)
        return -ENOMEM;
    int result = kind->open(socket);
    if (result < 0) {
        socket_discard(socket);
        return result;
    }
    return socket->handle;
}

__attribute__((visibility("default"))) const struct ps_engine_table ps_engine_table = {
    .version = PS_ENGINE_VERSION,
    .size = sizeof(struct ps_engine_table),
    .name = "lwip",
    .release = LWIP_VERSION_STRING,
    .open = open_engine,
    .close = close_engine,
    .enter = enter_engine,
    .leave = leave_engine,
    .run = run_engine,
    .fail = fail_engine,
#define ENTRY(result, name, parameters, arguments) .name = engine_##name,
    PS_ENGINE_CALLS(ENTRY)
#undef ENTRY
        .frame_in_offload = engine_frame_in_offload,
    .address_prefer = engine_address_prefer,
    .nameservers_learnt = engine_nameservers_learnt,
    .flow_is_wanted = engine_flow_is_wanted,
    .socket_receive_error = engine_socket_receive_error,
    .intercept_open = engine_intercept_open,
    .intercept_next = engine_intercept_next,
    .intercept_accept = engine_intercept_accept,
    .intercept_refuse = engine_intercept_refuse,
    .intercept_figures = engine_intercept_figures,
};
