/*
 * The lwIP engine: its life, its clock, and the table that the host finds it by.
 */
#include "base/entries.h"
#include "base/hooks.h"
#include "base/port.h"
#include "ip/icmp_redirect.h"
#include "ip/neighbour.h"
#include "ip/reassembly.h"
#include "ip/route.h"
#include "link/offload.h"
#include "lwip/acd.h"
#include "lwip/dhcp.h"
#include "lwip/dhcp6.h"
#include "lwip/dns.h"
#include "lwip/igmp.h"
#include "lwip/init.h"
#include "lwip/memp.h"
#include "lwip/priv/nd6_priv.h"
#include "lwip/priv/raw_priv.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/raw.h"
#include "lwip/stats.h"
#include "lwip/sys.h"
#include "lwip/timeouts.h"
#include "lwip/udp.h"
#include "services/resolver.h"
#include "services/services.h"
#include "sockets/raw.h"
#include "sockets/udp_socket.h"
#include "tables/tables.h"
#include "tcp/tcp_ack.h"
#include "tcp/tcp_handshake.h"
#include "tcp/tcp_timer.h"

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
    sys_timeouts_init();
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
    });
    if (result < 0)
        return result;
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

/* When the next timer is due. */
static uint64_t next_timer_us(const ps_engine *engine)
{
    uint64_t tcp_us = LWIP_MIN(tcp_timer_next_us(), handshake_next_us());
    u32_t sleep_ms = sys_timeouts_sleeptime();
    if (sleep_ms == SYS_TIMEOUTS_SLEEPTIME_INFINITE)
        return tcp_us;
    return LWIP_MIN(tcp_us, engine->now_us - engine->now_us % 1000 + (uint64_t)sleep_ms * 1000);
}

/* Most of lwIP's timers count what has passed of a lifetime. Those that only time how long an
 * answer is waited for would send all they have at once. */
bool hook_timer_catches_up(void (*handler)(void))
{
    return handler != acd_tmr && handler != dns_tmr && handler != dhcp_fine_tmr &&
           handler != dhcp6_tmr;
}

/* Brings the engine to the present. Timers that are late wait for `run`: what came meanwhile may be
 * what they would miss. */
static int enter_engine(ps_engine *engine)
{
    return engine->hypercalls.clock(engine->hypercalls.user, &engine->now_us);
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
    *deadline_us = next_timer_us(engine);
    return 0;
}

static int run_engine(ps_engine *engine)
{
    (void)engine;
    sys_check_timeouts();
    tcp_timer_run();
    handshake_run();
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
    .flow_is_wanted = engine_flow_is_wanted,
    .socket_receive_error = engine_socket_receive_error,
};
