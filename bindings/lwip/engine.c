/*
 * The lwIP engine: its life, its clock, and the table that the host finds it by.
 */
#include <stdio.h>

#include "hooks.h"
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
#include "neighbour_tables.h"
#include "port.h"
#include "reassembly.h"

struct ps_engine port;

u32_t sys_now(void)
{
    return (u32_t)(port.now_us / 1000);
}

uint32_t port_random(void)
{
    uint32_t value = 0;
    port.hypercalls.random(port.hypercalls.user, &value, sizeof value);
    return value;
}

/* The file without its folders. */
static const char *basename_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    return slash != NULL ? slash + 1 : file;
}

_Noreturn void port_assertion_failed(const char *text, const char *file, int line)
{
    char message[256];
    snprintf(message, sizeof message, "%s (%s:%d)", text, basename_of(file), line);
    port.hypercalls.panic(port.hypercalls.user, message);
    __builtin_unreachable();
}

void port_input_check_failed(const char *text, const char *file, int line)
{
    uint64_t count = ++port_counts.assertions;
    /* The 1st, 2nd, 4th, 8th ...: a peer that does it all day must not fill the log. */
    if ((count & (count - 1)) == 0)
        port_log(PS_LOG_WARNING, "%s (%s:%d); %llu so far", text, basename_of(file), line,
                 (unsigned long long)count);
}

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
    arp_init();
    nd_init();
    start_lwip();
    interface_init();
    result = icmp_error_init();
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
    interface_close_all();
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
    .interface_add = engine_interface_add,
    .interface_remove = engine_interface_remove,
    .interface_at = engine_interface_at,
    .interface_set_up = engine_interface_set_up,
    .interface_set_link = engine_interface_set_link,
    .interface_set_mtu = engine_interface_set_mtu,
    .interface_set_mac = engine_interface_set_mac,
    .frame_in = engine_frame_in,
    .frame_in_offload = engine_frame_in_offload,
    .flow_is_wanted = engine_flow_is_wanted,
    .address_add = engine_address_add,
    .address_remove = engine_address_remove,
    .address_at = engine_address_at,
    .neighbour_add = engine_neighbour_add,
    .neighbour_remove = engine_neighbour_remove,
    .neighbour_flush = engine_neighbour_flush,
    .neighbour_at = engine_neighbour_at,
    .route_add = engine_route_add,
    .route_remove = engine_route_remove,
    .route_at = engine_route_at,
    .route_lookup = engine_route_lookup,
    .connection_at = engine_connection_at,
    .counter_at = engine_counter_at,
    .tunable_at = engine_tunable_at,
    .tunable_set = engine_tunable_set,
    .socket_open = engine_socket_open,
    .socket_close = engine_socket_close,
    .socket_bind = engine_socket_bind,
    .socket_listen = engine_socket_listen,
    .socket_accept = engine_socket_accept,
    .socket_connect = engine_socket_connect,
    .socket_send = engine_socket_send,
    .socket_receive = engine_socket_receive,
    .socket_receive_error = engine_socket_receive_error,
    .socket_shutdown = engine_socket_shutdown,
    .socket_name = engine_socket_name,
    .socket_ready = engine_socket_ready,
    .option_get = engine_option_get,
    .option_set = engine_option_set,
    .membership = engine_membership,
    .tcp_info = engine_tcp_info,
    .service_set = engine_service_set,
    .lease_get = engine_lease_get,
    .nameserver_set = engine_nameserver_set,
    .nameserver_at = engine_nameserver_at,
    .resolve_start = engine_resolve_start,
    .resolve_result = engine_resolve_result,
    .resolve_cancel = engine_resolve_cancel,
};
